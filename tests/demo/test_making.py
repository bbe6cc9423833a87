"""How the recording is made: in a home of its own, by classifiers that answer as recorded, and not too large."""

import os
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.atomic import write_json
from lib.demo import making
from lib.demo.making import _answers_as_recorded, _own_home, _pack, record, this_machine
from lib.errors import UserError
from lib.tracking.state import run_folder


def test_it_is_made_in_a_home_of_its_own_that_is_left_whatever_happens(home):
    with pytest.raises(UserError), _own_home() as own:
        assert os.environ["TRANSFERSCOPE_HOME"] == str(own) != str(home)
        raise UserError("A rung failed.")
    assert os.environ["TRANSFERSCOPE_HOME"] == str(home)
    assert not own.exists()


def test_a_home_that_was_not_set_is_not_set_afterwards(monkeypatch):
    monkeypatch.delenv("TRANSFERSCOPE_HOME")
    with _own_home():
        pass
    assert "TRANSFERSCOPE_HOME" not in os.environ


def test_the_machine_is_its_graphics_card_or_its_cores(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr(making, "processor_name", lambda: "A  Processor @\t2 GHz ")
    monkeypatch.setattr(making, "available_cores", lambda: 1)
    assert this_machine() == "1 core of A Processor @ 2 GHz"
    monkeypatch.setattr(making, "available_cores", lambda: 8)
    assert this_machine() == "8 cores of A Processor @ 2 GHz"
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda: "A card")
    assert this_machine() == "A card"


@pytest.mark.parametrize(("too_large", "no_leader"), [(True, False), (False, True)])
def test_what_cannot_ship_leaves_the_former_recording(tmp_path, monkeypatch, home, too_large, no_leader):
    former = tmp_path / "demo" / "recording.json"
    former.parent.mkdir()
    former.write_text("the former")

    def draw(folder, **_):
        folder.mkdir(parents=True)
        (folder / "picture.jpg").write_bytes(b"0" * 1000)

    plan = SimpleNamespace(race_id="beef", path=lambda end="": home.parent / f"race{end or '.json'}")
    for end in (".json", ".plan.json"):
        plan.path(end if end != ".json" else "").write_text("{}")
    monkeypatch.setattr(making, "draw_dataset", draw)
    monkeypatch.setattr(making, "_race", lambda *_: (plan, {}))
    monkeypatch.setattr(making, "arm_results", lambda plan: [])
    monkeypatch.setattr(making, "MAX_BYTES", 900 if too_large else 10**6)
    expected = "would have 0.0 MB; at most 0 MB ship" if too_large else "No rung has a defined result"
    with pytest.raises(UserError, match=expected):
        record(tmp_path / "demo", has_samples=no_leader, machine="a machine")
    assert former.read_text() == "the former"
    assert os.environ["TRANSFERSCOPE_HOME"] == str(home)


@dataclass
class Images:
    """Stands in for a data set of four images, whose pixels are their numbers."""

    pixels: np.ndarray

    def indices(self, image_ids):
        return np.array([int(image_id) for image_id in image_ids])


def test_images_of_validation_and_test_must_get_the_recorded_class_and_others_need_not(tmp_path, monkeypatch):
    parts, recorded = ["out_of_fold", "val", "test", "test"], np.array([1, 0, 1, 0])
    table = pd.DataFrame({"image_id": ["0", "1", "2", "3"], "split": parts, "target": 0})
    table[["probability_0", "probability_1"]] = np.eye(2)[recorded]
    table.to_parquet(tmp_path / "predictions.parquet")
    answers = np.array([0, 0, 1, 0])  # another than the recorded one out of fold
    grader = SimpleNamespace(scores=lambda pixels: (np.eye(2)[answers[pixels]], None))
    monkeypatch.setattr("lib.grading.grader.Grader.open", lambda bundle, device: grader)
    assert _answers_as_recorded(tmp_path, Images(np.arange(4)))
    answers[3] = 1
    assert not _answers_as_recorded(tmp_path, Images(np.arange(4)))


@pytest.mark.parametrize(("answering", "seeds", "dtype"), [(2, [0, 1, 2], "float16"), (99, [0, 1, 2, 3], "float32")])
def test_roundings_are_tried_until_the_answers_are_the_recorded_ones(
    home, tmp_path, monkeypatch, answering, seeds, dtype
):
    from safetensors.numpy import load_file, save_file

    source, weights = run_folder("r1"), np.full(5000, 0.1, np.float32)
    (source / "bundle").mkdir(parents=True)
    config = {"dataset": "d", "backbone": "mobilenet_v2", "strategy": "linear_probe"}
    for name, content in (("config.json", config), ("state.json", {"state": "finished"}), ("bundle/manifest.json", {})):
        write_json(source / name, content)
    save_file({"weights": weights}, source / "bundle" / "network.safetensors")
    tried = []

    def as_recorded(run, dataset):
        assert load_file(run / "bundle" / "network.safetensors")["weights"].dtype == np.float32  # as it will be used
        tried.append(int(run.name.rpartition("_")[2]))
        return tried[-1] == answering

    monkeypatch.setattr(making, "_answers_as_recorded", as_recorded)
    monkeypatch.setattr(making, "_NUM_ROUNDINGS", 4)
    _pack("r1", tmp_path / "packed", dataset=None, machine="a machine", tags={"demo": "linear_probe"})
    assert tried == seeds
    kept = load_file(tmp_path / "packed" / "bundle" / "network.safetensors")["weights"]
    assert str(kept.dtype) == dtype
    if dtype == "float32":
        assert np.array_equal(kept, weights)
