from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lib.experiment import run_experiment
from lib.training.events import NetworkBuilt
from lib.watched_images import WatchedFrame, frame_epochs, read_frame, write_frame
from tests.experiment.test_running import Run, tiny_config
from tests.features.tiny_dataset import TinyDataset


@pytest.fixture
def run_with(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    dataset = TinyDataset(num_images=30)
    monkeypatch.setattr("lib.data.importing.resolve_dataset", lambda name, progress: dataset)

    def run(name: str, **settings: Any) -> tuple[Run, list[Any]]:
        done, events = Run(tmp_path / name), []
        run_experiment(tiny_config(**settings), done, should_stop=lambda: False, listener=events.append)
        return done, events

    return run


@pytest.mark.slow
def test_the_frame_of_the_best_epoch_is_what_the_finished_network_says(run_with):
    run, events = run_with("watched", strategy="full_finetuning", pinned_images="auto")
    assert frame_epochs(run.folder) == [0, 1, 2]
    frame = read_frame(run.folder, run.summary["facts"]["best_epoch"])
    table = pd.read_parquet(run.folder / "predictions.parquet").set_index("image_id")
    expected = table.loc[frame.image_ids, ["probability_0", "probability_1"]].to_numpy()
    assert frame.probabilities == pytest.approx(expected, abs=1e-5)
    assert (table.loc[frame.image_ids, "split"] == "val").all()
    assert frame.maps is not None
    assert frame.maps.shape[0] == 2
    assert 0 <= frame.maps.min() <= frame.maps.max() <= 1
    assert not np.array_equal(frame.probabilities, read_frame(run.folder, 0).probabilities)
    built = next(event for event in events if isinstance(event, NetworkBuilt))
    assert built.num_trained == built.num_parameters > 100_000

    plain, _ = run_with("plain", strategy="full_finetuning")
    assert frame_epochs(plain.folder) == []
    pd.testing.assert_frame_equal(
        pd.read_parquet(plain.folder / "predictions.parquet"), table.reset_index()
    )  # to look changes nothing


@pytest.mark.slow
def test_a_fit_in_one_go_is_seen_once(run_with):
    run, events = run_with("probe", strategy="linear_probe", pinned_images="auto")
    assert frame_epochs(run.folder) == [0]
    assert read_frame(run.folder, 0).maps is not None
    built = next(event for event in events if isinstance(event, NetworkBuilt))
    assert built.num_trained == 2 * 576 + 2  # MobileNetV3-Small's 576 features, two classes
    neighbors, events = run_with("neighbors", strategy="nearest_neighbors", pinned_images="auto")
    assert read_frame(neighbors.folder, 0).maps is None  # neighbours have no gradient
    assert next(event for event in events if isinstance(event, NetworkBuilt)).num_trained == 0


def test_a_frame_is_small_and_comes_back_as_it_was(tmp_path):
    rng = np.random.default_rng(0)
    frame = WatchedFrame(3, ["a", "b"], rng.dirichlet(np.ones(5), 2), rng.random((2, 12, 12)), "block5", 0.25)
    write_frame(tmp_path, frame)
    found = read_frame(tmp_path, 3)
    assert (found.epoch, found.image_ids, found.stage, found.seconds) == (3, ["a", "b"], "block5", 0.25)
    assert found.probabilities == pytest.approx(frame.probabilities, abs=1e-6)
    assert found.maps == pytest.approx(frame.maps, abs=1e-3)
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.npz")) < 4096
    with pytest.raises(OSError, match="epoch_0004"):
        read_frame(tmp_path, 4)
