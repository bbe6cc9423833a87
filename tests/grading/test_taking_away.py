"""A run as one zip: what is in it, and that another machine grades with it to the same probabilities."""

import hashlib
import json
import zipfile

import pytest
import torch

from lib.atomic import write_json
from lib.grading import operating_point
from lib.grading.grader import Grader
from lib.grading.onnx_export import why_no_onnx
from lib.grading.taking_away import export_run, licences, readme
from lib.models.bundles import save_bundle
from lib.models.classifier import build_classifier
from lib.models.gate import GATE_FILE, save_gate
from lib.models.stages import build_backbone, set_batchnorm_statistics
from lib.tracking import create_run
from tests.grading.squares import png, stored_point
from tests.run_store import make_run_store


@pytest.fixture
def run(home, trained):
    make_run_store()
    classifier, manifest, gate = trained
    made = create_run({"dataset": "squares", "backbone": "mobilenet_v3_small", "strategy": "linear_probe"}, name="x")
    save_bundle(made.folder / "bundle", classifier, manifest, base_digest="")
    save_gate(made.folder / "bundle" / GATE_FILE, gate)
    write_json(made.folder / "bundle" / operating_point.FILE, stored_point().to_dict())
    return made


def graded(source):
    return list(Grader.open(source, device="cpu").grade([(f"{row}", png("red", row)) for row in range(3)]))


def test_a_fresh_home_grades_to_the_same_probabilities(run, tmp_path, monkeypatch):
    expected = graded(run.run_id)
    seen = []
    target = export_run(run.run_id, tmp_path / "model.zip", progress=lambda *step: seen.append(step))
    assert seen[-1][:2] == (3, 3)
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(tmp_path / "elsewhere"))
    for here, there in zip(expected, graded(str(target)), strict=True):
        assert there.status == here.status == "graded"
        assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)
        assert there.distance == pytest.approx(here.distance, abs=1e-6)


def test_the_zip_says_all_that_must_be_known(run, tmp_path):
    with zipfile.ZipFile(export_run(run.run_id, tmp_path / "model.zip", with_onnx=True)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    assert files.keys() == {
        "manifest.json", "network.safetensors", GATE_FILE, operating_point.FILE, "README.txt", "model.onnx",
        "checksums.json",
    }  # fmt: skip
    sums = json.loads(files["checksums.json"])["files"]
    assert sums == {
        name: hashlib.sha256(content).hexdigest() for name, content in files.items() if name != "checksums.json"
    }
    manifest = json.loads(files["manifest.json"])
    assert torch.__version__.startswith(manifest["versions"]["torch"])
    assert {"python", "torchvision", "numpy", "transferscope"} <= manifest["versions"].keys()
    assert manifest["licences"] == {"dataset": "not stated", "weights": "none were used: trained from random weights"}
    text = files["README.txt"].decode()
    for words in (
        "What its probabilities are worth",
        "red, blue",
        "python -m lib grade IMAGES --run THIS.zip",
        "the domain gate",
        "licences",
    ):
        assert words in text


def test_licences_of_an_earlier_export_are_kept():
    said = {"dataset": "CC BY 4.0", "weights": "Apache-2.0"}
    assert licences({"licences": said}) == said
    pretrained = {"backbone": "efficientnet_lite0", "network": {"weights": "pretrained"}, "dataset": {"name": "gone"}}
    assert licences(pretrained)["weights"] == "Apache-2.0"


def test_a_bundle_without_the_newer_parts_has_a_readme():
    old = {"network": {"backbone": "mobilenet_v3_small"}, "classes": ["a", "b"], "licences": {}, "versions": {}}
    assert "Result      not stated" in readme(old, {"manifest.json"})
    assert why_no_onnx(old) == ""


@pytest.mark.parametrize("head", ["linear_svm", "nearest_neighbors", "mlp"])
def test_other_heads_grade_alike_from_their_zip(head, trained, tmp_path):
    _, manifest, _ = trained
    images = torch.randn(8, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    network = build_backbone("mobilenet_v3_small", weights="random", seed=1)
    set_batchnorm_statistics(network, images)
    classifier = build_classifier(network, head=head, num_classes=2)
    if head == "nearest_neighbors":
        classifier.head.fit(classifier.eval().features(images).detach(), torch.arange(8) % 2)
    save_bundle(tmp_path / "bundle", classifier, manifest, base_digest="")
    target = export_run(tmp_path / "bundle", tmp_path / "model.zip")
    for here, there in zip(graded(tmp_path / "bundle"), graded(target), strict=True):
        assert there.probabilities == pytest.approx(here.probabilities, abs=1e-6)
