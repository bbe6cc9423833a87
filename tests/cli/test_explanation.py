import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from lib import tracking
from lib.models.seen_images import image_id_of


def test_explain_writes_a_picture(command, trained, tmp_path):
    image, out = trained / "colours" / "warm" / "0.png", tmp_path / "maps.png"
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    answer = command("explain", image, "--run", run_id, "--target", "cold", "--out", out, "--json")
    assert answer.status == 0, answer.err
    assert json.loads(answer.out)["class_name"] == "cold"
    assert Image.open(out).width > 300
    image_id = image_id_of(hashlib.sha256(image.read_bytes()).hexdigest())
    of_set = ("--dataset", "colours", "--image", image_id[:8], "--run", run_id, "--target", "cold", "--json", "--out")
    assert (
        json.loads(command("explain", *of_set, tmp_path / "same.png").out)["score"] == json.loads(answer.out)["score"]
    )
    assert (tmp_path / "same.png").read_bytes() == out.read_bytes()
    missing = command("explain", "--dataset", "colours", "--image", "", "--out", out)
    assert missing.status == 2
    assert "images whose image_id begins with ''" in missing.err


@pytest.mark.slow
def test_explain_answers_what_grade_answers(command, trained, tmp_path):
    """A page of text and noise in no colour of the set: refused by both, with the same distance."""
    generator = np.random.default_rng(0)
    strange = tmp_path / "strange.png"
    Image.fromarray(generator.integers(0, 2, (40, 40, 1), dtype=np.uint8).repeat(3, axis=2) * 255).save(strange)
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    for image in (strange, trained / "colours" / "warm" / "0.png"):
        out = tmp_path / "maps.png"
        explained = json.loads(command("explain", image, "--run", run_id, "--out", out, "--json").out.splitlines()[-1])
        graded = json.loads(command("grade", image, "--run", run_id, "--json").out.splitlines()[-1])["images"][0]
        assert explained["status"] == graded["status"]
        assert explained["distance"] == pytest.approx(graded["distance"], abs=1e-6)
        assert explained["class_name"] == graded["class_name"]
        probabilities = {one["class_name"]: one["probability"] for one in explained["top"]}
        assert probabilities == pytest.approx(graded["probabilities"], abs=1e-6)
    answer = command("explain", strange, "--run", run_id, "--out", tmp_path / "maps.png")
    assert answer.status == 0
    assert answer.out.startswith("No class is given: ")
    assert "Unlike" in answer.err
    asked = command("explain", strange, "--run", run_id, "--target", "cold", "--out", tmp_path / "maps.png")
    assert asked.out.startswith("No class is given; drawn for cold (asked for, probability")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["x.png", "--out", "y.png"], "There is no image file x.png"),
        (["x.png", "--run", "a", "--backbone", "b", "--out", "y.png"], "what should explain"),
        (["x.png", "--run", "a", "--out", "y.gif"], "must end in .png"),
        (["none.png", "--run", "a", "--out", "y.png"], "There is no image file none.png"),
        ([__file__, "--backbone", "a", "--by-thresholds", "--out", "y.png"], "--by-thresholds goes with --run"),
        ([__file__, "--method", "gradcam", "--out", "y.png"], "Did you mean 'grad_cam'"),
        ([__file__, "--method", "occlusion", "--set", "window_px=0", "--out", "y.png"], "window_px is from 1 to 512"),
        ([__file__, "--method", "occlusion", "--set", "window_px", "--out", "y.png"], "--set NAME=VALUE"),
        ([__file__, "--method", "layer_cam", "--set", "x=1", "--out", "y.png"], "LayerCAM has no option 'x'"),
        (["--out", "y.png"], "Give either an image file, or --dataset NAME with --image ID."),
        (["x.png", "--dataset", "a", "--image", "b", "--out", "y.png"], "Give either an image file, or"),
        (["--dataset", "a", "--out", "y.png"], "Give either an image file, or --dataset"),
        ([__file__, "--raw", "y.npy", "--out", "y.png"], "--raw must end in .npz"),
    ],
)
def test_explain_says_what_it_needs(arguments, expected, command):
    answer = command("explain", *arguments)
    assert answer.status == 2
    assert expected in answer.err
    assert "Traceback" not in answer.err
    assert len(answer.err.strip().splitlines()) == 1


def test_a_method_a_difference_and_the_raw_numbers(command, trained, tmp_path):
    image, out, raw = trained / "colours" / "warm" / "0.png", tmp_path / "maps.png", tmp_path / "maps.npz"
    run_id = next(run.run_id for run in tracking.list_runs() if "Linear" in run.label)
    asked = ("--method", "occlusion", "--set", "window_px=16", "--target", "cold - warm", "--out", out, "--raw", raw)
    result = json.loads(command("explain", image, "--run", run_id, *asked, "--json").out.splitlines()[-1])
    assert (result["method"], result["method_name"], result["target"]) == ("Occlusion", "occlusion", "0 - 1")
    assert result["class_name"] == 'class "cold" against "warm"'
    assert result["stages"] == [{"stage": "", "height": 32, "width": 32}]
    stored = np.load(raw)
    manifest = json.loads(str(stored["manifest"]))["pixels"]
    assert stored["pixels"].shape == (32, 32)
    assert manifest["options"] == {"window_px": 16, "stride_px": 16, "baseline": "mean"}
    assert manifest["network"] == {"run": run_id, "backbone": "mobilenet_v3_small"}
    said = command("explain", image, "--run", run_id, *asked)
    assert said.out.startswith('class "cold" against "warm" (asked for, value ')


@pytest.mark.slow
def test_what_does_not_fit_is_one_line(command, trained, tmp_path):
    image, out = trained / "colours" / "warm" / "0.png", tmp_path / "maps.png"
    runs = {name: run.run_id for run in tracking.list_runs() for name in ("Linear", "Nearest") if name in run.label}
    for run, method, said in (
        ("Nearest", "layer_cam", "LayerCAM does not fit this network. This head passes no useful gradient"),
        ("Linear", "deep_lift", "DeepLift does not fit this network. It has no rule for hardsigmoid"),
    ):
        answer = command("explain", image, "--run", runs[run], "--method", method, "--out", out)
        assert answer.status == 2
        assert said in answer.err
        assert len(answer.err.strip().splitlines()) == 1
    assert not out.exists()
    answer = command("explain", image, "--run", runs["Linear"], "--target", "expected", "--out", out)
    assert (answer.status, "have no order" in answer.err) == (2, True)
    # Neighbours pass no gradient, but can be asked about covered images.
    options = ("--method", "occlusion", "--set", "window_px=16", "--out", out)
    assert command("explain", image, "--run", runs["Nearest"], *options).status == 0


@pytest.mark.slow
def test_check_prints_the_honest_card(command, tmp_path):
    picture = tmp_path / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(picture)
    asked = ["explain", picture, "--backbone", "bundled_vgg", "--method", "layer_cam", "--stage", "block5", "--check"]
    answer = command(*asked, "--out", tmp_path / "map.png", "--json")
    assert answer.status == 0, answer.err
    card = json.loads(answer.out.splitlines()[-1])["card"]
    assert card["level"] in ("good", "careful", "do not use")
    assert set(card["controls"]) == {"twin", "edges", "middle", "random"}
    assert card["sentences"]
    assert card["randomisation"][0]["stage"] == "logits"
