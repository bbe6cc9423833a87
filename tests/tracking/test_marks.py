"""What a person says of a run: kept as MLflow's tags, and in the folder from which a store is made anew."""

import pytest

from lib.errors import UserError
from lib.settings import runs_dir
from lib.tracking import create_run, get_run
from lib.tracking.marks import MAX_NOTE, Marks, archive_run, label_run, note_run, pin_run
from lib.tracking.store import repair_store
from tests.tracking.conftest import CONFIG


def marks_of(run_id):
    return Marks.of(get_run(run_id).tags)


def test_labels_notes_pins_and_archive_are_kept_and_taken_back(run_store):
    run_id = create_run(CONFIG).run_id
    assert marks_of(run_id) == Marks()
    assert label_run(run_id, add=["paper", " to  repeat "]) == ("paper", "to repeat")
    assert label_run(run_id, add=["Paper"], remove=["TO repeat"]) == ("Paper",)  # one word, however it is spelled
    note_run(run_id, "  first line \nsecond")
    pin_run(run_id)
    archive_run(run_id)
    assert marks_of(run_id) == Marks(("Paper",), "first line\nsecond", is_pinned=True, is_archived=True)
    label_run(run_id, remove=["paper"])
    note_run(run_id, "")
    pin_run(run_id, is_pinned=False)
    archive_run(run_id, is_archived=False)
    assert marks_of(run_id) == Marks()
    assert not {"labels", "pinned", "archived", "mlflow.note.content"} & set(get_run(run_id).tags)


@pytest.mark.parametrize("label", ["", "a,b", "x" * 41, "line\x07"])
def test_an_unusable_label_is_refused(run_store, label):
    run_id = create_run(CONFIG).run_id
    with pytest.raises(UserError, match="A tag is 1 to 40 letters without a comma"):
        label_run(run_id, add=[label])
    with pytest.raises(UserError, match="at most 2,000 characters, received 2,001"):
        note_run(run_id, "x" * (MAX_NOTE + 1))


@pytest.mark.slow
def test_mlflow_reads_the_same(run_store):
    from lib.settings import tracking_uri
    from lib.tracking.store import MlflowRuns

    run_id = create_run(CONFIG).run_id
    note_run(run_id, "seen")
    label_run(run_id, add=["paper"])
    pin_run(run_id)
    theirs = MlflowRuns(tracking_uri())
    tags = theirs.get_run(run_id).data.tags
    assert (tags["mlflow.note.content"], tags["labels"], tags["pinned"]) == ("seen", "paper", "yes")
    theirs.delete_tag(run_id, "pinned")
    theirs.delete_tag(run_id, "pinned")
    assert not marks_of(run_id).is_pinned


def test_marks_survive_a_store_that_is_lost(run_store):
    run = create_run(CONFIG)
    run.finish("finished")
    label_run(run.run_id, add=["paper"])
    pin_run(run.run_id)
    archive_run(run.run_id)
    pin_run(run.run_id, is_pinned=False)
    (runs_dir() / "mlflow.db").write_bytes(b"no database" * 400)
    repair_store()
    assert marks_of(run.run_id) == Marks(("paper",), is_archived=True)
