import subprocess
import sys

import pytest
from torchvision import models

from lib.models.backbones import BACKBONES
from lib.pretraining.images import class_table
from lib.settings import DEFAULT_BACKBONE, FALLBACK_BACKBONE


@pytest.mark.parametrize("name", [spec.name for spec in BACKBONES if spec.weights_url])
def test_table_agrees_with_torchvision(name):
    spec = BACKBONES.get(name)
    weights = models.get_model_weights(name).IMAGENET1K_V1

    assert spec.weights_url == weights.url
    assert spec.weights_url.endswith("/" + spec.weights_file)
    assert spec.weights_mib == pytest.approx(weights.meta["_file_size"], abs=0.06)
    preprocessing = weights.transforms()
    assert (spec.mean, spec.std) == (tuple(preprocessing.mean), tuple(preprocessing.std))
    assert [spec.input_size_px] == preprocessing.crop_size
    assert spec.min_input_px >= weights.meta["min_size"][0]


@pytest.mark.parametrize("name", BACKBONES.names)
def test_stage_names_in_the_table_exist(name):
    spec = BACKBONES.get(name)
    assert len(set(spec.stage_names)) == len(spec.stage_names)
    assert {spec.feature_stage, spec.cam_stage, spec.unfreeze_from} <= set(spec.stage_names)
    assert spec.stage(spec.cam_stage).output == "map"
    assert spec.map_stages[0].name == spec.stage_names[0]
    assert all(stage.title and stage.num_channels for stage in spec.stages)


def test_the_default_stands_first_and_the_fallback_second():
    assert list(BACKBONES.names[:2]) == [DEFAULT_BACKBONE, FALLBACK_BACKBONE] == ["efficientnet_lite0", "bundled_vgg"]
    spec = BACKBONES.get(FALLBACK_BACKBONE)
    assert spec.stages[-1].num_channels == len(class_table())
    assert (spec.weights_url, spec.weights_title) == ("", "Generated images")


def test_table_weights_and_stage_plans_need_no_torch():
    code = (
        "import sys; from lib.models import backbones, freezing, weights; weights.all_weights_status(); "
        "freezing.stage_plan('resnet18', 'partial'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
