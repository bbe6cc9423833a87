"""Which images each fit of a run trains on, validates on and is tested with, and which its classifier has seen.

A head that is fitted in one go is fitted on training and validation images together. What is chosen (the penalty),
fitted on its answers (thresholds, Platt's scale) or reported as validation comes from heads of the same kind that had
not seen the image: five folds over the same images, groups whole.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.data.label_schema import open_versions
from lib.data.library import descriptions, open_dataset
from lib.data.splits import TRAIN, VAL, group_numbers, held_out_folds
from lib.data.subset import apply_protocol
from lib.errors import UserError
from lib.models.seen_images import SEEN_FILE, SeenImages, load_seen
from lib.training.config import TrainConfig
from lib.training.protocols import Dataset

MAX_FOLDS = 5
Folds = tuple[tuple[np.ndarray, np.ndarray], ...]


def fit_splits(dataset: Dataset, config: TrainConfig) -> list[np.ndarray]:
    """The split (N,) of each fit of a resolved config: one, or with folds each fold's and that of the last fit.

    The last fit, whose classifier is kept, trains on all images but the validation part of fold 0.
    """
    if not config.num_folds:
        return [dataset.split(config.split_seed)]
    folds = [dataset.split(config.split_seed, num_folds=config.num_folds, fold=k) for k in range(config.num_folds)]
    return [*folds, np.where(folds[0] == "test", "train", folds[0])]


def trained_version(manifest: Mapping[str, Any]) -> str | None:
    """The version of the data set that a saved classifier was trained on."""
    about = manifest.get("dataset")
    version = about.get("version") if isinstance(about, dict) else manifest.get("dataset_version")
    return None if version is None else str(version)


def trained_config(manifest: Mapping[str, Any]) -> Any:
    """The settings of a saved classifier's training that say which images took part; defaults where it has none."""
    said = manifest.get("config")
    return SimpleNamespace(**{"split_seed": 0, "num_folds": None, **(said if isinstance(said, dict) else {})})


def seen_by(bundle: Path, manifest: Mapping[str, Any], predictions: Path | None = None) -> SeenImages:
    """The images that a saved classifier has seen: the list in its bundle, or what can be known without one.

    Classifiers of earlier versions keep no list. Their split is drawn again where their data set is in the library as
    it was; else the run's own predictions tell those of validation, and with folds all images.

    Args:
        bundle: its folder.
        manifest: of the bundle.
        predictions: predictions.parquet of its run, which may be missing.

    Raises:
        UserError: the list is damaged.
    """
    if (bundle / SEEN_FILE).is_file():
        return load_seen(bundle / SEEN_FILE)
    config, version = trained_config(manifest), trained_version(manifest)
    for description in descriptions():
        if version in open_versions(description):
            with suppress(UserError):  # damaged
                taken = apply_protocol(open_dataset(description["spec"]["name"], version=version), config)
                split, ids = fit_splits(taken, config)[-1], taken.table["image_id"].to_numpy()
                return SeenImages.of(ids[split == "train"], ids[split == "val"])
    if predictions is None or not predictions.is_file():
        return SeenImages(is_complete=False)
    import pandas as pd

    table = pd.read_parquet(predictions, columns=["image_id", "split"])
    if config.num_folds:  # every image is tested in turn, and the kept classifier saw them all
        return SeenImages.of(table["image_id"], ())
    return SeenImages.of((), table["image_id"][table["split"] == "val"], is_complete=False)


@dataclass(frozen=True, eq=False)
class Development:
    """The images of one fit.

    Attributes:
        rows: those that the kept head is fitted on, (n,).
        folds: pairs of rows to fit on and rows held out; no row is held out twice.
        units: the group of every image of the data set (N,), a number of its own where it has none.
    """

    rows: np.ndarray
    folds: Folds
    units: np.ndarray

    @property
    def held_rows(self) -> np.ndarray:
        """All rows that are held out, fold after fold."""
        return np.concatenate([held for _, held in self.folds])

    @property
    def is_out_of_fold(self) -> bool:
        """Whether the kept head is fitted on rows whose answers came from other heads; else validation stays apart."""
        return bool(np.isin(self.held_rows, self.rows).any())


def development_of(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The images of a fit on a split (N,): training and validation together, each held out once.

    Where a setting caps the number of training images, validation images must not add to them and stay apart.
    """
    units, train, val = _parts(table, split)
    if config.max_train_per_class is not None:
        return Development(train, ((train, val),), units)
    return _held_out(targets, units, np.sort(np.concatenate([train, val])), config.split_seed, ((train, val),))


def development_apart(targets: np.ndarray, table: Any, split: np.ndarray, config: TrainConfig) -> Development:
    """The same on training images alone, for a head that further training starts from and validates beside."""
    units, train, val = _parts(table, split)
    return _held_out(targets, units, train, config.split_seed, ((train, val),))


def development_within(targets: np.ndarray, rows: np.ndarray, *, seed: int = 0) -> Development:
    """Fit on `rows` of images that all stand alone, each held out once; every class needs two of them."""
    return _held_out(targets, np.arange(len(targets)), rows, seed, ())


def _parts(table: Any, split: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    units = group_numbers(table["group_id"].to_numpy(), len(split))
    return units, np.flatnonzero(split == TRAIN), np.flatnonzero(split == VAL)


def _held_out(targets: np.ndarray, units: np.ndarray, rows: np.ndarray, seed: int, otherwise: Folds) -> Development:
    """Rows in folds of whole groups, or `otherwise` where there are too few for any."""
    held = held_out_folds(targets, units, rows, most=MAX_FOLDS, seed=seed)
    folds = tuple((np.setdiff1d(rows, part, assume_unique=True), part) for part in held)
    return Development(rows, folds or otherwise, units)
