import json
import shutil
import time

import pytest

from lib import cli, jobs, tracking
from lib.jobs import processes, queue
from lib.settings import cache_dir
from lib.training.config import TrainConfig
from tests.cli.conftest import TRAIN, write_classes, write_images
from tests.run_store import make_run_store


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "Missing --dataset"),
        (["--dataset", "/no/such/folder"], "/no/such/folder"),
        (["--dataset", "{empty}"], "is empty"),
        (["--dataset", "{one}"], "only one class"),
        (["--dataset", "{images}", "--backbone", "resnet99"], "Unknown backbone 'resnet99'. Did you mean"),
        (["--dataset", "{images}", "--strategy", "magic"], "Unknown strategy 'magic'"),
        (["--dataset", "{images}", "--epochs", "-1"], "epochs must lie between 1 and 10000, received -1"),
        (["--dataset", "{images}", "--epochs", "many"], "'many' is not a valid integer"),
        (["--dataset", "{images}", "--set", "speed=9"], "Unknown setting 'speed'"),
        (["--dataset", "{images}", "--set", "seed"], "--set needs key=value"),
        (["--dataset", "{images}", "--backbone", "resnet18"], "python -m lib weights download resnet18"),
        (
            ["--dataset", "{images}", "--backbone", "timm:resnet18x"],
            "no network 'resnet18x'. Did you mean timm:resnet18",
        ),
        (["--dataset", "{images}", "--backbone", "timm:test_vit"], "python -m lib weights download timm:test_vit"),
        (["--dataset", "nothing"], "There is no data set"),
        (["--run", "0" * 32], "There is no run"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_run(arguments, expected, command, tmp_path):
    write_images(tmp_path / "images", per_class=2)
    write_images(tmp_path / "one", per_class=2)
    for path in [*(tmp_path / "one" / "warm").iterdir()]:
        path.unlink()
    (tmp_path / "one" / "warm").rmdir()
    (tmp_path / "empty").mkdir()
    folders = {name: tmp_path / name for name in ("empty", "one", "images")}

    answer = command("train", *(argument.format(**folders) for argument in arguments))

    assert answer.status == 2
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""
    assert tracking.list_runs() == []


@pytest.mark.slow
def test_training_ends_with_one_line_of_json(command, images):
    make_run_store()
    answer = command(*TRAIN, "--dataset", images, "--json")

    assert answer.status == 0, answer.err
    summary = json.loads(answer.out.splitlines()[-1])
    assert answer.out.count("\n") == 1
    assert summary["state"] == "finished"
    # 24 images of two classes, a fifth of them for the test: the colours are as different as can be.
    assert (summary["num_test"], summary["test_accuracy"]) == (4, 1.0)
    run = tracking.get_run(summary["run_id"])
    assert (run.state, run.label) == ("finished", "Linear probe · MobileNetV3-small · colours")
    assert jobs.active_runs() == []
    assert "Training" in jobs.tail_log(run.run_id)


@pytest.mark.slow
def test_the_default_is_the_packaged_backbone_with_its_weights(images, monkeypatch, capsys, request):
    monkeypatch.setattr(jobs, "prepare", lambda config: pytest.fail(f"{config.backbone} weights={config.weights}"))
    with pytest.raises(pytest.fail.Exception, match="efficientnet_lite0 weights=pretrained"):
        cli.cli.main(["train", "--dataset", str(images)], standalone_mode=False)
    assert "takes its place" not in capsys.readouterr().err
    request.getfixturevalue("package_of_weights")
    with pytest.raises(pytest.fail.Exception, match="bundled_vgg weights=pretrained"):
        cli.cli.main(["train", "--dataset", str(images)], standalone_mode=False)
    assert "Bundled VGG" in capsys.readouterr().err
    with pytest.raises(pytest.fail.Exception, match="bundled_vgg weights=pretrained"):
        cli.cli.main(["train", "--dataset", str(images), "--weights", "imagenet"], standalone_mode=False)
    with pytest.raises(pytest.fail.Exception, match="weights=random"):
        cli.cli.main(["train", "--dataset", str(images), "--strategy", "from_scratch"], standalone_mode=False)


@pytest.mark.slow
def test_a_detached_training_stops_and_resumes_in_real_workers(command, images):
    """The whole way with nothing replaced: a worker process trains on images, is stopped, and goes on."""
    make_run_store()
    answer = command(
        *TRAIN, "--dataset", images, "--strategy", "from_scratch", "--epochs", 60, "--set", "patience=100", "--detach",
        "--json",
    )  # fmt: skip
    assert answer.status == 0, answer.err
    run_id = json.loads(answer.out)["run_id"]
    _wait(run_id, lambda state: state.progress.get("epoch", 0) >= 1)
    working = tracking.read_state(run_id)

    asked = time.monotonic()
    assert jobs.stop(run_id).state == "stopping"
    assert time.monotonic() - asked < 1
    assert processes.wait_until_gone(working.pid, working.pid_started_s, 5)
    assert _wait(run_id, lambda state: not state.is_active).state == "stopped"
    epochs_done = _epochs(run_id)[-1]
    assert epochs_done < 60

    assert command("runs", "resume", run_id[:8], "--detach").status == 0
    finished = _wait(run_id, lambda state: not state.is_active)
    assert finished.state == "finished", finished.message
    assert _epochs(run_id) == list(range(1, 61))
    assert f"epoch {epochs_done}/60" in (finished.folder / "log.txt").read_text()


def _wait(run_id, is_reached, timeout_s=90.0):
    deadline = time.monotonic() + timeout_s
    while not is_reached(state := tracking.read_state(run_id)):
        assert time.monotonic() < deadline, f"{state}\n{jobs.tail_log(run_id)}"
        assert state.state not in {"failed", "killed"}, f"{state.message}\n{jobs.tail_log(run_id)}"
        time.sleep(0.1)
    return state


def _epochs(run_id):
    return tracking.metric_history(run_id, ["train_loss"])["step"].tolist()


FLOWERS = ("daisy", "dandelion", "rose", "sunflower", "tulip")


@pytest.mark.slow
@pytest.mark.parametrize("way", [("train",), ("train", "--dry-run"), ("train", "--detach"), ("train", "--seeds", "2"),
                                 ("estimate",), ("advise",)], ids=" ".join)  # fmt: skip
def test_a_map_of_grades_is_refused_for_flowers_in_one_line(way, command, tmp_path, monkeypatch):
    for module in ("training_config", "estimates"):
        monkeypatch.setattr(f"lib.cli.{module}.require_weights", lambda *_: None)
    source = write_classes(tmp_path / "flowers", FLOWERS)
    assert command("datasets", "import", source, "--name", "flowers").status == 0
    answer = command(*way, "--dataset", "flowers", "--set", "target_map=any_dr")
    assert (answer.status, answer.out) == (2, "")
    (line,) = answer.err.splitlines()
    assert "any_dr is for the five grades of retinopathy" in line
    assert ", ".join(FLOWERS) in line
    assert tracking.list_runs() == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("any_dr", "Classes merged: no_dr -> No DR; mild, moderate, proliferative, severe -> Any DR."),
        (
            "0,1,0,1,1",
            "mild, no_dr -> mild or no_dr; moderate, proliferative, severe -> moderate, proliferative or severe",
        ),
        (
            "mild=a,moderate=a,no_dr=b,proliferative=c,severe=c",
            "mild, moderate -> a; no_dr -> b; proliferative, severe -> c",
        ),
    ],
)
def test_class_and_merged_class_are_said_before_the_start(setting, expected, command, tmp_path, monkeypatch):
    folder = write_classes(tmp_path / "eyes", ("mild", "moderate", "no_dr", "proliferative", "severe"))
    monkeypatch.setattr(jobs, "prepare", lambda config: pytest.fail("started"))
    with pytest.raises(pytest.fail.Exception, match="started"):
        command(*TRAIN, "--dataset", folder, "--set", f"target_map={setting}")
    assert expected in command("estimate", *TRAIN[1:], "--dataset", folder, "--set", f"target_map={setting}").err


SPLIT = ("--split-seed", "1")


@pytest.mark.parametrize(
    ("source", "settings", "expected"),
    [
        ("f" * 32, (), "There is no run"),
        ("queued", (), "is queued and has no head yet; head_from needs a finished run"),
        *(
            ("probe", (*SPLIT, *way), "was learned with split_seed=0, here it is 1: it may have seen images")
            for way in ((), ("--detach",), ("--dry-run",), ("--seeds", "2"))
        ),
        ("probe", ("--set", "test_fraction=0.4"), "was learned with test_fraction=None, here it is 0.4"),
        ("probe", ("--set", "target_map=1,0"), "was learned with target_map=None, here it is 1,0"),
        ("probe", ("--backbone", "resnet50"), "here it is resnet50; use the same backbone"),
        ("probe", (), "was fitted on 4 images that choose the best epoch here; take one that was trained in epochs"),
        ("probe", ("--set", "head=mlp"), "is linear with softmax and does not fit into mlp with softmax"),
        ("neighbours", (), "is nearest_neighbors with softmax and does not fit into linear"),
    ],
)
def test_a_head_that_cannot_be_taken_is_refused_before_anything_is_queued(source, settings, expected, command, trained):
    runs = {run.config["strategy"]: run.run_id for run in tracking.list_runs() if run.state == "finished"}
    ids = {"probe": runs["linear_probe"], "neighbours": runs["nearest_neighbors"]}
    if source == "queued":
        ids["queued"] = tracking.create_run({"dataset": "colours", "strategy": "linear_probe"}).run_id
    before = [run.run_id for run in tracking.list_runs()]
    options = ("--dataset", "colours", "--strategy", "partial_finetuning", "--epochs", "1")
    try:
        answer = command(*TRAIN, *options, *settings, "--set", f"head_from={ids.get(source, source)}")
        assert (answer.status, answer.out) == (2, "")
        assert expected in answer.err
        said = [line for line in answer.err.splitlines() if not line.startswith("Classes merged")]
        assert len(said) == 1
        assert [run.run_id for run in tracking.list_runs()] == before
        assert jobs.active_runs() == [] or source == "queued"
    finally:
        if source == "queued":
            tracking.RunWriter(ids["queued"]).finish("stopped")
            tracking.delete_run(ids["queued"])


@pytest.mark.slow
def test_a_head_is_taken_by_the_beginning_of_its_run(command, trained):
    settings = ("--strategy", "feature_extraction", "--epochs", "1", "--set", "head=linear")
    assert command(*TRAIN, "--dataset", "colours", *settings).status == 0
    (first,) = (run for run in tracking.list_runs() if run.config["strategy"] == "feature_extraction")
    same = {key: first.config[key] for key in ("dataset", "backbone", "weights", "input_size_px")}
    run = jobs.prepare(TrainConfig(**same, strategy="partial_finetuning", head_from=first.run_id[:10]))
    try:
        assert run.config["head_from"] == first.run_id
    finally:
        run.finish("stopped")
        queue.release(run.run_id)
        tracking.delete_run(run.run_id)
        tracking.delete_run(first.run_id)


def test_a_head_that_has_seen_a_test_image_by_content_is_refused(command, trained, monkeypatch):
    """The settings may agree and the images not: an older list, a copied run. What counts is what was seen."""
    from lib.models.seen_images import SeenImages

    (probe,) = (run for run in tracking.list_runs() if run.config["strategy"] == "linear_probe")
    table = tracking.predictions(probe.run_id)
    tested = table["image_id"][table["split"] == "test"]
    monkeypatch.setattr("lib.experiment.start.seen_by", lambda *_: SeenImages.of((), tested[:2]))
    options = ("--dataset", "colours", "--strategy", "partial_finetuning", "--set", f"head_from={probe.run_id}")
    answer = command(*TRAIN, *options, "--dry-run")
    assert answer.status == 2
    assert "has seen 2 images that are tested here" in answer.err


@pytest.mark.slow
def test_a_network_of_timm_goes_the_whole_way(command, images, tmp_path):
    network = ("--backbone", "timm:test_vit", "--weights", "random", "--set", "pooling=average")
    make_run_store()
    answer = command("train", "--dataset", images, *network, "--json")
    assert answer.status == 0, answer.err
    run = json.loads(answer.out.splitlines()[-1])["run_id"]
    bundle, first = tmp_path / "whole.zip", images / "warm"
    assert command("export", "--run", run, "--out", bundle).status == 0
    shutil.rmtree(known := cache_dir() / "timm")  # another machine knows nothing of the network yet
    graded = [json.loads(command("grade", first, "--run", which, "--json").out) for which in (run, bundle)]
    assert len(graded[0]["images"]) == 12
    for one, other in zip(*(report["images"] for report in graded), strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"])
    assert known.is_dir()
    evaluated = command("evaluate", "--run", run, "--dataset", images, "--json")
    assert json.loads(evaluated.out.splitlines()[-1])["num"] > 0
    out = tmp_path / "strip.png"
    explained = command("explain", first / "0.png", "--run", run, "--target", "warm", "--out", out, "--json")
    assert json.loads(explained.out)["method"] == "Mean activation"
    assert out.is_file()
