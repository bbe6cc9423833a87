"""`python -m tests.benchmarks.stage_pass [BACKBONE ...]`: all stages of a network against plain feature extraction.

Both passes go from the store to the file, with the same engine and batches, over the same images, and take turns.
Networks are built, and exported, before the clock starts. Then the probes: how long logistic regression on every stage
takes once the outputs are at hand, of 1,000 images in five classes.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.extraction import Store

ROUNDS = 5
NUM_IMAGES = 96
BACKBONES = ("efficientnet_lite0", "bundled_vgg")


def main() -> None:
    """Measure the networks that are named, by default the two whose weights are always at hand."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("backbones", nargs="*", default=BACKBONES)
    options = parser.parse_args()
    from lib.runtime import set_threads

    print(f"{set_threads()} threads")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["TRANSFERSCOPE_HOME"] = folder
        store = Store(Path(folder), NUM_IMAGES)
        for name in options.backbones:
            for weights in ("pretrained", "random"):
                bench_pass(name, weights, store)
            bench_probes(name)


def bench_pass(name: str, weights: str, store: Any) -> None:
    """Interleaved rounds of both passes; prints the ratio in wall and in processor seconds."""
    from lib.data.augmentation import AS_IT_IS
    from lib.features.engine import FrozenPart, choose_engine
    from lib.features.extraction import FeatureRequest, write_features
    from lib.features.stage_outputs import StagedSource, StageRequest
    from lib.models.backbones import BACKBONES as TABLE
    from lib.progress import ignore_progress

    spec = TABLE.get(name)
    choice = choose_engine(FrozenPart(name, weights, 0, spec.feature_stage, spec.input_size_px))
    requests: dict[str, Any] = {
        "all stages": StageRequest(store, StagedSource.published(spec, weights), engine=choice),
        "features": FeatureRequest(
            store, name, weights, 0, spec.feature_stage, spec.pooling, spec.input_size_px, "float32", AS_IT_IS, "cpu",
            choice.name, choice.batch_size,
        ),
    }  # fmt: skip
    passes = {title: request.extraction() for title, request in requests.items()}

    def work(title: str) -> None:
        batches = passes[title].batches(lambda: False, range(NUM_IMAGES))
        write_features(requests[title].path, batches, NUM_IMAGES, ignore_progress)

    taken: dict[str, list[tuple[float, float]]] = {title: [] for title in passes}
    for round_index in range(ROUNDS + 1):
        for title in passes:
            found = _seconds(lambda title=title: work(title))  # type: ignore[misc]
            if round_index:  # the first round warms up
                taken[title].append(found)
    print(f"{spec.title}, {weights}, {choice.name} in batches of {choice.batch_size}, {NUM_IMAGES} images:")
    for which, clock in enumerate(("wall", "processor")):
        first, second = ([one[which] for one in taken[title]] for title in passes)
        ratios = [a / b for a, b in zip(first, second, strict=True)]
        print(
            f"  {clock:<9} all stages {statistics.median(first):6.2f} s, features {statistics.median(second):6.2f} s, "
            f"ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def bench_probes(name: str) -> None:
    """Seconds of the probes of all stages, on made-up outputs of the right widths."""
    from lib.evaluation.metric_table import KAPPA
    from lib.explain.stage_probes import ProbeTask, probe_answers
    from lib.features.stage_outputs import StagedSource
    from lib.models.backbones import BACKBONES as TABLE

    random, targets = np.random.default_rng(0), np.arange(1000) % 5
    rows = np.arange(1000)
    task = ProbeTask(targets, None, tuple("abcde"), KAPPA, ((rows[:800], rows[800:]),))
    widths = [stage.num_channels for stage in StagedSource.published(TABLE.get(name)).stages]
    outputs = [
        (random.normal(0, 0.2, (5, width))[targets] + random.normal(size=(1000, width))).astype(np.float32)
        for width in widths
    ]
    probe_answers(outputs[0], task)
    taken = [_seconds(lambda: [probe_answers(one, task) for one in outputs]) for _ in range(ROUNDS)]
    wall, processor = (statistics.median(one[which] for one in taken) for which in (0, 1))
    print(f"  probes of {len(widths)} stages, 1,000 images: {wall:.2f} s, {processor:.2f} s of processor time\n")


def _seconds(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall and processor seconds."""
    began, busy = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - busy


if __name__ == "__main__":
    main()
