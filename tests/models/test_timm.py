import json
import subprocess
import sys

import pytest
import timm
import torch

from lib.errors import UserError
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.models import timm_networks
from lib.models.backbones import BACKBONES
from lib.models.classifier import build_classifier
from lib.models.freezing import apply_freezing, parameter_summary, stage_plan, train_mode
from lib.models.head_layers import pool_features
from lib.models.heads import resolve_features
from lib.models.networks import build_network, seeded_initialization
from lib.models.stages import build_backbone, run_stages
from lib.models.weights import weights_digest

# One of each family, the smallest that there is: ResNet, EfficientNet, ConvNeXt, MobileNetV3, ViT, Swin.
FAMILIES = {
    "timm:test_resnet": ("layer4", "average", "map"),
    "timm:test_efficientnet": ("features", "average", "map"),
    "timm:test_convnext": ("pool", "none", "vector"),
    "timm:mobilenetv3_small_050": ("pool", "none", "vector"),
    "timm:test_vit": ("features", "cls", "tokens"),
    "timm:small_swin": ("features", "average", "map"),
}


# Read by `register_model`, as in timm's own modules.
default_cfgs = timm.models.generate_default_cfgs({"small_swin.none": {"input_size": (3, 64, 64), "num_classes": 1000}})


def small_swin(pretrained=False, **options):
    """timm's own Swin transformer; the smallest of its table has 28 million parameters."""
    sizes = {"img_size": 64, "embed_dim": 16, "depths": (1, 1, 2), "num_heads": (1, 2, 4), "window_size": 4}
    features = {"flatten_sequential": True, "out_indices": (0, 1, 2)}
    return timm.models.build_model_with_cfg(
        timm.models.SwinTransformer, "small_swin", pretrained, feature_cfg=features, **sizes, **options
    )


@pytest.fixture(autouse=True, scope="module")
def _described(tmp_path_factory):
    """What was found out about a network is kept for all tests of this module, whose homes are their own."""
    folder = tmp_path_factory.mktemp("described")
    if not timm.is_model("small_swin"):
        timm.models.register_model(small_swin)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(timm_networks, "_folder", lambda: folder)
        yield folder


def random_images(spec, number=2):
    side = spec.input_size_px if spec.is_fixed_size else 64
    images = torch.randn(number, 3, side, side, generator=torch.Generator().manual_seed(1))
    return images.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", FAMILIES)
def test_stages_compose_to_the_network_of_timm(name):
    spec = BACKBONES.get(name)
    backbone = build_backbone(name, weights="random", seed=3)
    with seeded_initialization(3):
        whole = timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    whole.to(memory_format=torch.channels_last)
    images = random_images(spec)
    with torch.no_grad():
        assert torch.equal(backbone(images), whole(images))
        h = images
        for stage in spec.stages:
            h = backbone.stages[stage.name](h)
            assert h.ndim == {"map": 4, "tokens": 3, "vector": 2}[stage.output], stage
            assert h.shape[2 if stage.output == "tokens" else 1] == stage.num_channels, stage
    assert (spec.feature_stage, spec.pooling, spec.stage(spec.feature_stage).output) == FAMILIES[name]
    assert not any(getattr(module, "inplace", False) for module in backbone.modules())


@pytest.mark.parametrize("name", FAMILIES)
def test_the_usual_features_are_what_its_own_classifier_reads(name):
    spec = BACKBONES.get(name)
    backbone = build_backbone(name, weights="random")
    with seeded_initialization(0):
        whole = timm.create_model(name.removeprefix("timm:"), pretrained=False).eval()
    images = random_images(spec)
    with torch.no_grad():
        expected = whole.forward_head(whole.forward_features(images), pre_logits=True)
        h = backbone.forward_until(images, spec.feature_stage)
        pooled = pool_features(h, spec.pooling, spec.stage(spec.feature_stage).num_prefix_tokens)
    assert torch.allclose(pooled, expected, atol=1e-5)
    assert pooled.shape[1] == spec.feature_dim


@pytest.mark.parametrize("name", FAMILIES)
def test_freezing_by_stage_trains_those_and_no_others(name):
    spec = BACKBONES.get(name)
    classifier = build_classifier(build_backbone(name, weights="random"), head="linear", num_classes=3)
    apply_freezing(classifier, trains_backbone="partial")
    before = {key: value.clone() for key, value in classifier.state_dict().items()}
    train_mode(classifier)
    optimizer = torch.optim.SGD([one for one in classifier.parameters() if one.requires_grad], lr=0.1)
    classifier(random_images(spec)).logsumexp(1).sum().backward()
    optimizer.step()
    changed = {
        key.split(".")[1] for key, value in classifier.state_dict().items() if not torch.equal(value, before[key])
    }
    plan = stage_plan(name, "partial")
    trained = {stage.stage for stage in plan[:-1] if stage.is_trainable}
    holds = {stage.stage for stage in parameter_summary(classifier) if stage.num_parameters}
    assert spec.unfreeze_from in trained
    assert changed - {"weight", "bias", "0"} == trained & holds


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_counted_without_building_it(name):
    classifier = build_classifier(build_backbone(name, weights="random"), head="linear", num_classes=2)
    apply_freezing(classifier, trains_backbone="partial")
    counted = [(one.stage, one.title, one.num_parameters) for one in stage_plan(name, "partial")]
    assert counted == [(one.stage, one.title, one.num_parameters) for one in parameter_summary(classifier)]
    spec = BACKBONES.get(name)
    assert sum(one.numel() for one in build_network(spec).parameters()) == spec.num_parameters


def test_preprocessing_is_that_of_its_weights():
    vit, convnext = BACKBONES.get("timm:test_vit"), BACKBONES.get("timm:mobilenetv3_small_050")
    assert (vit.input_size_px, vit.mean, vit.std) == (160, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (convnext.input_size_px, convnext.mean[0], convnext.std[0]) == (224, 0.485, 0.229)
    assert (vit.is_fixed_size, convnext.is_fixed_size) == (True, False)


def test_tokens_are_pooled_by_class_token_or_mean():
    spec, h = BACKBONES.get("timm:test_vit"), torch.randn(2, 101, 64)
    stage = spec.stage("blocks_2")
    assert (stage.num_prefix_tokens, stage.has_class_token, stage.is_on_grid) == (1, True, True)
    assert torch.equal(pool_features(h, "cls", 1), h[:, 0])
    assert torch.allclose(pool_features(h, "average", 1), h[:, 1:].mean(1))
    assert resolve_features(spec) == ("features", "cls")
    assert resolve_features(spec, "blocks_2", "average") == ("blocks_2", "average")
    with pytest.raises(UserError, match="gives tokens: pooling must be cls or average or flatten, received 'none'"):
        resolve_features(spec, "blocks_2", "none")
    with pytest.raises(UserError, match="gives a map: pooling must be average or flatten, received 'cls'"):
        resolve_features(BACKBONES.get("timm:test_resnet"), "layer3", "cls")
    with pytest.raises(UserError, match="has no maps"):
        resolve_features(spec, head="fully_convolutional")


def test_maps_of_channels_last_networks_are_turned():
    backbone = build_backbone("timm:small_swin", weights="random")
    with torch.no_grad():
        h = backbone.forward_until(random_images(backbone.spec, 1), "layers_1")
        assert h.shape == (1, 32, 8, 8)
        whole = run_stages(backbone.stages, h.contiguous(), after="layers_1")
    assert whole.shape == (1, 1000)


def test_unknown_names_bring_near_ones():
    with pytest.raises(UserError, match=r"timm .* has no network 'convnext_ato'. Did you mean timm:convnext_atto or"):
        BACKBONES.get("timm:convnext_ato")
    with pytest.raises(UserError, match=r"Did you mean timm:resnet18.a1_in1k or"):
        BACKBONES.get("timm:resnet18.a9_in1k")
    for name in ("timm:", "timm:../../etc", "timm:hf-hub:x/y", "timm:a/b"):
        with pytest.raises(UserError, match="has no network"):
            BACKBONES.get(name)


def test_networks_that_do_not_fit_are_refused_in_a_sentence(monkeypatch):
    from lib.models.timm_description import describe_timm

    class Unknown(torch.nn.Module):
        feature_info = None

        def forward_features(self, x):
            return x

        def get_classifier(self):
            return torch.nn.Identity()

        def forward(self, x):
            return self.forward_features(x).mean((2, 3))

    with monkeypatch.context() as patched:
        patched.setattr(timm, "create_model", lambda name, **options: Unknown())
        with pytest.raises(UserError, match="The network timm:test_resnet has no feature_info"):
            describe_timm("timm:test_resnet")
    with monkeypatch.context() as patched:
        config = timm.get_pretrained_cfg("test_resnet")
        config.input_size = (1, 64, 64)
        patched.setattr(timm, "get_pretrained_cfg", lambda name: config)
        with pytest.raises(UserError, match="takes no RGB images: its input has 1 channel"):
            describe_timm("timm:test_resnet")
    with pytest.raises(UserError, match="cannot be cut into stages"):
        describe_timm("timm:hiera_tiny_224")


def test_random_weights_differ_by_name():
    names = ("timm:test_resnet", "timm:test_vit", "resnet18")
    assert len({weights_digest(name, "random") for name in names}) == 3


def test_a_known_network_is_read_without_torch(_described):
    spec = BACKBONES.get("timm:test_vit")
    assert json.loads((_described / "test_vit-1.json").read_text())["name"] == "timm:test_vit"
    code = (
        "import sys, pathlib; from lib.models import timm_networks as t; from lib.models.backbones import BACKBONES;"
        f"t._folder = lambda: pathlib.Path({str(_described)!r});"
        "spec = BACKBONES.get('timm:test_vit'); assert 'torch' not in sys.modules and 'timm' not in sys.modules;"
        "print(spec == eval(input(), vars(__import__('lib.models.backbone_spec', fromlist=['x']))))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=repr(spec), text=True, capture_output=True)
    assert done.stdout == "True\n", done.stderr


def test_what_an_earlier_version_found_out_is_still_read(_described):
    path, spec = _described / "test_vit-1.json", BACKBONES.get("timm:test_vit")
    content = json.loads(path.read_text())
    counts = [stage.pop("num_parameters") for stage in content["stages"]]
    earlier = [{**stage, "group": stage["name"]} for stage in content["stages"]]
    own = {"stage_parameters": counts, "num_parameters": sum(counts), "year": 2020, "weights_file": "any"}
    path.write_text(json.dumps({**content, **own, "stages": earlier}))
    assert BACKBONES.get("timm:test_vit") == spec


@pytest.mark.slow
def test_a_new_network_is_looked_at_in_a_process_of_its_own(home):
    code = (
        "import sys; from lib.errors import UserError; from lib.models.backbones import BACKBONES;"
        "print(BACKBONES.get('timm:test_vit').feature_dim, 'torch' in sys.modules)\n"
        "try:\n    BACKBONES.get('timm:test_vitt')\nexcept UserError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], text=True, capture_output=True, timeout=240)
    first, second = done.stdout.splitlines()
    assert first == "64 False", done.stderr
    assert "has no network 'test_vitt'. Did you mean timm:test_vit" in second
    assert {path.name for path in (home / "cache" / "timm").rglob("*.json")} == {"names-1.json", "test_vit-1.json"}


def test_a_damaged_file_is_written_again(_described):
    path = _described / "test_resnet-1.json"
    BACKBONES.get("timm:test_resnet")
    path.write_text("{")
    assert BACKBONES.get("timm:test_resnet").stage_names[0] == "act1"
    assert json.loads(path.read_text())["title"] == "timm:test_resnet"


@pytest.mark.parametrize("name", FAMILIES)
def test_frozen_stages_are_folded_and_exported_like_any_other(name):
    spec = BACKBONES.get(name)
    backbone = frozen_backbone(name, weights="random", seed=0)
    images = random_images(spec)
    with torch.no_grad():
        expected = backbone.forward_until(images, spec.feature_stage).flatten(1)
        for engine in ("torch", "onnx"):
            frozen = FrozenStages(backbone.stages, size_px=images.shape[2], engine=engine)
            found = frozen.forward_until(images, spec.feature_stage).flatten(1)
            assert frozen.engine == engine
            assert torch.nn.functional.cosine_similarity(found, expected).min() > 0.9999


def test_stages_that_differ_in_their_code_alone_do_not_look_alike():
    vit = build_backbone("timm:test_vit", weights="random")
    assert "forward" in repr(vit.stages["pool"])
    assert repr(vit.stages["pool"]) != repr(build_backbone("timm:test_resnet", weights="random").stages["pool"])
