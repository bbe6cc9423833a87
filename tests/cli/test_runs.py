import json

from lib import tracking
from lib.jobs import queue
from tests.run_store import make_run_store

CONFIG = {"dataset": "colours", "backbone": "resnet18", "strategy": "linear_probe"}


def test_no_runs_say_how_to_make_one(command):
    answer = command("runs", "list")
    assert answer.status == 0
    assert "python -m lib train" in answer.err
    assert json.loads(command("runs", "list", "--json").out) == {"runs": []}


def test_list_show_rename_delete_and_restore(command):
    make_run_store()
    run = tracking.create_run(CONFIG, name="first", state="running")
    (run.folder / "log.txt").write_text("a word from the worker\n")
    (run.folder / "compute.json").write_text('{"engine": "onnx", "engine_reason": "twice as fast in a trial"}')
    run.log_summary({"test_accuracy": 0.75})
    run.finish("finished", "all well")
    short = run.run_id[:8]

    listed = json.loads(command("runs", "list", "--json").out)["runs"]
    assert [(row["run_id"], row["state"], row["test_accuracy"]) for row in listed] == [(run.run_id, "finished", 0.75)]
    assert f"{short}  finished  accuracy 75.0 %  -                first" in command("runs", "list").out
    text = command("runs", "show", short).out
    assert "a word from the worker" in text
    assert "engine_reason  twice as fast in a trial" in text
    assert "created_s" not in text
    shown = json.loads(command("runs", "show", "latest", "--json").out)
    assert (shown["config"], shown["message"]) == (CONFIG, "all well")
    assert shown["compute"]["engine"] == "onnx"

    assert "is now called second" in command("runs", "rename", short, "second").out
    deleted = command("runs", "delete", short)
    assert f"Undo with: python -m lib runs restore {short}" in deleted.out
    assert json.loads(command("runs", "list", "--json").out)["runs"] == []
    assert "deleted" in command("runs", "list", "--all").out
    assert command("runs", "restore", short).status == 0
    assert "second" in command("runs", "list").out


def test_a_run_whose_process_is_gone_is_settled_by_looking(command):
    make_run_store()
    run = tracking.create_run(CONFIG, state="running")
    tracking.state.update_state(run.run_id, pid=2**22 + 1, pid_started_s=1.0, heartbeat_s=1.0)
    assert json.loads(command("runs", "list", "--json").out)["runs"][0]["state"] == "killed"
    answer = command("runs", "stop", run.run_id[:8])
    assert (answer.status, answer.out.split()[2]) == (0, "killed.")


def test_a_queued_run_is_shown_with_its_place(command):
    make_run_store()
    run = tracking.create_run(CONFIG)
    queue.enqueue(run.run_id)
    answer = command("runs", "show", run.run_id[:8])
    assert "queued" in answer.out
    refused = command("runs", "delete", run.run_id[:8])
    assert refused.status == 2
    assert "stop it first: python -m lib runs stop" in refused.err
    assert "is queued; stop it first" in command("runs", "resume", run.run_id[:8]).err


def test_tags_notes_pins_and_the_archive(command):
    make_run_store()
    names = ("linear_probe", "from_scratch")
    first, second = (tracking.create_run({**CONFIG, "strategy": name}, name=name) for name in names)
    for run in (first, second):
        run.finish("finished")
    short = first.run_id[:8]
    assert f"{short} has the tags paper, to repeat." in command("runs", "tag", short, "paper", "to repeat").out
    assert json.loads(command("runs", "tag", short, "paper", "--remove", "--json").out)["tags"] == ["to repeat"]
    assert "has a note now" in command("runs", "note", short, "vessels look odd").out
    assert "is pinned (linear_probe)" in command("runs", "pin", short).out
    assert "Undo with: python -m lib runs archive" in command("runs", "archive", second.run_id[:8]).out
    facts = json.loads(command("runs", "show", short, "--json").out)
    assert (facts["tags"], facts["note"], facts["is_pinned"], facts["is_archived"]) == (
        ["to repeat"], "vessels look odd", True, False
    )  # fmt: skip

    def listed(*options):
        return [run["run_id"] for run in json.loads(command("runs", "list", "--json", *options).out)["runs"]]

    assert listed() == [first.run_id]
    assert "1 archived run is not listed: --archived" in command("runs", "list").err
    assert listed("--archived") == [second.run_id, first.run_id]
    assert "back" in command("runs", "archive", second.run_id[:8], "--undo").out
    assert listed("--tag", "To Repeat") == listed("--pinned") == listed("--search", "vessels odd") == [first.run_id]
    assert listed("--strategy", "from_scratch") == [second.run_id]
    assert listed("--strategy", "from_scratch", "--strategy", "linear_probe", "--state", "finished") == [
        second.run_id, first.run_id
    ]  # fmt: skip
    assert listed("--dataset", "elsewhere") == []
    assert "No run is like that" in command("runs", "list", "--backbone", "vgg16").err
    assert "to repeat" in command("runs", "list").out
    command("runs", "note", short, "")
    command("runs", "pin", short, "--undo")
    facts = json.loads(command("runs", "show", short, "--json").out)
    assert (facts["note"], facts["is_pinned"]) == ("", False)


def test_an_unusable_tag_is_refused_in_one_line(command):
    make_run_store()
    run = tracking.create_run(CONFIG)
    answer = command("runs", "tag", run.run_id[:8], "a,b")
    assert answer.status == 2
    assert "received 'a,b'" in answer.err
    assert command("runs", "pin", "nothing").status == 2
