"""What all checks of an audit look at: the images that take part, their copies, features and originals, made once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from lib.atomic import digest_of, read_kept, write_json
from lib.audit.findings import gone_from
from lib.data.augmentation import AS_IT_IS
from lib.data.dataset import Dataset, parts_of
from lib.data.near_duplicates import Copies, find_copies
from lib.data.splits import EXCLUDED, group_numbers
from lib.errors import WeightsUnavailable
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir

if TYPE_CHECKING:
    import pandas as pd

_COPIES_FORMAT = 1


class NotMeasured(Exception):
    """Why a check cannot be made; a whole sentence."""


def audits_dir() -> Path:
    """Where reports and what they share are kept."""
    return cache_dir() / "audits"


@dataclass(eq=False)
class AuditedImages:
    """A data set under audit.

    Attributes:
        dataset: whole, with what was excluded.
        split_seed: of the split that copies may cross.
        backbone: whose pretrained features are used.
        device: where to compute.
        progress: called by every check.
    """

    dataset: Dataset
    split_seed: int = 0
    backbone: str = ""
    device: str = "cpu"
    progress: Progress = field(default=ignore_progress)

    def __post_init__(self) -> None:
        self.split, self.why_not_split = parts_of(self.dataset, self.split_seed)
        self.table: pd.DataFrame = self.dataset.table
        self.split[self.split == EXCLUDED] = ""
        self.is_in = ~gone_from(self.dataset)
        self.targets = self.table["target"].to_numpy()
        self.image_ids = self.table["image_id"].to_numpy()
        self.paths = self.table["path"].to_numpy()
        self.groups = self.table["group_id"].to_numpy()

    @cached_property
    def rows(self) -> np.ndarray:
        """The images that nobody excluded, int64."""
        return np.flatnonzero(self.is_in)

    @property
    def labelled(self) -> np.ndarray:
        """Those of them that have a class, int64."""
        return self.rows[self.targets[self.rows] >= 0]

    @property
    def is_split(self) -> bool:
        """Whether it is known what trains and what tests."""
        return not self.why_not_split

    def named(self, row: int) -> str:
        """A file's name without its folders, as sentences have it."""
        return PurePosixPath(str(self.paths[row])).name

    def ids(self, rows: "np.ndarray | list[int]") -> tuple[str, ...]:
        """Image ids of rows."""
        return tuple(str(self.image_ids[row]) for row in rows)

    def class_of(self, row: int) -> str:
        """The class of an image as it is called now."""
        return self.dataset.class_of(row)

    @cached_property
    def copies(self) -> Copies:
        """Near duplicates among all images, those that were excluded too; kept on disk for these pixels."""
        key = digest_of({"format": _COPIES_FORMAT, "content": self.dataset.content_version})
        path = audits_dir() / f"copies-{key}.json"
        num = self.dataset.num_images
        found = read_kept(path, lambda content: _copies_of(content, num))
        if found is None:
            found = find_copies(self.dataset.pixels, progress=self.progress)
            rows = np.flatnonzero(found.number >= 0)
            columns = {
                name: getattr(found, name)[rows].tolist() for name in ("number", "nearest", "cosine", "is_mirrored")
            }
            write_json(path, {"num": num, "rows": rows.tolist(), **columns})
        return found

    @cached_property
    def units(self) -> np.ndarray:
        """A number for each image (N,): images of one patient, and copies of each other, share it."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        num = len(self.targets)
        links = [np.stack([members[:-1], members[1:]]) for members in self.copies.groups]
        numbers = group_numbers(self.groups, num)
        order = np.argsort(numbers, kind="stable")
        same = numbers[order][:-1] == numbers[order][1:]
        links.append(np.stack([order[:-1][same], order[1:][same]]))
        pairs = np.concatenate(links, axis=1)
        return connected_components(coo_array((np.ones(pairs.shape[1]), pairs), shape=(num, num)))[1].astype(np.int64)

    @cached_property
    def features(self) -> np.ndarray:
        """Pooled features (N, D), float32, of all images by a pretrained network, kept in the cache of features.

        Raises:
            NotMeasured: the pretrained weights are not at hand.
        """
        from lib.features.cache import read_or_extract
        from lib.features.engine import FrozenPart, choose_engine
        from lib.features.extraction import FeatureRequest
        from lib.models.backbones import BACKBONES
        from lib.precision import choose_dtype

        spec, device, num_images = BACKBONES.get(self.backbone), self.device, self.dataset.num_images
        dtype, stage = choose_dtype(device)[0], spec.feature_stage
        part = FrozenPart(self.backbone, "pretrained", 0, stage, spec.input_size_px, dtype)
        try:
            engine = choose_engine(part, device=device, num_images=num_images, progress=self.progress)
            request = FeatureRequest(
                self.dataset, self.backbone, "pretrained", 0, stage, spec.pooling, spec.input_size_px,
                "float32" if engine.name == "onnx" else dtype, AS_IT_IS, device, engine.name, engine.batch_size,
            )  # fmt: skip
            found = np.asarray(read_or_extract(request, progress=self.progress).features)
        except WeightsUnavailable as error:
            raise NotMeasured(f"The weights of {spec.title} are not at hand: {error}") from None
        return found.reshape(len(found), -1).astype(np.float32)

    @cached_property
    def originals(self) -> list[Path | None]:
        """The file of each image, None where it is gone."""
        if not self.dataset.source_folder.is_absolute() or not self.dataset.source_folder.is_dir():
            return [None] * self.dataset.num_images
        return [self.dataset.source_path(row) for row in range(self.dataset.num_images)]

    def left_out(self) -> Iterator[tuple[str, str]]:
        """Path and reason of each file that the import left out."""
        yield from self.dataset.left_out[["path", "reason"]].itertuples(index=False, name=None)


def copy_numbers(dataset: Dataset, *, progress: Progress = ignore_progress) -> np.ndarray:
    """The number of the set of near duplicates that each image is in, int64 (N,); -1 for one without any."""
    return AuditedImages(dataset, progress=progress).copies.number


def _copies_of(content: dict[str, list[int]], num: int) -> Copies:
    if content["num"] != num:
        raise ValueError(content["num"])
    number, nearest = np.full(num, -1, dtype=np.int64), np.full(num, -1, dtype=np.int64)
    cosine, is_mirrored = np.zeros(num, dtype=np.float32), np.zeros(num, dtype=bool)
    rows = np.array(content["rows"], dtype=np.int64)
    for array, name in ((number, "number"), (nearest, "nearest"), (cosine, "cosine"), (is_mirrored, "is_mirrored")):
        array[rows] = content[name]
    return Copies(number, nearest, cosine, is_mirrored)
