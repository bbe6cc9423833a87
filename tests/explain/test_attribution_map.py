import io
import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from lib.errors import Stopped, UserError
from lib.evaluation.verdict import decide
from lib.explain.attribution_map import attribute, attribute_image, attribute_strip, maps_npz
from lib.explain.methods import METHODS
from lib.models.classifier import build_classifier
from lib.models.stages import build_backbone, set_batchnorm_statistics
from tests.explain.test_attribution import assert_same, snapshot
from tests.explain.tiny import LookupNetwork, TinyNetwork, tiny_batch

NAMES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
ALL = (*METHODS.names, "guided_backprop", "deconvolution")
OPTIONS = {"integrated_gradients": {"num_steps": 4}, "saliency": {"num_samples": 2}, "score_cam": {"max_channels": 4}}


@pytest.fixture
def network() -> TinyNetwork:
    return TinyNetwork().requires_grad_(False)


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("is_training", [False, True])
def test_network_is_left_as_found(method: str, *, is_training: bool):
    network = TinyNetwork().train(is_training).requires_grad_(is_training)
    before, batch = snapshot(network), tiny_batch(2)
    maps = attribute(network, batch, method=method, target=np.int64(3), options=OPTIONS.get(method))
    assert [one.target.index for one in maps] == [3, 3]
    assert all(one.has_evidence and np.isfinite(one.raw).all() for one in maps)
    assert_same(before, snapshot(network))


@pytest.mark.parametrize("method", ALL)
def test_network_is_left_as_found_after_an_exception(method: str, network: TinyNetwork):
    before = snapshot(network)
    with pytest.raises(UserError, match="no class number 5"):
        attribute(network, tiny_batch(), method=method, target=5)
    with pytest.raises(RuntimeError):
        attribute(network, torch.zeros(1, 4, 32, 32), method=method)
    assert_same(before, snapshot(network))


@pytest.mark.parametrize("method", ALL)
def test_eight_threads_equal_serial(method: str, network: TinyNetwork):
    def look(seed: int) -> np.ndarray:
        return attribute(network, tiny_batch(seed=seed), method=method, options=OPTIONS.get(method), seed=seed)[0].raw

    serial = [look(seed) for seed in range(16)]
    with ThreadPoolExecutor(max_workers=8) as pool:
        parallel = list(pool.map(look, range(16)))
    assert all(np.array_equal(one, other) for one, other in zip(serial, parallel, strict=True))


@pytest.mark.parametrize("method", ALL)
def test_a_batch_is_its_images(method: str, network: TinyNetwork):
    batch, targets = tiny_batch(3), [0, 4, 2]
    asked = {"method": method, "options": {"num_steps": 4} if method == "integrated_gradients" else None}
    together = attribute(network, batch, target=targets, **asked)
    for row, one in enumerate(together):
        (alone,) = attribute(network, batch[row : row + 1], target=targets[row], **asked)
        np.testing.assert_allclose(one.raw, alone.raw, rtol=1e-4, atol=1e-5 * alone.scale)
        assert (one.score, one.facts.keys()) == (pytest.approx(alone.score, rel=1e-5), alone.facts.keys())


@pytest.mark.parametrize("method", [method.name for method in METHODS if method.is_at_stage])
def test_a_strip_is_its_stages(method: str, network: TinyNetwork):
    strip = attribute_strip(network, tiny_batch(), method=method, target=1)
    assert list(strip) == ["stem", "middle", "last"]
    for stage, one in strip.items():
        (alone,) = attribute(network, tiny_batch(), method=method, stage=stage, target=1)
        np.testing.assert_allclose(one.raw, alone.raw, rtol=1e-4, atol=1e-6)
        assert (one.stage, one.score) == (stage, pytest.approx(alone.score))
    assert list(attribute_strip(network, tiny_batch(), method="saliency")) == [""]


def test_works_inside_inference_mode(network: TinyNetwork):
    for method in ALL:
        expected = attribute(network, tiny_batch(), method=method, options=OPTIONS.get(method))[0].raw
        with torch.inference_mode():
            batch = tiny_batch() * 1.0
            found = attribute(network, batch, method=method, options=OPTIONS.get(method))[0].raw
        np.testing.assert_array_equal(found, expected)


def test_what_is_refused(network: TinyNetwork):
    batch = tiny_batch()
    for asked, said in (
        ({"method": "gradcam"}, "Did you mean 'grad_cam'"),
        ({"stage": "conv9"}, "not a stage of this network"),
        ({"stage": "logits"}, "its output is a vector"),
        ({"method": "saliency", "stage": "last"}, "takes no stage"),
        ({"method": "layer_cam", "options": {"x": 1}}, "LayerCAM has no option 'x'; it knows: none"),
        ({"method": "occlusion", "options": {"window_px": "0"}}, "window_px is from 1 to 512, received '0'"),
        ({"method": "occlusion", "options": {"baseline": "red"}}, "baseline is one of mean, black, blurred"),
        ({"method": "deep_lift", "target": "expected"}, "DeepLift explains a class"),
    ):
        with pytest.raises(UserError, match=said):
            attribute(network, batch, class_names=NAMES, **asked)


def test_networks_of_tokens_have_maps_of_pixels_only():
    vit = build_backbone("timm:test_vit", weights="random")
    with pytest.raises(UserError, match=r"Layer.* does not fit this network\. This network works on tokens"):
        attribute(vit, torch.randn(1, 3, 160, 160), method="layer_cam")
    (found,) = attribute(vit, torch.randn(1, 3, 160, 160), method="saliency")
    assert found.raw.shape == (160, 160)


def test_heads_without_a_gradient_are_asked_by_covering():
    backbone = build_backbone("mobilenet_v3_small", weights="random", feature_only=True)
    classifier = build_classifier(backbone, head="nearest_neighbors", num_classes=2).eval()
    classifier.head.fit(torch.randn(6, 576), torch.tensor([0, 0, 0, 1, 1, 1]))
    batch = tiny_batch()
    for method in ("grad_cam", "integrated_gradients", "saliency", "guided_grad_cam", "deep_lift"):
        with pytest.raises(UserError, match="no useful gradient"):
            attribute(classifier, batch, method=method)
    assert attribute(classifier, batch, method="occlusion")[0].raw.shape == (32, 32)
    with pytest.raises(UserError, match="no useful gradient"):
        attribute(LookupNetwork(), batch, method="grad_cam")
    with pytest.raises(UserError, match="no network to look into"):
        attribute(build_backbone("handcrafted", weights="random"), batch, method="occlusion")
    with pytest.raises(UserError, match="ends at a stage without classes"):
        attribute(backbone, batch, method="saliency")


@pytest.mark.parametrize("method", [name for name in ALL if name != "eigen_cam"])
def test_a_map_of_zeros_says_no_evidence_and_nothing_else(method: str, network: TinyNetwork):
    with torch.no_grad():
        network.stages["logits"][3].weight.zero_()
        if method == "score_cam":  # which draws channels whatever they are worth
            network.stages["last"][0].weight.zero_()
            network.stages["last"][0].bias.zero_()
    (found,) = attribute(network, tiny_batch(), method=method, target=0, options=OPTIONS.get(method))
    assert (found.scale, found.has_evidence, found.words) == (0.0, False, "no evidence")
    assert not found.scaled.any()
    assert found.manifest()["has_evidence"] is False


def test_a_network_of_no_numbers_is_told(network: TinyNetwork):
    with torch.no_grad():
        network.stages["logits"][3].bias.fill_(float("nan"))
    with pytest.raises(UserError, match="answers with no number"):
        attribute(network, tiny_batch(), target=0)


def test_progress_is_told_and_can_stop(network: TinyNetwork):
    heard: list[tuple[int, int, str]] = []
    for method, total in (("score_cam", 16), ("integrated_gradients", 50), ("occlusion", 26)):
        heard.clear()
        options = {"window_px": 8, "stride_px": 6} if method == "occlusion" else {}
        attribute(network, tiny_batch(), method=method, options=options, progress=lambda *said: heard.append(said))
        assert heard[-1] == (total, total, METHODS.get(method).title)
        assert [done for done, _, _ in heard] == sorted({done for done, _, _ in heard})

    def stop(done: int, total: int, what: str) -> None:
        raise Stopped

    before = snapshot(network)
    for method in ("score_cam", "integrated_gradients", "occlusion"):
        with pytest.raises(Stopped):
            attribute(network, tiny_batch(), method=method, progress=stop)
    assert_same(before, snapshot(network))


def test_the_manifest_says_how_to_make_it_again(network: TinyNetwork):
    (found,) = attribute(
        network, tiny_batch(), method="score_cam", stage="last", target="Severe - Mild", class_names=NAMES,
        options={"max_channels": "4"}, seed=3, about={"run": "abc"},
    )  # fmt: skip
    manifest = json.loads(found.manifest_json())
    told = {key: manifest[key] for key in ("method", "stage", "target", "target_text", "options", "seed", "network")}
    assert told == {
        "method": "score_cam", "stage": "last", "target": "3 - 1", "target_text": 'class "Severe" against "Mild"',
        "options": {"max_channels": 4}, "seed": 3, "network": {"run": "abc"},
    }  # fmt: skip
    assert manifest["facts"] == {"channels": "the 4 strongest of 16"}
    assert "the 4 strongest of 16 channels" in found.words
    assert manifest["scale"] == pytest.approx(float(found.raw.max()))
    assert (manifest["shape"], manifest["input_px"], manifest["probability"]) == ([4, 4], [32, 32], None)
    assert set(manifest["versions"]) == {"torch", "captum", "numpy"}
    (again,) = attribute(network, tiny_batch(), method=manifest["method"], stage="last", target="3 - 1",
                         class_names=NAMES, options=manifest["options"])  # fmt: skip
    np.testing.assert_array_equal(np.load(io.BytesIO(found.npy())), again.raw)
    archive = np.load(io.BytesIO(maps_npz({"last": found})), allow_pickle=False)
    np.testing.assert_array_equal(archive["last"], found.raw)
    assert json.loads(str(archive["manifest"]))["last"] == manifest


def test_pixels_sum_up_to_the_change_of_the_answer():
    network = build_backbone("mobilenet_v2", weights="random")  # ReLU6 throughout
    generator = torch.Generator().manual_seed(0)
    set_batchnorm_statistics(network, torch.randn(4, 3, 64, 64, generator=generator))
    batch = 2 * torch.randn(1, 3, 64, 64, generator=generator)
    (found,) = attribute(network, batch, method="deep_lift", target=3)
    with torch.no_grad():
        change = float(network(batch)[0, 3] - network(torch.zeros_like(batch))[0, 3])
    assert found.facts["change_of_answer"] == pytest.approx(change, rel=1e-3)
    assert found.facts["sum_of_map"] == pytest.approx(change, rel=1e-3)


def test_a_picture_with_a_verdict(network: TinyNetwork):
    pixels = np.random.default_rng(3).integers(0, 255, (48, 48, 3), dtype=np.uint8)
    asked = {"preprocessing": {"size_px": 32, "mean": [0.5] * 3, "std": [0.25] * 3}, "class_names": NAMES}
    (scores,) = [attribute_image(pixels, network, **asked).probabilities]
    verdict = decide(scores, NAMES, limits=(0.1, 0.2, 0.3, 3.9))  # whatever is likeliest, the grade is 3
    assert attribute_image(pixels, network, verdict=verdict, **asked).target_text == 'class "Severe"'
    above = attribute_image(pixels, network, verdict=verdict, target=">=4", **asked)
    expected = float(scores.astype(float) @ np.arange(5))
    assert above.score == pytest.approx(expected - 3.9, abs=1e-5)
    assert above.manifest()["limits"] == [0.1, 0.2, 0.3, 3.9]
    assert attribute_image(pixels, network, true_class=2, target="true", **asked).target.index == 2
    with pytest.raises(UserError, match="have no order"):
        attribute_image(pixels, network, target="expected", is_ordinal=False, **asked)
