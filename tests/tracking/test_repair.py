import json
import shutil

import pytest

from lib import tracking
from lib.settings import runs_dir
from lib.tracking.repair import let_wait
from lib.tracking.state import update_state
from tests.tracking.conftest import CONFIG

pytestmark = pytest.mark.usefixtures("run_store")


def test_runs_that_wait_are_entered_once(home):
    run = tracking.create_run(CONFIG)
    run.finish("finished")
    folder = runs_dir() / ("f" * 32)
    shutil.copytree(run.folder, folder)
    update_state(folder.name, name="From elsewhere", recorded_on="a tested machine")
    (folder / "tags.json").write_text(json.dumps({"demo": "linear_probe"}))
    let_wait([folder.name, folder.name, "0" * 32])  # the last has no folder
    found = {record.run_id: record for record in tracking.list_runs()}
    assert set(found) == {run.run_id, folder.name}
    entered = found[folder.name]
    assert (entered.label, entered.state, entered.tags["demo"]) == ("From elsewhere", "finished", "linear_probe")
    assert entered.recorded_words.endswith(", a tested machine")
    assert found[run.run_id].recorded_words == ""
    assert not (runs_dir() / "waiting_for_store.json").exists()
    tracking.delete_run(folder.name)
    shutil.move(home / "trash" / "runs" / folder.name, folder)
    let_wait([folder.name])
    assert len(tracking.list_runs()) == 2  # visible again, not twice
