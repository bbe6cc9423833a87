import dataclasses

import numpy as np
import pytest
import torch

from lib.data.input_transform import InputTransform
from lib.errors import Stopped
from lib.features.cache import Shard, combine, fill_shard, read_or_extract
from lib.features.engine import EngineChoice
from lib.features.frozen_stages import frozen_backbone
from lib.features.onnx_session import EngineUnavailable
from lib.features.stage_outputs import StagedSource, StageRequest
from lib.models.backbones import BACKBONES
from lib.models.classifier import stage_poolings
from lib.models.head_layers import pool_features
from tests.features.tiny_dataset import TinyDataset


def source(name: str = "mobilenet_v3_small", weights: str = "random", *, size_px: int = 64) -> StagedSource:
    spec = dataclasses.replace(BACKBONES.get(name), input_size_px=size_px)
    return StagedSource.published(spec, weights)


def outputs(request: StageRequest) -> dict[str, np.ndarray]:
    return request.by_stage(np.asarray(read_or_extract(request).features))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", "bundled_vgg", "efficientnet_lite0"])
@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_each_stage_is_what_the_network_gives_there(name: str, engine: str, caplog: pytest.LogCaptureFixture) -> None:
    dataset, read = TinyDataset(num_images=5), source(name)
    found = outputs(StageRequest(dataset, read, engine=EngineChoice(engine, 2)))
    backbone = frozen_backbone(name, weights="random", seed=0)
    batch = InputTransform.of(read.spec).batch(dataset.pixels)
    poolings = stage_poolings(read.spec, backbone.stages)
    for stage in read.stages:
        with torch.no_grad():
            expected = pool_features(backbone.forward_until(batch, stage.name), *poolings[stage.name]).numpy()
        assert found[stage.name].shape == (5, stage.num_channels)
        assert found[stage.name] == pytest.approx(expected, rel=2e-3, abs=2e-3 * float(np.abs(expected).max()))
        assert 1e-3 < expected.std() < 1e3  # a random network neither dies nor explodes
    assert not caplog.records  # the engine that was asked for was at work


def test_a_mean_that_repeats_the_maps_before_it_is_left_out() -> None:
    assert [stage.name for stage in source("efficientnet_lite0").stages][-2:] == ["head_conv", "logits"]
    assert "pool" in [stage.name for stage in source("bundled_vgg").stages]  # mean and maximum say more than a mean


def test_tokens_are_read_as_well() -> None:
    read = StagedSource.published(BACKBONES.get("timm:test_vit"), "random")
    found = outputs(StageRequest(TinyDataset(num_images=3), read))
    assert "tokens" in {stage.output for stage in read.stages}
    assert all(np.isfinite(values).all() and values.shape[0] == 3 for values in found.values())


def test_what_is_kept_is_read_again_and_its_name_holds_all_it_depends_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, read = TinyDataset(num_images=4), source()
    request = StageRequest(dataset, read)
    first = outputs(request)
    monkeypatch.setattr("lib.features.stage_outputs.frozen_backbone", lambda *a, **k: pytest.fail("built a network"))
    again = read_or_extract(request)
    assert again.was_cached
    assert np.array_equal(request.by_stage(np.asarray(again.features))["stem"], first["stem"])
    changes = [
        {"dataset": TinyDataset(num_images=4, version="v2")}, {"dtype": "bfloat16"}, {"engine": EngineChoice("onnx")},
        {"source": StagedSource.published(read.spec, "random", seed=1)}, {"source": source(size_px=32)},
        {"source": dataclasses.replace(read, last="block1")}, {"source": dataclasses.replace(read, digest="run 1")},
    ]  # fmt: skip
    assert len({request.key, *(dataclasses.replace(request, **change).key for change in changes)}) == 8
    assert request.key == dataclasses.replace(request, device="cuda", engine=EngineChoice("torch", 32)).key


def test_shards_are_the_whole() -> None:
    dataset = TinyDataset(num_images=7)
    request = StageRequest(dataset, source(), engine=EngineChoice("torch", 2))
    expected = np.asarray(read_or_extract(request).features).copy()
    request.path.unlink()
    for index in (1, 2, 3):
        assert fill_shard(request, Shard(index, 3))
    assert combine(request, 3)
    assert np.asarray(read_or_extract(request).features) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_a_damaged_file_is_made_again() -> None:
    request = StageRequest(TinyDataset(num_images=3), source())
    expected = np.asarray(read_or_extract(request).features).copy()
    content = bytearray(request.path.read_bytes())
    content[200] ^= 255
    request.path.write_bytes(bytes(content))
    again = read_or_extract(request)
    assert np.array_equal(np.asarray(again.features), expected)


def test_a_stop_is_heard_between_stages_and_leaves_nothing() -> None:
    request = StageRequest(TinyDataset(num_images=8), source(), engine=EngineChoice("torch", 8))
    asked: list[int] = []

    def should_stop() -> bool:
        asked.append(1)
        return len(asked) > 3

    with pytest.raises(Stopped):
        read_or_extract(request, should_stop=should_stop)
    assert not request.path.exists()


def test_where_it_cannot_be_exported_torch_reads_the_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, read = TinyDataset(num_images=3), source()
    expected = outputs(StageRequest(dataset, read))

    def fail(*_: object, **__: object) -> None:
        raise EngineUnavailable("not here")

    monkeypatch.setattr("lib.features.stage_outputs.OnnxSession", fail)
    found = outputs(StageRequest(dataset, read, engine=EngineChoice("onnx")))
    assert found["block1"] == pytest.approx(expected["block1"], rel=1e-4, abs=1e-5)
