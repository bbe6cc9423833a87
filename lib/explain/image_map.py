"""Maps of a data set's images: each a point, near to those that a stage of a network answers alike, stage by stage.

The features of a stage are its pooled output, standardised channel by channel and reduced to 50 principal components;
from these the points come by PCA, t-SNE (van der Maaten and Hinton 2008) or UMAP (McInnes et al. 2018, arXiv
1802.03426). A map has no directions of its own, so each is turned, or mirrored, onto that of the next stage (orthogonal
Procrustes). Imports no torch where maps are read.
"""

import hashlib
import importlib.metadata
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import digest_of
from lib.checked_rows import Rows
from lib.data.subset import RowsOfPixels
from lib.disk_cache import entry_path, read_entry, write_entry
from lib.errors import Stopped, UserError
from lib.explain.class_separation import NUM_NEIGHBORS, nearest_images
from lib.features.cache import read_or_extract
from lib.features.engine import EngineChoice
from lib.features.extraction import content_of
from lib.features.stage_outputs import BY_TORCH, StagedSource, StageRequest
from lib.models.backbone_spec import StageSpec
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir

PCA, TSNE, UMAP = "pca", "tsne", "umap"
METHODS = {PCA: "PCA", TSNE: "t-SNE", UMAP: "UMAP"}
MAX_POINTS = 20_000
NUM_COMPONENTS = 50
LEAST_IMAGES = 5  # of t-SNE and UMAP; below, neighbours say nothing
_PERPLEXITY, _UMAP_NEIGHBORS, _UMAP_DISTANCE = 30.0, 15, 0.1
_PACKAGES = {PCA: "scikit-learn", TSNE: "scikit-learn", UMAP: "umap-learn"}
_ROWS_AT_A_TIME = 1024
_FORMAT = 1


def map_sample(targets: np.ndarray, *, most: int = MAX_POINTS, seed: int = 0) -> np.ndarray:
    """Row numbers, rising, of at most `most` images, of each class its share and one at least."""
    if len(targets) <= most:
        return np.arange(len(targets))
    drawn = np.random.default_rng(seed).permutation(len(targets))
    drawn = drawn[np.argsort(targets[drawn], kind="stable")]
    _, first, counts = np.unique(targets[drawn], return_index=True, return_counts=True)
    place = np.arange(len(drawn)) - np.repeat(first, counts)
    # The share of its class that is taken before an image is; the first of each class goes before all.
    order = np.where(place == 0, -1.0, (place + 0.5) / np.repeat(counts, counts))
    return np.sort(drawn[np.argsort(order, kind="stable")[:most]])


class _SampledImages:
    """The images of a sample, as an extraction of features needs them."""

    def __init__(self, dataset: Any, rows: np.ndarray) -> None:
        self._dataset, self._rows, self.version = dataset, rows, dataset.version
        digest = hashlib.sha256(f"{content_of(dataset)}/sample/".encode() + rows.astype("<i8").tobytes())
        self.content_version = digest.hexdigest()[:32]

    @property
    def pixels(self) -> RowsOfPixels:
        """Of those rows."""
        return RowsOfPixels(self._dataset.pixels, self._rows)


@dataclass(frozen=True)
class _MappedRequest(StageRequest):
    """The outputs of all stages, read from the disk a stage at a time: of 20,000 images they take some 200 MiB."""

    is_mapped = True

    def of_stage(self, rows: Rows, stage: str) -> np.ndarray:
        """The pooled outputs (N, D) of one stage."""
        widths = [one.num_channels for one in self.source.stages]
        number = [one.name for one in self.source.stages].index(stage)
        start = sum(widths[:number])
        if rows.shape[1] != sum(widths):
            raise ValueError(f"{rows.shape[1]} numbers an image where the stages have {sum(widths)}.")
        parts = range(0, len(rows), _ROWS_AT_A_TIME)
        return np.concatenate(
            [np.asarray(rows[one : one + _ROWS_AT_A_TIME])[:, start : start + widths[number]] for one in parts]
        )


@dataclass(frozen=True, eq=False)
class StageMap:
    """One stage's map of N images.

    Attributes:
        stage: which one.
        points: places (N, 2), centred, at a mean distance of 1 from the centre; all in one place where the stage
            answers the same to every image.
        neighbors: the nearest images of each in the features, with groups kept apart (N, k); -1 for none.
        spread: the share of the features' spread that the two axes hold; of PCA, else None.
    """

    stage: StageSpec
    points: np.ndarray
    neighbors: np.ndarray
    spread: float | None = None

    @property
    def is_flat(self) -> bool:
        """Whether all images lie in one place."""
        return not np.ptp(self.points, axis=0).any()


@dataclass(frozen=True, eq=False)
class ImageMap:
    """The maps that are ready, in the order of the stages; `rows` are the data set's rows of the points (N,)."""

    rows: np.ndarray
    stages: tuple[StageMap, ...] = ()
    num_stages: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether every stage has one."""
        return len(self.stages) == self.num_stages

    def of(self, stage: str) -> StageMap | None:
        """The map of a stage, None where it is not ready."""
        return next((one for one in self.stages if one.stage.name == stage), None)


@dataclass(frozen=True, eq=False)
class MapQuestion:
    """What is asked: the images of a data set, a network, a method and its seed."""

    dataset: Any
    source: StagedSource
    method: str = PCA
    seed: int = 0
    dtype: str = "float32"
    device: str = "cpu"
    engine: EngineChoice = BY_TORCH
    max_points: int = field(default=MAX_POINTS)

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise UserError(f"There is no method {self.method!r}; choose one of: {', '.join(METHODS)}.")

    @cached_property
    def rows(self) -> np.ndarray:
        """The data set's rows that are mapped; drawn from the classes of the import, which edits do not change."""
        stored = getattr(self.dataset, "stored_targets", None)
        targets = stored[0] if stored else self.dataset.table["target"].to_numpy()
        return map_sample(targets, most=self.max_points)

    @cached_property
    def groups(self) -> np.ndarray | None:
        """Group names of the points (N,); None where every image stands alone."""
        names = self.dataset.table["group_id"].fillna("").astype(str).to_numpy()[self.rows]
        return names if (names != "").any() else None

    @cached_property
    def request(self) -> _MappedRequest:
        """What is read of the images; that of all images is shared with the curve of what stages are worth."""
        is_whole = len(self.rows) == len(self.dataset.table)
        images = self.dataset if is_whole else _SampledImages(self.dataset, self.rows)
        return _MappedRequest(images, self.source, self.dtype, self.device, self.engine)

    @property
    def stages(self) -> tuple[StageSpec, ...]:
        """The stages that can be mapped, in order."""
        return self.source.stages

    @property
    def name(self) -> str:
        """Tells this question from others, whatever the engine."""
        return digest_of([self._base, self.method, self._parameters])

    def check(self) -> None:
        """Raise UserError where the method cannot be used on so few images."""
        if self.method != PCA and len(self.rows) < LEAST_IMAGES:
            raise UserError(
                f"{METHODS[self.method]} places images by their neighbours and needs at least {LEAST_IMAGES} of them; "
                f"the data set has {len(self.rows)}. Choose the method {PCA}."
            )

    @property
    def _base(self) -> list[Any]:
        return [_FORMAT, content_of(self.request.dataset), self.source.key, self.seed]

    @property
    def _parameters(self) -> list[Any]:
        own: dict[str, list[Any]] = {
            PCA: [], TSNE: [_PERPLEXITY], UMAP: [_UMAP_NEIGHBORS, _UMAP_DISTANCE],
        }  # fmt: skip
        return [*own[self.method], importlib.metadata.version(_PACKAGES[self.method])]

    def _path(self, stage: str, what: str, *more: Any) -> Path:
        return entry_path("layouts", digest_of([self._base, stage, what, NUM_COMPONENTS, *more]))

    def components_path(self, stage: str) -> Path:
        """Of the principal components (N, c), with the squared length of the whole standardised vector behind them."""
        return self._path(stage, "components", importlib.metadata.version(_PACKAGES[PCA]))

    def neighbors_path(self, stage: str) -> Path:
        """Of the nearest images (N, k)."""
        groups = "" if self.groups is None else hashlib.sha256("\0".join(self.groups).encode()).hexdigest()
        return self._path(stage, "neighbors", NUM_NEIGHBORS, groups)

    def points_path(self, stage: str) -> Path:
        """Of the places as the method found them (N, 2); those of PCA are the first two components."""
        if self.method == PCA:
            return self.components_path(stage)
        return self._path(stage, self.method, self._parameters)

    def is_ready(self, stage: str) -> bool:
        """Whether a stage's map can be read."""
        paths = (self.components_path(stage), self.neighbors_path(stage), self.points_path(stage))
        return all(path.is_file() for path in paths)

    def read(self) -> ImageMap:
        """The maps that are ready: turned onto each other from the last stage back, each onto the next one."""
        found: list[StageMap] = []
        for stage in reversed(self.stages):
            one = self._read(stage, found[-1].points if found else None)
            if one is not None:
                found.append(one)
        return ImageMap(self.rows, tuple(reversed(found)), len(self.stages))

    def _read(self, stage: StageSpec, onto: np.ndarray | None) -> StageMap | None:
        if not self.is_ready(stage.name):
            return None
        components = _read_whole(self.components_path(stage.name), len(self.rows))
        neighbors = _read_whole(self.neighbors_path(stage.name), len(self.rows))
        if components is None or neighbors is None:
            return None
        points, spread = components[:, :2], None
        if self.method == PCA:
            total = float(components[:, -1].sum(dtype=np.float64))
            spread = float((points.astype(np.float64) ** 2).sum()) / total if total > 0 else None
        else:
            placed = _read_whole(self.points_path(stage.name), len(self.rows))
            if placed is None:
                return None
            points = placed
        return StageMap(stage, aligned(points, onto), neighbors, spread)


def _read_whole(path: Path, num_rows: int) -> np.ndarray | None:
    found = read_entry(path, num_rows, is_mapped=False)
    return None if found is None else np.asarray(found)


def aligned(points: np.ndarray, onto: np.ndarray | None = None) -> np.ndarray:
    """Points (N, 2), centred and scaled to a mean square distance of 1, turned or mirrored onto others as well as can
    be (orthogonal Procrustes, Schönemann 1966).
    """
    from scipy.linalg import orthogonal_procrustes

    placed = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    size = float(np.sqrt((placed**2).sum(axis=1).mean()))
    placed = placed / size if size > 0 else np.zeros_like(placed)
    if onto is not None and size > 0:
        placed = placed @ orthogonal_procrustes(placed, onto.astype(np.float64))[0]
    return placed.astype(np.float32)


def measure_map(
    question: MapQuestion,
    *,
    stages: Iterable[str] | None = None,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> ImageMap:
    """Make what is missing, the last stage first, and read it; each stage is kept as soon as it is ready.

    Args:
        question: what is asked.
        stages: names of the stages; by default all.
        progress: called after each batch of images, and after each stage.
        should_stop: asked between them.

    Raises:
        Stopped: `should_stop()` turned true; the stages that were ready stay.
        UserError: an unknown stage, too few images for the method, or a full disk.
    """
    question.check()
    names = [stage.name for stage in question.stages]
    wanted = names if stages is None else list(stages)
    for name in wanted:
        if name not in names:
            raise UserError(f"{question.source.spec.title} has no stage {name!r}. Choose one of: {', '.join(names)}.")
    missing = [name for name in reversed(names) if name in wanted and not question.is_ready(name)]
    if missing:
        request, title = question.request, METHODS[question.method]

        def report(done: int, total: int, _: str) -> None:
            progress(done, total, "images through the network")

        features = read_or_extract(request, progress=report, should_stop=should_stop).features
        for number, name in enumerate(missing):
            progress(number, len(missing), f"stages mapped by {title}")
            if should_stop():
                raise Stopped("Stopped while mapping the images.")
            _make(question, name, lambda name=name: request.of_stage(features, name))  # type: ignore[misc]
    progress(len(missing), len(missing), "stages mapped")
    return question.read()


def _make(question: MapQuestion, stage: str, read: Callable[[], np.ndarray]) -> None:
    """Write what is missing of one stage."""
    path, number = question.components_path(stage), len(question.rows)
    components = _read_whole(path, number)
    if components is None:
        components = principal_components(read(), seed=question.seed)
        _write(path, components)
    values = components[:, :-1]
    if _read_whole(question.neighbors_path(stage), number) is None:
        _write(question.neighbors_path(stage), nearest_images(values, question.groups, seed=question.seed))
    if question.method != PCA and _read_whole(question.points_path(stage), number) is None:
        placed = _PLACERS[question.method](values, question.seed) if np.ptp(values, axis=0).any() else values[:, :2]
        _write(question.points_path(stage), placed.astype(np.float32))


def _write(path: Path, values: np.ndarray) -> None:
    for _ in write_entry(path, [np.ascontiguousarray(values)], len(values)):
        pass


def principal_components(features: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """The first 50 principal components of standardised features (N, D), at least two columns, and behind them the
    squared length of each image's whole standardised vector: (N, c + 1) float32.

    A channel that is the same for every image says nothing and is 0.
    """
    from sklearn import decomposition

    mean, deviation = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    is_steady = deviation <= 1e-6 * np.maximum(np.abs(features).max(axis=0), 1e-12)
    # In place and in single precision: of 20,000 images and 1,280 channels a copy takes 98 MiB.
    values = np.subtract(features, mean, dtype=np.float32, casting="same_kind")
    values /= np.where(is_steady, 1.0, deviation).astype(np.float32)
    values[:, is_steady] = 0.0
    lengths = np.einsum("nd,nd->n", values, values)[:, None]
    num = min(NUM_COMPONENTS, *values.shape)
    if not lengths.any():
        placed = np.zeros((len(values), 2))
    else:
        placed = decomposition.PCA(num, random_state=seed).fit_transform(values)
        placed = np.pad(placed, ((0, 0), (0, max(0, 2 - placed.shape[1]))))
    return np.concatenate([placed, lengths], axis=1).astype(np.float32)


def _start(values: np.ndarray) -> np.ndarray:
    """Where t-SNE and UMAP begin: the first two components, so that what is far apart starts apart."""
    return np.asarray(values[:, :2] / max(float(values[:, 0].std()), 1e-12), dtype=np.float32)


def _by_tsne(values: np.ndarray, seed: int) -> np.ndarray:
    from sklearn import manifold

    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    method = manifold.TSNE(2, perplexity=perplexity, init=1e-4 * _start(values), random_state=seed, n_jobs=None)
    return np.asarray(method.fit_transform(values))


def _by_umap(values: np.ndarray, seed: int) -> np.ndarray:
    # Compiled code is kept in the home: without it every process would compile for ten seconds and more.
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        method = umap.UMAP(
            n_neighbors=min(_UMAP_NEIGHBORS, len(values) - 1), min_dist=_UMAP_DISTANCE, init=10 * _start(values),
            random_state=seed, n_jobs=1,
        )  # fmt: skip
        return np.asarray(method.fit_transform(values))


_PLACERS: dict[str, Callable[[np.ndarray, int], np.ndarray]] = {TSNE: _by_tsne, UMAP: _by_umap}
