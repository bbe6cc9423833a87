import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.settings import DEFAULT_BACKBONE
from lib.training.config import TrainConfig
from lib.training.resolution import MAX_WATCHED, resolve_config, resolve_watched, watched_rows
from tests.features.tiny_dataset import TinyDataset


def test_every_open_setting_of_a_fine_tuning_is_filled_in() -> None:
    resolved = resolve_config(TrainConfig(dataset="/some/folder", strategy="partial_finetuning"), TinyDataset())
    assert resolved.dataset == "tiny"
    assert resolved.dataset_version == "v1"
    assert (resolved.head, resolved.feature_stage, resolved.pooling) == ("linear", "head_conv", "average")
    assert (resolved.unfreeze_from, resolved.epochs, resolved.learning_rate) == ("block6", 10, 3e-4)
    assert resolved.input_size_px == BACKBONES.get(DEFAULT_BACKBONE).input_size_px
    assert resolve_config(resolved, TinyDataset()) == resolved


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"strategy": "probe_then_finetune"}, "frozen"),
        ({"strategy": "full_finetuning", "head_from": "abc"}, "frozen"),
        ({"strategy": "full_finetuning"}, "trained"),
        ({"strategy": "probe_then_finetune", "batchnorm": "trained"}, "trained"),
    ],
)
def test_batchnorm_is_frozen_where_the_head_is_learned_and_nothing_else_is_asked_for(changes, expected) -> None:
    assert resolve_config(TrainConfig(dataset="tiny", **changes), TinyDataset()).batchnorm == expected


def test_settings_without_use_are_emptied_and_from_scratch_starts_at_random() -> None:
    probe = resolve_config(TrainConfig(dataset="tiny", epochs=5), TinyDataset())
    assert (probe.epochs, probe.learning_rate, probe.unfreeze_from) == (None, None, None)
    scratch = resolve_config(TrainConfig(dataset="tiny", strategy="from_scratch"), TinyDataset())
    assert scratch.weights == "random"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strategy": "linear_prob"}, "Did you mean 'linear_probe'"),
        ({"backbone": "vgg61"}, "Did you mean 'vgg16'"),
        ({"head": "mlp"}, "head of linear_probe must be one of: linear; received 'mlp'"),
        ({"feature_stage": "block99"}, "no stage 'block99'"),
        ({"pooling": "none", "feature_stage": "block5"}, "gives a map: pooling must"),
        ({"strategy": "full_finetuning", "head": "fully_convolutional", "feature_stage": "pool"}, "such as head_conv"),
        ({"strategy": "partial_finetuning", "unfreeze_from": "nowhere"}, "unfreeze_from must be one of: stem"),
        ({"backbone": "inception_v3", "input_size_px": 64}, "at least 75 px, received 64 px"),
        ({"backbone": "timm:test_vit", "input_size_px": 64}, "takes images of 160 px only, received 64 px"),
        (
            {"backbone": "timm:test_vit", "pooling": "none"},
            "tokens: pooling must be cls or average or flatten",
        ),
        ({"backbone": "timm:test_vit", "strategy": "full_finetuning", "head": "fully_convolutional"}, "has no maps"),
        (
            {"backbone": "timm:test_resnet", "pooling": "cls"},
            "must be average or flatten, received 'cls'",
        ),
        ({"num_folds": 20}, "has 12 images; at least 20 are needed"),
    ],
)
def test_what_does_not_fit_is_refused_with_advice(changes: dict, message: str) -> None:
    config = replace(TrainConfig(dataset="tiny"), **changes)
    with pytest.raises(UserError, match=message):
        resolve_config(config, TinyDataset())


def test_class_with_one_image_is_refused_before_anything_runs() -> None:
    with pytest.raises(UserError, match="has 1 image"):
        resolve_config(TrainConfig(dataset="tiny"), TinyDataset(counts=(8, 1)))


def test_pages_resolve_without_torch() -> None:
    code = (
        "import sys\nfrom lib.training import estimation, events, resolution, results\nfrom lib import experiment\n"
        "assert 'torch' not in sys.modules and 'mlflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_last_vector_is_resolved_for_every_backbone() -> None:
    found = {
        spec.name: resolve_config(
            TrainConfig(dataset="tiny", backbone=spec.name, feature_stage="last_vector"), TinyDataset()
        ).feature_stage
        for spec in BACKBONES
    }
    assert (found["vgg16"], found["efficientnet_lite0"], found["bundled_vgg"]) == ("fc2", "pool", "projection")


def test_sigmoid_needs_two_classes_and_is_dropped_where_nothing_is_iterated() -> None:
    config = TrainConfig(dataset="tiny", strategy="full_finetuning", output="sigmoid")
    assert resolve_config(config, TinyDataset()).output == "sigmoid"
    assert resolve_config(replace(config, strategy="linear_probe"), TinyDataset()).output == "softmax"
    with pytest.raises(UserError, match="this data set has 3"):
        resolve_config(config, TinyDataset(num_classes=3))


def test_a_loss_of_grades_needs_classes_with_an_order():
    unordered = TinyDataset(num_classes=3)
    for strategy in ("linear_probe", "feature_extraction"):
        config = TrainConfig(dataset="tiny", strategy=strategy, loss="earth_mover")
        with pytest.raises(UserError, match=r"these classes have no order; choose one of: cross_entropy\."):
            resolve_config(config, unordered)
    ordered = TinyDataset(num_classes=3)
    ordered.spec = replace(ordered.spec, is_ordinal=True)
    assert resolve_config(config, ordered).loss == "earth_mover"
    merged = replace(config, target_map="0,1,0")  # which keeps no order
    with pytest.raises(UserError, match="no order"):
        resolve_config(merged, ordered)


def test_a_momentum_that_nobody_reads_is_refused():
    config = TrainConfig(dataset="tiny", strategy="feature_extraction", momentum=0.5)
    with pytest.raises(UserError, match=r"The optimizer adamw has no momentum to set .* choose one of: sgd, rmsprop"):
        resolve_config(config, TinyDataset())
    assert resolve_config(replace(config, optimizer="sgd"), TinyDataset()).momentum == 0.5


SPLIT = np.array(["train", "val", "val", "test", "val", "train"])
TABLE = pd.DataFrame(
    {
        "image_id": list("abcdef"),
        "target": [0, 1, 0, 0, 1, 1],
        "flags": ["", "ungradable: blurred", "", "", "", ""],
    }
)


@pytest.fixture
def dataset():
    return SimpleNamespace(table=TABLE, split=lambda seed: SPLIT)


def test_auto_is_one_unmarked_validation_image_of_each_class(dataset):
    assert resolve_watched("auto", dataset, 0) == "c,e"
    assert watched_rows("c,e", dataset).tolist() == [2, 4]


def test_nothing_asked_is_nothing_pinned(dataset):
    assert resolve_watched(None, dataset, 0) is None
    assert resolve_watched("", dataset, 0) is None


def test_named_images_keep_their_order(dataset):
    assert resolve_watched(" d, c,d ", dataset, 0) == "d,c"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("c,z", "no image 'z' to pin"),
        ("c,f", "'f' is one to train on"),
        (
            ",".join(f"i{k}" for k in range(MAX_WATCHED + 1)),
            f"At most {MAX_WATCHED} images .* received {MAX_WATCHED + 1}",
        ),
    ],
)
def test_what_cannot_be_pinned_is_refused(dataset, asked, message):
    with pytest.raises(UserError, match=message):
        resolve_watched(asked, dataset, 0)
