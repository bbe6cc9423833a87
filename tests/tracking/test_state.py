import json
import threading

import pytest

from lib import tracking
from lib.errors import UserError
from lib.settings import runs_dir
from lib.tracking.state import STOP_FILE, update_state
from tests.tracking.conftest import CONFIG

pytestmark = pytest.mark.usefixtures("run_store")


def test_a_stop_flag_reads_as_stopping_only_while_active():
    run = tracking.create_run(CONFIG, state="running")
    (run.folder / STOP_FILE).touch()
    assert tracking.read_state(run.run_id).state == "stopping"
    run.set_state("finished")
    assert tracking.read_state(run.run_id).state == "finished"


def test_concurrent_changes_of_a_state_are_not_lost():
    run = tracking.create_run(CONFIG)
    threads = [
        threading.Thread(target=lambda key=key: [update_state(run.run_id, **{key: n}) for n in range(30)])
        for key in ("first", "second", "third")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    content = json.loads((run.folder / "state.json").read_text())
    assert (content["first"], content["second"], content["third"]) == (29, 29, 29)


def test_run_folders_are_found_without_mlflow():
    runs = [tracking.create_run(CONFIG) for _ in range(2)]
    assert tracking.state.find_local_run(runs[0].run_id[:12]) == runs[0].run_id
    assert tracking.state.find_local_run("latest") == runs[1].run_id
    assert tracking.state.find_local_run("") is None
    assert tracking.state.find_local_run("../") is None


@pytest.mark.parametrize("wrong", ["../secrets", "", "a/b", "x" * 65])
def test_a_path_is_not_a_run_id(wrong):
    with pytest.raises(UserError, match="is not a run id"):
        tracking.read_state(wrong)


def test_unknown_and_damaged_states_are_named(home):
    with pytest.raises(UserError, match="There is no run 'abc' here"):
        tracking.read_state("abc")
    (runs_dir() / "abc").mkdir()
    (runs_dir() / "abc" / "state.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        tracking.read_state("abc")
    assert tracking.state.stored_states() == []
