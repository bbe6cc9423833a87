"""A demo of invented runs: its data set is tiny, and a run is done as soon as it is begun."""

import shutil
from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lib.atomic import write_json
from lib.data.library import open_dataset
from lib.demo import making, recording
from lib.demo.making import record
from lib.jobs.event_text import write_event_to_log
from lib.models.bundle_files import MANIFEST_FILE, NETWORK_FILE
from lib.settings import DEMO_DATASET
from lib.tracking.state import LOG_FILE
from lib.training.events import EpochEnded, NetworkBuilt, PhaseStarted, Progressed, Recorder
from lib.training.strategies import STRATEGIES
from tests.kept_home import made_once
from tests.run_store import make_run_store
from tests.stand_in import StandIn

WEIGHTS = np.linspace(-1, 1, 6400, dtype=np.float32).reshape(80, 80)  # many enough to be halved


class Worker(StandIn):
    """Waits a place in the queue, tells phases and epochs, and leaves what a training leaves."""

    def begin(self, run, on_wait):
        on_wait(1)
        super().begin(run, on_wait)

    def train(self, run, listener):
        def hear(event):
            write_event_to_log(event, run.folder / LOG_FILE)
            listener(event)

        tell, epochs = Recorder(run, hear), run.config["epochs"] or 0
        tell(PhaseStarted("Training"))
        tell(NetworkBuilt(100, 400))
        tell(Progressed("Training", 1, 2, 10.0, 3.0))
        for epoch in range(1, epochs + 1):
            values = {"train_loss": 1 / epoch, "val_loss": 1.5 / epoch, "val_accuracy": 0.1 * epoch}
            values |= {"train_accuracy": 0.2 * epoch, "val_quadratic_weighted_kappa": 0.2 * epoch}
            tell(EpochEnded(epoch, epochs, values, tuple((1,) * 5 for _ in range(5))))

    def write(self, run):
        dataset = open_dataset(DEMO_DATASET)
        is_test = dataset.split(0) == "test"
        targets = dataset.table["target"].to_numpy()[is_test]
        given = np.where(np.arange(len(targets)) < len(self.done), (targets + 1) % 5, targets)
        columns = {"image_id": dataset.table["image_id"].to_numpy()[is_test], "split": "test", "target": targets}
        shares = {f"probability_{k}": np.where(given == k, 0.8, 0.05) for k in range(5)}
        pd.DataFrame({**columns, **shares}).to_parquet(run.folder / "predictions.parquet")
        write_bundle(run.folder / "bundle")
        share = float((given == targets).mean())
        run.log_summary(
            {"state": "finished", "dataset": DEMO_DATASET, "dataset_version": dataset.version, "test_accuracy": share,
             "test_quadratic_weighted_kappa": share, "num_test": len(targets), "seconds_total": 1.0}
        )  # fmt: skip


def write_bundle(folder: Path) -> None:
    """Tensors of every kind that a classifier has, and the manifest that belongs to them."""
    from safetensors.numpy import save_file

    from lib.atomic import sha256_of_file

    folder.mkdir()
    tensors = {"stages.0.weight": WEIGHTS, "head.mean": np.full(3, 1e9, np.float32), "head.count": np.array(7)}
    save_file(tensors, folder / NETWORK_FILE)
    manifest = {"classes": list("abcde"), "network_sha256": sha256_of_file(folder / NETWORK_FILE)}
    write_json(folder / MANIFEST_FILE, manifest)


@lru_cache(maxsize=1)
def _recorded() -> Path:
    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(making, "PICTURE_PX", 64)
            patch.setattr(making, "STORE_SIDE_PX", 64)
            patch.setattr(making, "_answers_as_recorded", lambda run, dataset: True)
            changes = {"epochs": 2, "input_size_px": 32}
            record(
                folder / "demo", per_class=6, changes=changes, has_samples=False, machine="a tested machine",
                work=Worker(),
            )  # fmt: skip

    return made_once("demo", make) / "demo"


@pytest.fixture
def shipped(tmp_path, monkeypatch) -> recording.Recording:
    """The recording that this copy of the program ships: a copy that the test may damage."""
    folder = tmp_path / "shipped"
    shutil.copytree(_recorded(), folder)
    monkeypatch.setattr(recording, "FOLDER", folder)
    found = recording.find_recording()
    assert found is not None
    assert list(found.runs) == [name for name in STRATEGIES.names if name in found.runs]
    return found


@pytest.fixture
def worker(shipped) -> Worker:
    make_run_store()
    return Worker()
