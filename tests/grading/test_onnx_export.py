"""One ONNX file of a whole classifier: what it answers, what it says of itself, and when it is not kept."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from lib.errors import UserError
from lib.grading import onnx_export
from lib.grading.grader import Grader
from lib.grading.onnx_export import MAX_DIFFERENCE, why_no_onnx, write_onnx
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone, set_batchnorm_statistics
from tests.grading.squares import CLASS_NAMES


def images(num, side=32):
    return torch.randn(num, 3, side, side, generator=torch.Generator().manual_seed(1))


def manifest_for(size_px=32):
    return {
        "classes": list(CLASS_NAMES),
        "preprocessing": {"input_size_px": size_px, "mean": [0.5] * 3, "std": [0.25] * 3},
        "strategy": "linear_probe",
        "thresholds": None,
    }


def grader_of(head, backbone="mobilenet_v3_small", **options):
    network = build_backbone(backbone, weights="random", seed=1)
    if backbone == "mobilenet_v3_small":
        set_batchnorm_statistics(network, images(4))
    classifier = build_classifier(network, head=head, num_classes=2, **options)
    if head == "linear":
        with torch.no_grad():  # features of a random network are large, and would make any rounding count
            classifier.head[0].weight.mul_(0.01) if options else classifier.head.weight.mul_(0.01)
    if head == "nearest_neighbors":
        classifier.head.fit(classifier.eval().features(images(9)).detach(), torch.arange(9) % 2)
    return Grader(classifier, manifest_for())


def answers(path, batch):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": batch.numpy()})[0]


@pytest.mark.parametrize(
    ("head", "options"),
    [
        ("linear", {}),
        pytest.param("linear_svm", {}, marks=pytest.mark.slow),
        pytest.param("mlp", {}, marks=pytest.mark.slow),
        ("nearest_neighbors", {}),
        pytest.param("linear", {"output": "sigmoid"}, marks=pytest.mark.slow),
    ],
)
def test_it_answers_as_torch_does_for_any_number_of_images(tmp_path, head, options):
    grader = grader_of(head, **options)
    difference = write_onnx(grader, tmp_path / "model.onnx")
    assert 0 <= difference <= MAX_DIFFERENCE
    for num in (1, 3, 7):
        with torch.inference_mode():
            expected = grader.classifier(images(num)).softmax(1).numpy()
        found = answers(tmp_path / "model.onnx", images(num))
        assert found.shape == (num, 2)
        assert found == pytest.approx(expected, abs=1e-4)
        assert found.sum(1) == pytest.approx(1.0, abs=1e-5)


def test_networks_of_tokens_can_be_written(tmp_path):
    grader = grader_of("linear", "timm:test_vit")
    side = grader.classifier.spec.input_size_px
    grader = Grader(grader.classifier, manifest_for(side))
    assert write_onnx(grader, tmp_path / "model.onnx") <= MAX_DIFFERENCE
    assert answers(tmp_path / "model.onnx", images(3, side)).shape == (3, 2)


def test_its_properties_say_what_is_needed(tmp_path, grader):
    write_onnx(grader, tmp_path / "model.onnx")
    said = {one.key: one.value for one in onnx.load(tmp_path / "model.onnx").metadata_props}
    assert json.loads(said["classes"]) == list(CLASS_NAMES)
    assert json.loads(said["preprocessing"]) == grader.preprocessing
    assert said["output"].startswith("probabilities (n, K), not calibrated")
    assert said["run_id"] == "0123456789abcdef"


def test_another_answer_than_torchs_is_not_kept(tmp_path, grader, monkeypatch):
    usual = onnx_export.load_session

    class Wrong:
        def __init__(self, content):
            self.session = usual(content)

        def run(self, *asked):
            return [self.session.run(*asked)[0] + np.float32(2e-4)]

    monkeypatch.setattr(onnx_export, "load_session", Wrong)
    with pytest.raises(
        UserError, match=r"other probabilities than torch \(they differ by up to 0.0002, at most 0.0001"
    ):
        write_onnx(grader, tmp_path / "model.onnx")
    assert list(tmp_path.glob("*.onnx")) == []


def test_hand_made_measures_are_refused_with_the_reason(tmp_path):
    assert "by image processing (vessel filters, morphology)" in why_no_onnx({"backbone": "handcrafted"})
    assert why_no_onnx({"backbone": "mobilenet_v3_small"}) == ""
    classifier = build_classifier(build_backbone("handcrafted", weights="random"), head="linear_svm", num_classes=2)
    with pytest.raises(UserError, match="nothing that ONNX could hold; take the zip"):
        write_onnx(Grader(classifier, manifest_for(256)), tmp_path / "model.onnx")
    assert list(tmp_path.glob("*.onnx")) == []
