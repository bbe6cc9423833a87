"""Which images each fit of a run trains on, validates on and is tested with, and which its classifier has seen."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lib.data.catalog import descriptions, open_dataset
from lib.data.subset import take_part
from lib.data.versions import open_versions
from lib.errors import UserError
from lib.models.seen_images import SEEN_FILE, SeenImages, load_seen
from lib.training.config import TrainConfig


def fit_splits(dataset: Any, config: TrainConfig) -> list[np.ndarray]:
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
                taken = take_part(open_dataset(description["spec"]["name"], version=version), config)
                split, ids = fit_splits(taken, config)[-1], taken.table["image_id"].to_numpy()
                return SeenImages.of(ids[split == "train"], ids[split == "val"])
    if predictions is None or not predictions.is_file():
        return SeenImages(is_complete=False)
    import pandas as pd

    table = pd.read_parquet(predictions, columns=["image_id", "split"])
    if config.num_folds:  # every image is tested in turn, and the kept classifier saw them all
        return SeenImages.of(table["image_id"], ())
    return SeenImages.of((), table["image_id"][table["split"] == "val"], is_complete=False)
