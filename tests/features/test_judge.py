"""The network that says how alike images are: at which stages it reads, and what it reads there."""

import threading

import numpy as np
import pytest
import torch

from lib.data.input_transform import InputTransform
from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages
from lib.features.judge import Judge, judged_stages, stage_titles
from lib.models.backbone_spec import BackboneSpec, StageSpec
from lib.models.backbones import BACKBONES

SIDE = 8
STAGES = (StageSpec("low", "Low", "map", 4), StageSpec("high", "High", "map", 5), StageSpec("last", "Last", "map", 6))
SPEC = BackboneSpec(
    name="three", title="Three", network="timm:three", paper_url="", stages=STAGES, feature_stage="last",
    cam_stage="last", unfreeze_from="high",
)  # fmt: skip


def layers() -> torch.nn.ModuleDict:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        sizes = (("low", 3, 4), ("high", 4, 5), ("last", 5, 6))
        return torch.nn.ModuleDict({name: torch.nn.Conv2d(a, b, 3) for name, a, b in sizes}).eval()


def judge() -> Judge:
    network = FrozenStages(layers(), size_px=SIDE, engine="torch")
    return Judge(network, SPEC, "last", InputTransform(SIDE, SPEC.mean, SPEC.std))


def pixels(num: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (num, SIDE, SIDE, 3), dtype=np.uint8)


def test_three_depths_are_compared_and_the_last_is_what_is_read() -> None:
    spec = BACKBONES.get("resnet18")
    names = [stage.name for stage in spec.stages_until(spec.feature_stage)]
    found = judged_stages(spec, spec.feature_stage)
    assert found[-1] == spec.feature_stage
    assert [names.index(one) / (len(names) - 1) for one in found] == pytest.approx([0.25, 0.5, 1], abs=0.13)
    assert judged_stages(spec, names[0]) == (names[0],)  # of an early stage there are fewer
    assert judged_stages(spec, names[1]) == tuple(names[:2])


def test_comparisons_are_called_by_stage_and_by_a_foreign_network() -> None:
    assert stage_titles(SPEC, ("low",), is_own=True) == {"low": "Features at low"}
    assert stage_titles(SPEC, ("low", "last"), is_own=False) == {
        "low": "Features at low of Three", "last": "Features at last of Three"
    }  # fmt: skip


def test_pooled_outputs_of_more_images_than_a_batch_are_in_order() -> None:
    one, images = judge(), pixels(19)
    found = one.read(images)
    h = one.inputs.batch(images)
    with torch.no_grad():
        for stage in STAGES:
            h = layers()[stage.name](h)
            assert found[stage.name].dtype == np.float32
            assert found[stage.name] == pytest.approx(h.mean((2, 3)).numpy(), abs=1e-5)
    assert list(found) == list(one.stages) == ["low", "high", "last"]


def test_reading_can_be_stopped_between_stages() -> None:
    asked = []

    def check() -> None:
        asked.append(1)
        if len(asked) > 2:
            raise Stopped

    with pytest.raises(Stopped):
        judge().read(pixels(40), check)
    assert len(asked) == 3


def test_threads_share_a_judge() -> None:
    one, expected, found = judge(), judge().read(pixels(5)), []
    threads = [threading.Thread(target=lambda: found.append(one.read(pixels(5)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.array_equal(other[name], values) for other in found for name, values in expected.items())
