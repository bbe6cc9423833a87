"""The recorded demo: recorded, installed on a first visit, deleted, brought back; damaged, it is one sentence."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from lib import demo, tracking
from lib.cli import run as run_command
from lib.data.importing import import_folder
from lib.data.library import delete_dataset, open_dataset
from lib.demo import installation, recording
from lib.demo.installation import install, is_due, missing_runs
from lib.errors import UserError
from lib.settings import DEMO_DATASET, datasets_dir, runs_dir, trash_dir
from lib.sweeps.results import arm_results
from lib.sweeps.strategies import StrategySweep
from lib.tracking import read_state
from tests.demo.conftest import WEIGHTS
from tests.pages.scene import make_dataset, make_run


def test_an_empty_home_gets_data_set_runs_and_race(shipped):
    assert is_due()
    install()
    assert not is_due()
    dataset = open_dataset(DEMO_DATASET)
    dataset.verify()
    imported = json.loads((shipped.folder / "dataset" / "dataset.json").read_text())
    assert dataset.description["sha256"] == imported["sha256"]  # what an ordinary import of the pictures gave
    assert dataset.version == imported["version"]
    assert set(dataset.table["split"]) == {"train", "val", "test"}
    assert dataset.has_masks
    assert dataset.source_path(0).is_file()
    runs = {run.run_id: run for run in tracking.list_runs()}
    assert set(runs) == set(shipped.runs.values())
    run = runs[shipped.runs["full_finetuning"]]
    assert (run.state, run.tags["demo"], run.tags["race_id"]) == ("finished", "full_finetuning", shipped.race_id)
    assert run.recorded_words.endswith(", a tested machine")
    assert run.recorded_words == read_state(run.run_id).recorded_words == shipped.words
    assert run.metrics["test_accuracy"] == run.summary["test_accuracy"]
    history = tracking.metric_history(run.run_id, ["val_accuracy"])
    assert history["value"].tolist() == [0.1, 0.2]
    assert (run.folder / "artifacts" / "summary.json").is_file()
    assert demo.demo_run_ids() == list(shipped.runs.values())
    [plan] = StrategySweep.newest_first()
    assert plan.read().state == "finished"
    assert [standing.state for standing in arm_results(plan)] == ["finished"] * 6


def test_what_is_unpacked_is_what_was_recorded(shipped):
    source = shipped.folder / "runs" / shipped.runs["linear_probe"] / "bundle"
    kept = load_file(source / "network.safetensors")
    assert {name: str(tensor.dtype) for name, tensor in kept.items()} == {
        "stages.0.weight": "float16", "head.mean": "float32", "head.count": "int64"
    }  # fmt: skip
    install()
    folder = runs_dir() / shipped.runs["linear_probe"] / "bundle"
    tensors = load_file(folder / "network.safetensors")
    assert tensors["stages.0.weight"].dtype == np.float32
    np.testing.assert_allclose(tensors["stages.0.weight"], WEIGHTS, atol=5e-4)
    assert tensors["head.count"].shape == ()
    assert tensors["head.mean"].tolist() == [1e9] * 3
    from lib.models.bundle_files import read_bundle_files

    read_bundle_files(folder)  # the checksum is that of the widened file


def test_a_home_with_runs_of_its_own_keeps_them(shipped):
    make_dataset()
    own = make_run("linear_probe")
    before = (runs_dir() / own / "state.json").read_bytes()
    install()
    assert {run.run_id for run in tracking.list_runs()} == {own, *shipped.runs.values()}
    assert (runs_dir() / own / "state.json").read_bytes() == before
    assert open_dataset("tiny").name == "tiny"


def test_deleted_runs_come_back_even_from_an_emptied_trash(shipped):
    install()
    runs = list(shipped.runs.values())
    for run_id in runs[:2]:
        tracking.delete_run(run_id)
    delete_dataset(DEMO_DATASET)
    shutil.rmtree(trash_dir() / "runs" / runs[0])
    assert missing_runs() == list(shipped.runs)[:2]
    assert not is_due()  # nothing comes back unasked
    install()
    assert missing_runs() == []
    assert {run.run_id for run in tracking.list_runs()} == set(runs)
    assert open_dataset(DEMO_DATASET).num_images == 30


def test_a_later_recording_takes_the_place_of_the_former(shipped, monkeypatch):
    install()
    tracking.list_runs()
    path = shipped.folder / recording.RECORDING_FILE
    content = json.loads(path.read_text())
    former = content["runs"].pop("from_scratch")
    path.write_text(json.dumps({**content, "recording_id": "later"}))
    assert is_due()
    install()
    assert not is_due()
    assert former not in {run.run_id for run in tracking.list_runs()}
    assert (trash_dir() / "runs" / former).is_dir()


@pytest.mark.parametrize(
    ("name", "words"),
    [("dataset/table.parquet", "has changed"), ("race", "is missing"), ("recording.json", "cannot be")],
)
def test_a_damaged_recording_is_one_sentence_and_status_2(shipped, name, words, capsys):
    path = shipped.folder / name
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.write_bytes(path.read_bytes()[:-9])
    assert run_command(["demo", "install"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("Error: The recorded demo is damaged: ")
    assert words in said
    assert not any(datasets_dir().iterdir())
    assert tracking.list_runs() == []


def test_what_stands_in_the_way_is_said(shipped, monkeypatch, tmp_path):
    folder = tmp_path / "pictures"
    make_dataset()
    shutil.copytree(datasets_dir() / "tiny", datasets_dir() / DEMO_DATASET)
    with pytest.raises(UserError, match="has another data set named 'fundus-demo'"):
        install()
    with pytest.raises(UserError, match="is kept for a generated data set"):
        import_folder(folder, name=DEMO_DATASET)
    monkeypatch.setattr(installation, "tracking_uri", lambda: "http://127.0.0.1:1")
    assert not is_due()
    with pytest.raises(UserError, match="into a run store of this machine"):
        install()
    monkeypatch.setattr(recording, "FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match="ships no recorded demo"):
        install()


def test_installing_needs_neither_torch_nor_mlflow(shipped, home):
    code = (
        "import pathlib, sys; from lib.demo import recording, install;"
        f"recording.FOLDER = pathlib.Path({str(shipped.folder)!r}); install();"
        "sys.exit(str({'torch', 'mlflow', 'sklearn'} & set(sys.modules)) if {'torch', 'mlflow', 'sklearn'} & set("
        "sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(tracking.list_runs()) == 6
