import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lib.checked_rows import CheckedRows
from lib.data.augmentation import MIRRORED, POLICIES, View, Warp
from lib.features import extraction
from lib.features.extraction import UNPOOLED, feature_key
from lib.settings import cache_dir
from tests.features.extracted import extract_features as extract
from tests.features.tiny_dataset import TinyDataset

BACKBONE = "mobilenet_v3_small"


def test_features_are_those_of_the_network_in_table_order() -> None:
    import torch

    from lib.data.input_transform import to_batch
    from lib.features.frozen_stages import frozen_backbone

    dataset = TinyDataset(num_images=10)
    found = extract(dataset)
    backbone = frozen_backbone(BACKBONE, weights="random", seed=0)
    batch = to_batch(dataset.pixels, size_px=32, mean=backbone.spec.mean, std=backbone.spec.std)
    with torch.no_grad():
        expected = backbone.forward_until(batch, backbone.spec.feature_stage).mean((2, 3)).numpy()
    assert found.features.shape == (10, backbone.spec.feature_dim)
    assert found.features.dtype == np.float32
    assert found.features == pytest.approx(expected, rel=1e-4, abs=1e-5)
    assert 1e-3 < expected.std() < 1e3  # a random network neither dies nor explodes
    assert not found.was_cached
    assert found.images_per_second > 0


def test_key_depends_on_everything_that_changes_the_features() -> None:
    base: tuple = ("v1", BACKBONE, "random", 0, "head_conv", "average", 32, "float32", "")
    keys = {feature_key(*base)}
    for position, other in enumerate(("v2", "resnet18", "random", 1, "block1", "flatten", 64, "bfloat16", "flipped")):
        if position != 2:
            keys.add(feature_key(*base[:position], other, *base[position + 1 :]))
    assert len(keys) == 9


@pytest.mark.slow
def test_mirrored_and_unpooled_views() -> None:
    dataset = TinyDataset(num_images=4)
    stage = {"stage": "block1", "pooling": UNPOOLED}
    plain, flipped = extract(dataset, **stage), extract(dataset, **stage, view=View(MIRRORED))
    assert plain.features.shape == (4, 16, 8, 8)
    assert isinstance(plain.features, CheckedRows)
    mirrored = TinyDataset(num_images=4, version="v2")
    mirrored.pixels = np.ascontiguousarray(mirrored.pixels[:, :, ::-1])
    assert flipped.features == pytest.approx(extract(mirrored, **stage).features, abs=1e-5)
    assert not np.allclose(plain.features, flipped.features)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["torch", "onnx"])
def test_batches_follow_the_recorded_size_and_not_the_clock(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, found, run = TinyDataset(num_images=22), [], extraction.Extraction._run
    for pause_s in (0.0, 0.3):
        sizes: list[int] = []

        def slow(self: Any, pixels: np.ndarray, *args: Any, pause_s: float = pause_s, sizes: Any = sizes) -> np.ndarray:
            sizes.append(len(pixels))
            time.sleep(pause_s)
            return run(self, pixels, *args)

        monkeypatch.setattr(extraction.Extraction, "_run", slow)
        features = extract(dataset, engine=engine, batch_size=8)
        assert not features.was_cached
        assert sizes == [8, 8, 6]
        found.append(np.array(features.features))
        (cache_dir() / "features" / f"{features.key}.npy").unlink()
    assert np.array_equal(*found)


def test_key_of_a_drawn_view_holds_the_ranges_it_is_drawn_from(monkeypatch: pytest.MonkeyPatch) -> None:
    view, policy = View(policy="modern", number=0, seed=0), POLICIES.get("modern")
    before = extraction.view_key(view)
    monkeypatch.setitem(POLICIES._specs, "modern", replace(policy, warp=Warp(rotation_deg=3)))
    assert extraction.view_key(view) != before
