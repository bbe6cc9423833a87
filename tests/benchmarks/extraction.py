"""`python -m tests.benchmarks.extraction [BACKBONE ...]`: frozen features, ours against the usual loop.

End to end: read the pixel store, resize, run the frozen stages, write the features. The stock loop reads the
same store with the same resize and runs torch in its own layout (NCHW), float32, in batches of 32. Networks have random
weights and are built, and exported, before the clock starts. The bare engine computes a batch that lies ready, again
and again: what is left of its rate is what reading, resizing and writing cost.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

ROUNDS = 5
BACKBONES = ("mobilenet_v2", "efficientnet_lite0", "resnet18", "vgg16")
STORE_SIDE_PX = 256
_STOCK_BATCH = 32
_STOCK_S = 4.0  # images are as many as the stock loop does in that time, in whole batches


class Store:
    """Smooth random pictures (N, S, S, 3) on the disk, as `lib.features` reads a data set."""

    def __init__(self, folder: Path, num_images: int) -> None:
        from lib.features.frozen_stages import smooth_pictures

        few = smooth_pictures(_STOCK_BATCH, STORE_SIDE_PX, seed=0).permute(0, 2, 3, 1).numpy()
        few = np.clip(128 + 50 * few, 0, 255).astype(np.uint8)
        np.save(folder / "pixels.npy", np.resize(few, (num_images, *few.shape[1:])))
        self.pixels = np.load(folder / "pixels.npy", mmap_mode="r")
        self.version = f"benchmark{num_images}"


def main() -> None:
    """Measure the networks that are named, by default those with a target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=BACKBONES)
    options = parser.parse_args()
    from lib.runtime import set_threads

    print(f"{set_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRANSFERSCOPE_HOME"] = folder
        for name in options.backbones:
            bench_extraction(name, Path(folder))


def bench_extraction(name: str, folder: Path) -> None:
    """Five interleaved rounds of the stock loop, our extraction and the bare engine; prints the ratios."""
    from lib.data.augmentation import AS_IT_IS
    from lib.features.engine import FrozenPart, choose_engine
    from lib.features.extraction import Extraction, FeatureRequest, write_features
    from lib.models.backbones import BACKBONES as TABLE
    from lib.progress import ignore_progress

    spec = TABLE.get(name)
    part = FrozenPart(name, "random", 0, spec.feature_stage, spec.input_size_px)
    choice = choose_engine(part)
    print(f"{spec.title}: {choice.name} in batches of {choice.batch_size}; {choice.reason}")
    stock = _StockLoop(name)
    num_images = stock.num_images_within(_STOCK_S, folder)
    store: Any = Store(folder, num_images)
    request = FeatureRequest(
        store, name, "random", 0, spec.feature_stage, spec.pooling, spec.input_size_px, "float32", AS_IT_IS, "cpu",
        choice.name, choice.batch_size,
    )  # fmt: skip
    extraction = Extraction(request)
    ready = extraction.batch(store.pixels[: choice.batch_size], [])

    def ours() -> None:
        batches = extraction.batches(lambda: False, range(num_images))
        write_features(request.path, batches, num_images, ignore_progress)

    def bare() -> None:
        for _ in range(0, num_images, choice.batch_size):
            extraction.network.forward_until(ready, spec.feature_stage)

    contenders = {"stock loop": lambda: stock.run(store.pixels, folder), "ours": ours, "bare engine": bare}
    rates: dict[str, list[float]] = {title: [] for title in contenders}
    for round_index in range(ROUNDS + 1):
        for title, work in contenders.items():
            began = time.perf_counter()
            work()
            if round_index:  # the first round warms up
                rates[title].append(num_images / (time.perf_counter() - began))
    for title, values in rates.items():
        print(f"  {title:<12} {statistics.median(values):8.1f} images/s ({min(values):.1f} to {max(values):.1f})")
    for title, what in (("stock loop", "times the stock loop"), ("bare engine", "of the bare engine's rate")):
        ratios = [a / b for a, b in zip(rates["ours"], rates[title], strict=True)]
        middle = statistics.median(ratios)
        print(f"  {spec.title}, {num_images} images: {middle:.2f} {what} ({min(ratios):.2f} to {max(ratios):.2f})")
    print()


class _StockLoop:
    """torch as it comes: NCHW, BatchNorm as it is, batches of 32."""

    def __init__(self, name: str) -> None:
        import torch

        from lib.features.frozen_stages import frozen_backbone
        from lib.models.stages import keep_stages_until

        backbone = frozen_backbone(name, weights="random", seed=0)
        self.spec = backbone.spec
        self.network: Any = keep_stages_until(backbone, self.spec.feature_stage)
        self.network.to(memory_format=torch.contiguous_format)

    def run(self, pixels: np.ndarray, folder: Path) -> None:
        """Features of all images into one file."""
        import torch

        from lib.data.input_transform import to_batch
        from lib.models.head_layers import pool_features

        found, spec = [], self.spec
        with torch.no_grad():
            for start in range(0, len(pixels), _STOCK_BATCH):
                batch = to_batch(
                    pixels[start : start + _STOCK_BATCH], size_px=spec.input_size_px, mean=spec.mean, std=spec.std
                )
                found.append(pool_features(self.network(batch.contiguous()), spec.pooling).numpy())
        np.save(folder / "stock.npy", np.concatenate(found))

    def num_images_within(self, seconds: float, folder: Path) -> int:
        """How many images are done in that time: one batch at least, sixteen at most."""
        pixels = np.zeros((_STOCK_BATCH, STORE_SIDE_PX, STORE_SIDE_PX, 3), np.uint8)
        self.run(pixels, folder)
        began = time.perf_counter()
        self.run(pixels, folder)
        return _STOCK_BATCH * min(16, max(1, round(seconds / (time.perf_counter() - began))))


if __name__ == "__main__":
    main()
