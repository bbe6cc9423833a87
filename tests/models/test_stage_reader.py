import torch

from lib.features.frozen_stages import smooth_pictures
from lib.models.classifier import pool_features
from lib.models.stage_reader import StageReader
from lib.models.stages import build_backbone, set_batchnorm_statistics


def test_pooled_outputs_come_first_and_then_what_enters_each_batchnorm() -> None:
    backbone, images = build_backbone("mobilenet_v3_small", weights="random"), smooth_pictures(3, 64, seed=1)
    set_batchnorm_statistics(backbone, images)
    reader = StageReader(backbone)
    with torch.no_grad():
        found = reader(images)
        entered = backbone.stages["stem"][0][0](images)  # its convolution, in front of the first BatchNorm
        expected = {name: backbone.forward_until(images, name) for name in backbone.stages}
    assert len(found) == reader.num_outputs == len(expected) + 2 * sum(map(len, reader.norms.values()))
    for (name, output), pooled in zip(expected.items(), found, strict=False):
        torch.testing.assert_close(pooled, pool_features(output, *reader.poolings[name]).flatten(1))
    mean, variance = found[len(expected) : len(expected) + 2]
    torch.testing.assert_close(mean, entered.mean((2, 3)))
    torch.testing.assert_close(variance, entered.var((2, 3), correction=0))


def test_the_backbone_stays_as_it_is_and_lends_its_weights() -> None:
    backbone = build_backbone("mobilenet_v3_small", weights="random").train()
    reader = StageReader(backbone)
    with torch.no_grad():
        reader(torch.randn(2, 3, 64, 64))
    assert backbone.training
    assert not any(module.training for module in reader.stages.modules())
    assert next(reader.parameters()).data_ptr() == next(backbone.parameters()).data_ptr()
    assert not any(module._forward_pre_hooks for module in [*backbone.modules(), *reader.modules()])


def test_what_an_export_is_kept_under_names_the_poolings() -> None:
    reader = StageReader(build_backbone("resnet18", weights="random", feature_only=True))
    before = repr(reader)
    reader.poolings["stem"] = ("flatten", 0)
    assert repr(reader) != before
