"""A fine-tuned run that a test can afford: the bundled network at 32 px, its last block and head trained in seconds."""

import copy
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lib.data.dataset import Dataset
from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.grading.grader import Grader
from lib.models.bundles import save_bundle
from lib.models.classifier import Classifier, build_classifier
from lib.models.freezing import apply_freezing
from lib.models.seen_images import SEEN_FILE, SeenImages, save_seen
from lib.models.stages import build_backbone
from lib.models.weights import weights_digest
from lib.settings import datasets_dir, runs_dir
from lib.tracking import create_run
from tests.features.tiny_dataset import TinyDataset
from tests.run_store import make_run_store

BACKBONE, TRAINED = "bundled_vgg", ("block4", "block5")
PREPROCESSING = {
    "input_size_px": 32, "store_side_px": 32, "crop_policy": "center_square",
    "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
}  # fmt: skip


class KeptDataset(TinyDataset):
    """A data set that is at its only version."""

    versions = ("v1",)

    def at_version(self, version: str) -> "KeptDataset":
        assert version == self.version
        return self


def manifest_of(dataset: TinyDataset | Dataset, strategy: str = "partial_finetuning", **config: object) -> dict:
    settings = {"split_seed": 0, "num_folds": None, "unfreeze_from": "block4", **config}
    about = {"name": dataset.name, "title": dataset.spec.title, "version": dataset.version, "is_medical": False,
             "is_ordinal": dataset.spec.is_ordinal}  # fmt: skip
    return {"classes": list(dataset.spec.class_names), "preprocessing": PREPROCESSING, "strategy": strategy,
            "dataset": about, "config": settings}  # fmt: skip


def seen_in(dataset: TinyDataset | Dataset) -> SeenImages:
    split, ids = dataset.split(0), dataset.table["image_id"].to_numpy()
    return SeenImages.of(ids[split == "train"], ids[split == "val"])


@lru_cache(maxsize=1)
def _tuned() -> Classifier:
    torch.manual_seed(0)
    dataset = KeptDataset(num_images=80)
    classifier = build_classifier(build_backbone(BACKBONE), head="linear", num_classes=2, feature_stage="pool")
    apply_freezing(classifier, trains_backbone="partial", unfreeze_from="block4")
    classifier.train()
    batch = torch.from_numpy(dataset.pixels).permute(0, 3, 1, 2).float() / 255 * 4 - 2
    targets, rows = torch.tensor(dataset.table["target"].tolist()), np.flatnonzero(dataset.split(0) == "train")
    trained = [parameter for parameter in classifier.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    for _ in range(4):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(classifier(batch[rows]), targets[rows]).backward()
        optimizer.step()
    return classifier.eval().requires_grad_(requires_grad=False)


def tuned_classifier() -> Classifier:
    """One of the caller's own: block4 and block5 trained for four steps, everything before them frozen."""
    return copy.deepcopy(_tuned())


def tuned_grader(dataset: TinyDataset | None = None, strategy: str = "partial_finetuning", **config: object) -> Grader:
    """Its grader, as if it had been trained on a data set in memory."""
    dataset = dataset or KeptDataset(num_images=80)
    manifest = manifest_of(dataset, strategy, **config)
    manifest["network"] = {"base_digest": weights_digest(BACKBONE, "pretrained")}
    return Grader(tuned_classifier(), manifest, seen=seen_in(dataset), run="0123456789abcdef", device="cpu")


def write_tinted(folder: Path, *, per_class: int = 40, seed: int = 0) -> Path:
    """The same images as files, a folder a class."""
    from PIL import Image

    dataset = TinyDataset(num_images=2 * per_class, seed=seed)
    for name in dataset.class_names:
        (folder / name).mkdir(parents=True)
    for row, target in enumerate(dataset.table["target"]):
        Image.fromarray(dataset.pixels[row]).save(folder / dataset.class_names[target] / f"{row}.png")
    return folder


def save_run(folder: Path, strategy: str = "partial_finetuning", *, name: str = "tinted", **config: object) -> str:
    """A finished run on a data set that is imported from `folder`; returns its id."""
    if not (datasets_dir() / name).is_dir():
        import_folder(write_tinted(folder), name=name)
    if not (runs_dir() / "mlflow.db").exists():
        make_run_store()
    dataset = open_dataset(name)
    about = {"dataset": name, "dataset_version": dataset.version, "backbone": BACKBONE, "strategy": strategy}
    run = create_run({**about, "split_seed": 0}, name=f"{strategy} of {name}")
    run.set_state("running")
    bundle = run.folder / "bundle"
    digest = weights_digest(BACKBONE, "pretrained")
    save_bundle(bundle, tuned_classifier(), manifest_of(dataset, strategy, **config), base_digest=digest)
    save_seen(bundle / SEEN_FILE, seen_in(dataset))
    split = dataset.split(0) == "test"
    table = dataset.table[split]
    columns = {"image_id": table["image_id"].to_numpy(), "split": "test", "target": table["target"].to_numpy()}
    shares = np.eye(2)[columns["target"]]
    pd.DataFrame({**columns, "probability_0": shares[:, 0], "probability_1": shares[:, 1]}).to_parquet(
        run.folder / "predictions.parquet"
    )
    run.log_summary({**about, "state": "finished", "test_accuracy": 1.0, "num_test": int(split.sum())})
    run.finish("finished", "")
    return run.run_id
