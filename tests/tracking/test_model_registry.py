"""The model registry on a small store: versions under a name, an alias that moves and moves back, and addresses."""

import shutil

import pytest

from lib.errors import UserError
from lib.grading.manifest import find_bundle
from lib.tracking import create_run, delete_run
from lib.tracking.model_registry import (
    register_run,
    registered_bundle,
    registered_run,
    registered_versions,
    roll_back,
    set_alias,
)
from tests.run_store import make_run_store


@pytest.fixture
def runs(home):
    make_run_store()
    config = {"dataset": "d", "backbone": "b", "strategy": "s"}
    made = [create_run(config, name=f"run {row}", state="finished") for row in range(3)]
    for run in made:
        (run.folder / "bundle").mkdir()
        (run.folder / "bundle" / "manifest.json").write_text("{}")
    return [run.run_id for run in made]


@pytest.mark.slow
def test_an_alias_moves_and_moves_back(runs):
    assert registered_versions() == []
    versions = [register_run(run_id, "eyes") for run_id in runs]
    assert [(one.name, one.version, one.run_id) for one in versions] == [
        ("eyes", number, run_id) for number, run_id in enumerate(runs, start=1)
    ]
    assert [set_alias("eyes", "champion", version) for version in (1, 2, 2, 3)] == [None, 1, 2, 2]
    assert registered_run("models:/eyes@champion") == runs[2]
    assert roll_back("eyes") == (3, 2)
    assert roll_back("eyes") == (2, 1)
    assert registered_run("models:/eyes@champion") == runs[0]
    assert registered_run("models:/eyes/3") == runs[2]
    with pytest.raises(UserError, match="never pointed to another version than 1"):
        roll_back("eyes")
    assert [(one.version, one.aliases) for one in registered_versions("eyes")] == [(3, ()), (2, ()), (1, ("champion",))]
    assert registered_versions("eyes")[2].address == "models:/eyes@champion"
    folder, run_id = registered_bundle("models:/eyes@champion")
    assert (folder.parent.name, run_id) == (runs[0], runs[0])
    assert find_bundle("models:/eyes/2") == (folder.parent.parent / runs[1] / "bundle", runs[1])


def test_aliases_of_a_name_do_not_mix(runs):
    for run_id in runs:
        register_run(run_id, "it's" if run_id == "never" else "two words")
    set_alias("two words", "champion", 1)
    set_alias("two words", "challenger", 2)
    set_alias("two words", "challenger", 3)
    assert roll_back("two words", "challenger") == (3, 2)
    assert registered_run("models:/two words@champion") == runs[0]


def test_what_is_not_there_is_said(runs):
    register_run(runs[0], "eyes")
    for address, words in (
        ("models:/eyes@champion", r"eyes has no alias 'champion' \(it has: none\)"),
        ("models:/eyes/9", "eyes has no version 9"),
        ("models:/ears@champion", "No model is registered as 'ears'"),
        ("models:/eyes", "A registered model is models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/a/b/../c", "A registered model is models:/NAME"),
    ):
        with pytest.raises(UserError, match=words):
            registered_bundle(address)
    with pytest.raises(UserError, match="has no version 4"):
        set_alias("eyes", "champion", 4)
    with pytest.raises(UserError, match="An alias begins with a letter"):
        set_alias("eyes", "1", 1)
    with pytest.raises(UserError, match="has no alias 'champion'; set one"):
        roll_back("eyes")
    with pytest.raises(UserError, match="A registered name has letters"):
        register_run(runs[0], "../eyes")
    with pytest.raises(UserError, match="No model is registered as 'ears'"):
        registered_versions("ears")


def test_runs_that_cannot_be_registered_or_are_gone(runs, home):
    register_run(runs[0], "eyes")
    delete_run(runs[0])
    with pytest.raises(UserError, match="which was deleted; restore it first"):
        registered_bundle("models:/eyes/1")
    empty = create_run({"dataset": "d", "backbone": "b", "strategy": "s"}, name="empty")
    with pytest.raises(UserError, match="has no classifier yet"):
        register_run(empty.run_id, "eyes")
    register_run(runs[1], "eyes")
    shutil.rmtree(home / "runs" / runs[1])
    with pytest.raises(UserError, match="neither here nor in the store of artifacts"):
        registered_bundle("models:/eyes/2")


def test_another_tracking_uri_has_its_own_registry(runs, tmp_path, monkeypatch):
    register_run(runs[0], "eyes")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'team.db'}")
    shutil.copyfile(tmp_path / "home" / "runs" / "mlflow.db", tmp_path / "team.db")
    with pytest.raises(UserError, match="No model is registered as 'ears'"):
        set_alias("ears", "champion", 1)
