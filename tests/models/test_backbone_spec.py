"""What follows from a network's entry: where its weights are, what of it can be drawn, where fine-tuning begins."""

import pytest

from lib.errors import UserError
from lib.models.backbone_spec import BackboneSpec, StageSpec, starting_weights
from lib.models.backbones import BACKBONES

STEM, GRID = (
    StageSpec("stem", "Stem", "map", 8, 10),
    StageSpec("blocks_0", "Block 1", "tokens", 16, 20, is_on_grid=True),
)
LOOSE, POOL = StageSpec("blocks_1", "Block 2", "tokens", 16, 30), StageSpec("pool", "Read", "vector", 16)
CLASSES = StageSpec("logits", "Classes", "vector", 5, 85)


def spec(*stages: StageSpec, **changes: object) -> BackboneSpec:
    given = {"feature_stage": stages[-1].name, "cam_stage": "", "unfreeze_from": stages[0].name, **changes}
    return BackboneSpec(name="small", title="Small", network="timm:small", paper_url="", stages=stages, **given)


@pytest.mark.parametrize(
    ("source", "kind", "file", "url"),
    [
        ("", "none", "", ""),
        ("https://x.org/a/b-12.pth", "address", "b-12.pth", "https://x.org/a/b-12.pth"),
        ("assets/backbones/own.safetensors", "bundled", "own.safetensors", ""),
        ("package:some_model/models/w.pth", "package", "w.pth", ""),
        ("timm/vit.a1", "hub", "timm--vit.a1.safetensors", "https://huggingface.co/timm/vit.a1/resolve/main/model.safetensors"),
    ],
)  # fmt: skip
def test_where_weights_come_from(source: str, kind: str, file: str, url: str) -> None:
    one = spec(STEM, weights_source=source)
    assert (one.has_weights, one.is_bundled, one.is_on_hub) == (kind != "none", kind == "bundled", kind == "hub")
    assert one.weights_package == ("some_model/models" if kind == "package" else "")
    assert (one.weights_file, one.weights_url) == (file, url)


def test_a_mirror_of_the_hub_is_asked_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "https://mirror.example/")
    assert spec(STEM, weights_source="timm/vit").weights_url.startswith("https://mirror.example/timm/vit/resolve/")


def test_what_the_weights_have_seen_begins_like_a_label() -> None:
    assert spec(STEM, pretrained_on="generated images of eyes").weights_title == "Generated images of eyes"
    assert spec(STEM, pretrained_on="").weights_title == ""


def test_the_stage_to_look_at_first() -> None:
    assert spec(STEM, GRID, LOOSE, POOL, cam_stage="stem").shown_stage == "stem"
    assert spec(STEM, GRID, LOOSE, POOL).shown_stage == "blocks_0"  # tokens on a grid have places
    assert spec(STEM, GRID, LOOSE, POOL, feature_stage="stem").shown_stage == "stem"
    assert spec(LOOSE, POOL).shown_stage == ""


def test_maps_are_those_up_to_the_feature_stage() -> None:
    second = StageSpec("late", "Late", "map", 8)
    one = spec(STEM, GRID, second, POOL, feature_stage="blocks_0")
    assert [stage.name for stage in one.map_stages] == ["stem"]
    assert one.last_map_stage == "late"  # a fully convolutional head sits where it can
    with pytest.raises(UserError, match="Small has no maps, its stages give tokens; choose a head that reads a vector"):
        _ = spec(GRID, POOL).last_map_stage


def test_the_last_vector_is_the_one_before_the_classes() -> None:
    assert spec(STEM, POOL, CLASSES).last_vector_stage == "pool"
    assert spec(STEM, CLASSES).last_vector_stage == "logits"
    assert BACKBONES.get("vgg16").last_vector_stage == "fc2"
    assert (spec(STEM, POOL, CLASSES).has_classes, spec(STEM, POOL).has_classes) == (True, False)


def test_fine_tuning_begins_no_later_than_what_is_read() -> None:
    one = spec(STEM, GRID, LOOSE, POOL, unfreeze_from="blocks_1")
    assert [one.first_tuned(stage) for stage in one.stage_names] == ["stem", "blocks_0", "blocks_1", "blocks_1"]


def test_how_a_stage_becomes_a_vector() -> None:
    ways = {stage.name: stage.poolings for stage in (STEM, GRID, POOL)}
    ways["with class token"] = StageSpec("b", "B", "tokens", has_class_token=True, num_prefix_tokens=1).poolings
    assert ways == {
        "stem": ("average", "flatten"),
        "blocks_0": ("average", "flatten"),
        "pool": ("none", "flatten"),
        "with class token": ("cls", "average", "flatten"),
    }
    assert [stage.has_places for stage in (STEM, GRID, LOOSE, POOL)] == [True, True, False, False]
    assert GRID.label == "Block 1 (blocks_0)"


def test_stages_are_found_by_name() -> None:
    vgg = BACKBONES.get("vgg16")
    assert [stage.name for stage in vgg.stages_until("conv2_1")] == ["conv1_1", "conv1_2", "conv2_1"]
    assert vgg.map_stages[-1].name == "conv5_3"
    with pytest.raises(UserError, match=r"VGG16 has no stage 'conv9'. Choose one of: conv1_1"):
        vgg.stages_until("conv9")
    one = spec(STEM, GRID, POOL, CLASSES, feature_stage="pool")
    assert (one.num_parameters, one.feature_dim) == (115, 16)


def test_earlier_names_of_weights_are_understood() -> None:
    assert [starting_weights(name) for name in ("pretrained", "imagenet", "random")] == [
        "pretrained", "pretrained", "random"
    ]  # fmt: skip
    with pytest.raises(UserError, match=r"Unknown weights 'places'. Choose 'pretrained' or 'random'"):
        starting_weights("places")
