"""What the bundled backbone is worth on the generated fundus set: `python -m tests.benchmarks.bundled_backbone`.

Two tables, each at 200 and 20 images a class to learn from, over five splits and three random initialisations:
a linear probe on frozen features against the same probe on random weights (BatchNorm statistics set on the same
images), and fine-tuning against training from scratch at equal epochs. The figure is the quadratic kappa on
the test images; the interval of the difference is Student's over the five splits, each averaged over the
initialisations.
"""

import argparse
import math
import time
from collections.abc import Callable

import numpy as np

from lib.cli.doctor import describe_machine
from lib.data.builtin import ensure_default_dataset
from lib.data.dataset import Dataset
from lib.evaluation.metrics import quadratic_weighted_kappa
from lib.precision import choose_dtype
from lib.pretraining.transfer import frozen_features
from lib.runtime import set_threads
from lib.training.config import TrainConfig
from lib.training.events import ignore_events, never_stop
from lib.training.network import Compute
from lib.training.preparation import Development
from lib.training.resolution import resolve_config
from lib.training.session import TrainingSession
from lib.training.sklearn_heads import fit_linear_probe

SPLIT_SEEDS, INITIAL_SEEDS = range(5), range(3)
STUDENT_95 = 2.776  # 97.5 % point of Student's t with 4 degrees of freedom
BACKBONE = "bundled_vgg"

Kappa = Callable[[np.ndarray, int], float]


def main() -> None:
    """Measure what is asked for and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["probe", "finetuning"])
    parser.add_argument("--per-class", type=int, nargs="+", default=[200, 20])
    parser.add_argument("--size", type=int, default=224, help="input size in pixels")
    parser.add_argument(
        "--epochs", type=int, nargs="+", default=[6, 20], help="of fine-tuning, one for each --per-class"
    )
    options = parser.parse_args()
    set_threads()
    dataset = ensure_default_dataset()
    facts = describe_machine()
    print(f"{facts['processor']}, {facts['num_cores']} cores, torch {facts['torch']}, {time.strftime('%Y-%m-%d')}, "
          f"{dataset.num_images} images, input {options.size} px")  # fmt: skip
    if options.only != "finetuning":
        probes = _Probes(dataset, options.size)
        for per_class in options.per_class:
            _report(f"linear probe, {per_class} a class", dataset, per_class, probes.pretrained, probes.random)
    if options.only != "probe":
        for per_class, epochs in zip(options.per_class, options.epochs, strict=True):
            tuned = _tuning(dataset, "full_finetuning", options.size, epochs)
            scratch = _tuning(dataset, "from_scratch", options.size, epochs)
            _report(f"fine-tuning, {per_class} a class, {epochs} epochs", dataset, per_class, tuned, scratch)


def few(dataset: Dataset, split_seed: int, per_class: int) -> np.ndarray:
    """The split with at most `per_class` images a class to learn from, patient by patient; the test part stays."""
    split, table = dataset.split(split_seed), dataset.table
    targets, groups = table["target"].to_numpy(), table["group_id"].to_numpy()
    for part, share in (("train", 0.8), ("val", 0.2)):
        for target in range(dataset.spec.num_classes):
            rows = np.flatnonzero((split == part) & (targets == target))
            order = np.random.default_rng([split_seed, target]).permutation(np.unique(groups[rows]))
            rank = {group: number for number, group in enumerate(order)}
            ranked = rows[np.argsort([rank[group] for group in groups[rows]], kind="stable")]
            split[ranked[round(per_class * share) :]] = ""
    return split


class _Probes:
    """Features of each kind of weights are computed once and probed on every split."""

    def __init__(self, dataset: Dataset, size_px: int) -> None:
        self.dataset, self.targets = dataset, dataset.table["target"].to_numpy()
        self.features = {"pretrained": frozen_features(dataset.pixels, BACKBONE, weights="pretrained", size_px=size_px)}
        for seed in INITIAL_SEEDS:
            self.features[f"random {seed}"] = frozen_features(
                dataset.pixels, BACKBONE, weights="random", seed=seed, size_px=size_px
            )

    def pretrained(self, split: np.ndarray, _: int) -> float:
        return self._kappa("pretrained", split)

    def random(self, split: np.ndarray, seed: int) -> float:
        return self._kappa(f"random {seed}", split)

    def _kappa(self, kind: str, split: np.ndarray) -> float:
        features = self.features[kind]
        train, val, test = (np.flatnonzero(split == part) for part in ("train", "val", "test"))
        # Validation images stay apart: "learned from 40 images a class" must mean that.
        development = Development(train, ((train, val),), np.arange(len(self.targets)))
        head = fit_linear_probe(features, self.targets, development=development, num_classes=5).head
        logits = features[test] @ head.weight.detach().numpy().T + head.bias.detach().numpy()
        return quadratic_weighted_kappa(self.targets[test], np.eye(5)[logits.argmax(1)])


def _tuning(dataset: Dataset, strategy: str, size_px: int, epochs: int) -> Kappa:
    def kappa(split: np.ndarray, seed: int) -> float:
        config = TrainConfig(
            dataset=dataset.name, backbone=BACKBONE, strategy=strategy, epochs=epochs, patience=epochs, seed=seed,
            input_size_px=size_px,
        )  # fmt: skip
        compute = Compute("cpu", "float32", choose_dtype("cpu", "training")[0], set_threads())
        session = TrainingSession(
            resolve_config(config, dataset), dataset, compute, listener=ignore_events, should_stop=never_stop
        )
        fitted = session.fit(split)
        rows = np.flatnonzero(split == "test")
        return quadratic_weighted_kappa(session.targets[rows], session.probabilities(fitted, rows))

    return kappa


def _report(title: str, dataset: Dataset, per_class: int, ours: Kappa, control: Kappa) -> None:
    found = np.array([
        [[kappa(few(dataset, split_seed, per_class), seed) for seed in INITIAL_SEEDS] for split_seed in SPLIT_SEEDS]
        for kappa in (ours, control)
    ])  # fmt: skip
    gains = (found[0] - found[1]).mean(axis=1)
    half = STUDENT_95 * gains.std(ddof=1) / math.sqrt(len(gains))
    means = found.mean(axis=(1, 2))
    print(f"{title:<40} {means[0]:.3f} against {means[1]:.3f}, gain {gains.mean():.3f} "
          f"({gains.mean() - half:.3f} to {gains.mean() + half:.3f}); by split "
          f"{' '.join(f'{gain:.3f}' for gain in gains)}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
