"""Finished runs by the dozen or the thousand, with all that the results board reads, without training a network.

`python -m tests.generated_runs --runs 8 --classes 101` puts them into the current TRANSFERSCOPE_HOME: a data set of
small drawn images, and runs in the store's own format with settings, curves, predictions and manifests. The same
arguments give the same runs. Answers of different runs to one image hang together, as do those to the two images of a
patient, so that paired tests and intervals over patients have something to find.
"""

import argparse
import hashlib
import json
import math
import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from lib.data.dataset import DESCRIPTION_FILE, LEFT_OUT_FILE, PIXELS_FILE, STORED_FILES, TABLE_FILE, Dataset
from lib.data.label_schema import LabelSchema, described
from lib.data.library import is_taken, open_dataset
from lib.data.specs import DatasetSpec
from lib.data.store_writer import file_facts
from lib.evaluation.headline import binary_auroc, key_of_tested_images, score_figures
from lib.evaluation.metric_table import METRICS
from lib.evaluation.metrics import quadratic_kappas, wilson_interval
from lib.models.backbones import BACKBONES
from lib.models.freezing import stage_plan
from lib.recipes import RECIPES, run_title
from lib.settings import datasets_dir, runs_dir
from lib.sweeps.plan import SweepState
from lib.sweeps.seeds import GROUP_TAG, SeedSweep
from lib.tracking import sqlite_client, state
from lib.tracking.store import client, experiment_id
from lib.training.config import TrainConfig
from lib.training.results import bundle_manifest
from lib.training.strategies import STRATEGIES

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
NUM_SEEDS = 3  # of a series
SERIES_EVERY = 8  # of eight runs in a row the first three are one series of seeds
RECIPE_EVERY = 7
FIRST_S = 1_790_000_000.0  # when the first run began; the others every ten minutes
_SIDE_PX = 32
_BACKBONES = ("efficientnet_lite0", "resnet18", "mobilenet_v2", "vgg16")
_STRATEGIES = ("linear_probe", "full_finetuning", "partial_finetuning", "from_scratch", "nearest_neighbors",
               "feature_extraction", "probe_then_finetune", "linear_svm", "gradual_unfreezing")  # fmt: skip
# How far an answer lies off: less where more of the network is tuned.
_NOISE = {"no_network": 1.5, "frozen": 1.15, "partly_tuned": 0.95, "fully_tuned": 0.85, "from_scratch": 1.9}
_SECONDS = {"no_network": 5.0, "frozen": 12.0, "partly_tuned": 180.0, "fully_tuned": 420.0, "from_scratch": 300.0}
_NUM_DRAWS = 200


def make_generated_runs(
    number: int,
    *,
    num_classes: int = 5,
    num_test: int = 200,
    is_ordinal: bool = True,
    with_groups: bool = True,
    seed: int = 0,
) -> list[str]:
    """Make so many finished runs, newest last, on one generated data set in the current home; returns their ids.

    Runs that are there already are left as they are. 2,000 take half a minute.

    Args:
        number: of runs.
        num_classes: at least two; five ordered ones are the grades of retinopathy.
        num_test: images in the test set.
        is_ordinal: whether the classes are grades in their order.
        with_groups: whether two images each belong to one patient.
        seed: of images and answers; another one gives other runs on another data set.
    """
    dataset = make_generated_dataset(
        num_classes=num_classes, num_test=num_test, is_ordinal=is_ordinal, with_groups=with_groups, seed=seed
    )
    client()  # makes the store
    tested = _TestSet(dataset, is_ordinal=is_ordinal, with_groups=with_groups, seed=seed)
    made = [_GeneratedRun(index, tested, seed) for index in range(number)]
    known = {path.name for path in runs_dir().iterdir()}
    fresh = [run for run in made if run.run_id not in known]
    for run in fresh:
        run.write_folder()
    _enter(fresh)
    _write_series(made)
    return [run.run_id for run in made]


def make_generated_dataset(
    *, num_classes: int, num_test: int, is_ordinal: bool, with_groups: bool, seed: int = 0
) -> Dataset:
    """The data set of generated runs: images of one tint a class, a fixed split with `num_test` images to test."""
    kind = "grades" if is_ordinal else "classes"
    name = f"generated-{num_classes}-{kind}-{num_test}{'' if with_groups else '-single'}{f'-{seed}' if seed else ''}"
    if is_taken(name):
        return open_dataset(name)
    class_names = GRADES if is_ordinal and num_classes == len(GRADES) else tuple(
        f"{'grade' if is_ordinal else 'class'} {number:0{len(str(num_classes - 1))}d}" for number in range(num_classes)
    )  # fmt: skip
    spec = DatasetSpec(
        name=name, title=f"Generated, {num_classes} {kind}", class_names=class_names, is_ordinal=is_ordinal,
        store_side_px=_SIDE_PX, description="Drawn for tests: tinted noise.",
    )  # fmt: skip
    generator = np.random.default_rng([seed, num_classes, num_test])
    parts = {"test": num_test, "val": max(num_test // 2, 2 * num_classes), "train": max(num_test, 4 * num_classes)}
    targets = np.concatenate([_targets(part, num_classes) for part in parts.values()])
    splits = np.repeat(list(parts), list(parts.values()))
    folder = datasets_dir() / name
    folder.mkdir(parents=True)
    tints = generator.integers(40, 216, (num_classes, 3))
    noise = generator.integers(-40, 40, (len(targets), _SIDE_PX, _SIDE_PX, 3))
    np.clip(tints[targets][:, None, None] + noise, 0, 255).astype(np.uint8).tofile(folder / PIXELS_FILE)
    _image_table(name, targets, splits, class_names, with_groups=with_groups).to_parquet(folder / TABLE_FILE)
    pd.DataFrame({"path": [], "reason": []}, dtype="str").to_parquet(folder / LEFT_OUT_FILE, index=False)
    facts = file_facts(folder, STORED_FILES, len(targets))
    content = hashlib.sha256(json.dumps([name, facts["sha256"]]).encode()).hexdigest()[:16]
    description = {
        **described(content, class_names, LabelSchema(class_names, class_names), spec), "num_images": len(targets),
        "num_left_out": 0, "source": "generated for tests", "listing": "", "options": {}, "notices": [],
        "created_s": FIRST_S, "has_checked_splits": True, **facts,
    }  # fmt: skip
    (folder / DESCRIPTION_FILE).write_text(json.dumps(description, default=str), encoding="utf-8")
    return open_dataset(name)


def _targets(number: int, num_classes: int) -> np.ndarray:
    """Both images of a patient have one class; the first class is the commonest."""
    patients = -(-number // 2)
    shares = 1 / (1 + 0.5 * np.arange(min(num_classes, 8)))
    counts = np.full(num_classes, max(1, patients // num_classes))
    counts[: len(shares)] = np.maximum(1, patients * shares / (shares.sum() * max(1, num_classes / 8)))
    cycle = np.concatenate([np.arange(num_classes), np.repeat(np.arange(num_classes), counts)])
    return np.repeat(np.resize(cycle, patients), 2)[:number]


def _image_table(
    name: str, targets: np.ndarray, splits: np.ndarray, class_names: tuple[str, ...], *, with_groups: bool
) -> pd.DataFrame:
    number = len(targets)
    ids = [hashlib.sha256(f"{name} {row}".encode()).hexdigest()[:16] for row in range(number)]
    places = pd.Series(splits).groupby(splits).cumcount()  # a patient belongs to one part
    patients = [f"{part} {place // 2:05d}" if with_groups else "" for part, place in zip(splits, places, strict=True)]
    paths = [f"{class_names[target]}/{row:05d}.png" for row, target in enumerate(targets)]
    return pd.DataFrame(
        {
            "image_id": ids, "path": paths, "source_path": [path.encode() for path in paths],
            "target": targets.astype(np.int64), "split": splits, "group_id": patients,
            "laterality": [("left", "right")[row % 2] if with_groups else "" for row in range(number)],
            "flags": "", "mask_path": "", "width": _SIDE_PX, "height": _SIDE_PX, "num_bytes": 3 * _SIDE_PX**2,
            "crop_left": 0, "crop_top": 0, "crop_right": _SIDE_PX, "crop_bottom": _SIDE_PX,
        }
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class _TestSet:
    """The test images and how hard each is, the same for every run."""

    dataset: Dataset
    is_ordinal: bool
    with_groups: bool
    seed: int

    @cached_property
    def table(self) -> pd.DataFrame:
        return self.dataset.table[self.dataset.split(0) == "test"].reset_index(drop=True)

    @cached_property
    def targets(self) -> np.ndarray:
        return self.table["target"].to_numpy(np.int64)

    @cached_property
    def test_set(self) -> str:
        return key_of_tested_images(self.table["image_id"], self.targets)

    @cached_property
    def num_of_parts(self) -> dict[str, int]:
        return {part: int((self.dataset.split(0) == part).sum()) for part in ("train", "val", "test")}

    @cached_property
    def members(self) -> np.ndarray:
        """The number of the patient of each image (N,)."""
        return np.arange(len(self.targets)) // (2 if self.with_groups else 1)

    @cached_property
    def hardness(self) -> np.ndarray:
        """What every run gets wrong alike: (N, K), or (N, 1) along the grades; the images of a patient alike too."""
        generator, width = (
            np.random.default_rng([self.seed, 1]),
            1 if self.is_ordinal else self.dataset.spec.num_classes,
        )
        of_patients = generator.normal(0, 0.6, (int(self.members.max()) + 1, width))
        return of_patients[self.members] + generator.normal(0, 0.4, (len(self.targets), width))

    def answers(self, noise: float, generator: np.random.Generator) -> np.ndarray:
        """Probabilities (N, K) of a run whose own error is that large."""
        num, num_classes = len(self.targets), self.dataset.spec.num_classes
        if self.is_ordinal:
            own = generator.normal(0, 0.35, (num, 1))
            places = self.targets[:, None] + noise * (self.hardness + own)
            logits = -((places - np.arange(num_classes)) ** 2) * 1.5
        else:
            own = generator.normal(0, 0.6, (num, num_classes))
            logits = 2.0 * math.sqrt(2 * math.log(num_classes)) * np.eye(num_classes)[self.targets] + 1.4 * noise * (
                self.hardness + own
            )
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return exponents / exponents.sum(axis=1, keepdims=True)


class _GeneratedRun:
    """One run: its settings follow from its number, its answers from seed and settings."""

    def __init__(self, index: int, tested: _TestSet, seed: int) -> None:
        self.index, self.tested = index, tested
        block, place = divmod(index, SERIES_EVERY)
        self.is_of_series = place < NUM_SEEDS
        training = block * SERIES_EVERY if self.is_of_series else index  # seeds of a series share all else
        recipe = list(RECIPES)[training // RECIPE_EVERY % len(RECIPES)] if training % RECIPE_EVERY == 5 else None
        strategy = STRATEGIES.get(_STRATEGIES[training % len(_STRATEGIES)])
        backbone = _BACKBONES[(training // len(_STRATEGIES) + training) % len(_BACKBONES)]
        if recipe is not None and recipe.settings["strategy"] in _STRATEGIES:
            strategy, backbone = STRATEGIES.get(recipe.settings["strategy"]), recipe.backbone
        else:
            recipe = None
        self.strategy = strategy
        self.config = TrainConfig(
            dataset=tested.dataset.name, dataset_version=tested.dataset.version, backbone=backbone,
            strategy=strategy.name, weights="pretrained" if strategy.uses_pretrained else "random",
            head=strategy.default_head, epochs=(strategy.default_epochs + training % 5) or None,
            learning_rate=strategy.default_learning_rate or None, batch_size=(16, 32, 64)[training % 3],
            seed=place if self.is_of_series else training % 4, recipe=recipe.name if recipe else "",
            unfreeze_from=BACKBONES.get(backbone).unfreeze_from if strategy.trains_backbone == "partial" else None,
            feature_stage=BACKBONES.get(backbone).feature_stage, engine="torch",
        )  # fmt: skip
        self.run_id = hashlib.sha256(f"{tested.dataset.name} {seed} {index}".encode()).hexdigest()[:32]
        self.group_id = hashlib.sha256(f"{tested.dataset.name} {seed} {block}".encode()).hexdigest()[:8]
        self.name = run_title(self.config, mark=f"seed {self.config.seed}" if self.is_of_series else "")
        self.generator = np.random.default_rng([seed, index, 2])
        self.created_s = FIRST_S + 600.0 * index
        wobble = 1 + 0.1 * self.generator.normal()
        self.noise = _NOISE[strategy.family] * (1 + 0.06 * _BACKBONES.index(backbone)
                                                if backbone in _BACKBONES else 1.0)  # fmt: skip
        self.seconds = _SECONDS[strategy.family] * wobble * (1 + training % 3)
        self.probabilities = tested.answers(self.noise, self.generator)

    @cached_property
    def num_parameters(self) -> tuple[int, int]:
        """Trained ones, and all."""
        plan = stage_plan(
            self.config.backbone, self.strategy.trains_backbone, self.config.unfreeze_from,
            head=self.strategy.default_head, num_classes=self.tested.dataset.spec.num_classes,
        )  # fmt: skip
        return sum(part.num_parameters for part in plan if part.is_trainable), sum(part.num_parameters for part in plan)

    @cached_property
    def summary(self) -> dict[str, Any]:
        """As `RunSummary`; the interval of kappa by a short bootstrap over patients, since there are thousands."""
        tested, config = self.tested, self.config
        metrics, num = self._metrics(), len(tested.targets)
        low, high = wilson_interval(round(metrics["accuracy"] * num), num)
        beside = score_figures(
            tested.targets, self.probabilities, tested.dataset.class_names, is_ordinal=tested.is_ordinal, num_draws=0
        )
        about = {key: beside.pop(key) for key in ("headline", "baseline_class")}
        kappa_low, kappa_high = self._kappa_interval(metrics["quadratic_weighted_kappa"])
        found = {
            **{f"test_{key}": value for key, value in {**metrics, **beside}.items()},
            "test_accuracy_low": low, "test_accuracy_high": high,
            "test_quadratic_weighted_kappa_low": kappa_low, "test_quadratic_weighted_kappa_high": kappa_high,
        }  # fmt: skip
        counts = tested.num_of_parts
        return {
            "run_id": self.run_id, "state": "finished", "dataset": config.dataset,
            "dataset_version": config.dataset_version, "backbone": config.backbone, "weights": config.weights,
            "strategy": config.strategy, **{key: _plain(value) for key, value in found.items()}, **about,
            "test_set": tested.test_set, "val_accuracy": metrics["accuracy"], "num_train": counts["train"],
            "num_val": counts["val"], "num_test": counts["test"], "seconds_total": round(self.seconds, 3),
            "seconds_features": round(0.3 * self.seconds, 3), "seconds_training": round(0.6 * self.seconds, 3),
            "images_per_second": 100.0, "peak_rss_mib": 900.0, "dtype": "float32", "num_threads": 2, "num_folds": 0,
            "fold_test_accuracies": [], "facts": {}, "split_caveat": "",
            "test_quadratic_weighted_kappa_by_thresholds": None,
        }  # fmt: skip

    def _metrics(self) -> dict[str, float]:
        """As `evaluate_predictions`, but for the area under the ROC curve, which takes ten times as long there."""
        targets, probabilities = self.tested.targets, self.probabilities
        num_classes = probabilities.shape[1]
        areas = [binary_auroc(targets == target, probabilities[:, target]) for target in range(num_classes)]
        found = {
            key: metric.compute(targets, probabilities)
            if metric.fits(is_ordinal=self.tested.is_ordinal, num_classes=num_classes)
            else math.nan
            for key, metric in METRICS.items()
            if key != "auroc"
        }
        return {**found, "auroc": float(np.nanmean(areas))}

    def _kappa_interval(self, kappa: float) -> tuple[float, float]:
        if not math.isfinite(kappa):
            return math.nan, math.nan
        targets, members = self.tested.targets, self.tested.members
        num_classes, patients = self.probabilities.shape[1], int(members.max()) + 1
        cells = np.zeros((patients, num_classes**2))
        np.add.at(cells, (members, targets * num_classes + self.probabilities.argmax(1)), 1)
        drawn = self.generator.multinomial(patients, np.full(patients, 1 / patients), size=_NUM_DRAWS)
        kappas = quadratic_kappas((drawn @ cells).reshape(_NUM_DRAWS, num_classes, num_classes))
        return tuple(np.nanquantile(kappas, [0.025, 0.975]).tolist())

    @cached_property
    def epochs(self) -> list[tuple[float, dict[str, float]]]:
        """Seconds since the start and the numbers of each epoch; none of a head that is fitted in one go."""
        if not self.strategy.is_iterative:
            return []
        number, best = self.config.epochs or 1, float(self.summary["test_accuracy"])
        found = []
        for epoch in range(1, number + 1):
            left, wobble = math.exp(-3 * epoch / number), 0.01 * self.generator.normal()
            late = max(0.0, epoch / number - 0.7)  # the validation loss rises again
            found.append(
                (
                    self.seconds * (0.3 + 0.6 * epoch / number),
                    {
                        "train_loss": 0.1 + 1.5 * left, "val_loss": 0.4 + 1.2 * left + late + abs(wobble),
                        "train_accuracy": min(1.0, best + 0.1 - 0.5 * left),
                        "val_accuracy": min(1.0, max(0.0, best - 0.4 * left + wobble)),
                        "val_quadratic_weighted_kappa": max(-1.0, 0.8 * best - 0.5 * left + wobble),
                        "gradient_norm": 1 + 4 * left,
                        "learning_rate": float(self.config.learning_rate or 1e-3)
                        * (0.5 + 0.5 * math.cos(math.pi * epoch / number)),
                        "images_per_second": 100.0,
                    },
                )
            )  # fmt: skip
        return found

    def write_folder(self) -> None:
        """All files of the run, without waiting for the disk: thousands of them are made again in a minute."""
        folder = state.run_folder(self.run_id)
        bundle = folder / state.BUNDLE_FOLDER
        bundle.mkdir(parents=True)
        _write(folder / state.CONFIG_FILE, self.config.to_dict())
        _write(folder / state.SUMMARY_FILE, self.summary)
        ended_s = self.created_s + self.seconds
        _write(
            folder / state.STATE_FILE,
            {"run_id": self.run_id, "state": "finished", "message": "", "name": self.name, "host": state.host_name(),
             "created_s": self.created_s, "started_s": self.created_s, "heartbeat_s": ended_s,
             "progress": {"phase": "Saving", "epoch": len(self.epochs), "epochs": len(self.epochs)}},
        )  # fmt: skip
        metrics = {key.removeprefix("test_"): value for key, value in self.summary.items() if key.startswith("test_")}
        manifest = bundle_manifest(
            self.config, self.tested.dataset, metrics, run_id=self.run_id, frozen_dtype="float32"
        )
        _write(bundle / "manifest.json", {**manifest, "result": {"num_test": self.summary["num_test"]}})
        self._predictions().to_parquet(folder / state.PREDICTIONS_FILE, index=False)
        trained, all_of_them = self.num_parameters
        lines: list[dict[str, Any]] = [{"t": self.created_s, "state": "running"}]
        for epoch, (second, numbers) in enumerate(self.epochs, start=1):
            lines.append({"t": self.created_s + second, "step": epoch, "metrics": numbers})
        lines.append({"t": ended_s, "state": "finished"})
        _write_lines(folder / state.TIMELINE_FILE, lines)
        curve = [{"epoch": epoch, "seconds": second, "values": numbers}
                 for epoch, (second, numbers) in enumerate(self.epochs, start=1)]  # fmt: skip
        _write_lines(folder / "race_curve.jsonl", [{"num_trained": trained, "num_parameters": all_of_them}, *curve])

    def _predictions(self) -> pd.DataFrame:
        columns: dict[str, Any] = {
            "image_id": self.tested.table["image_id"], "split": "test", "fold": 0, "target": self.tested.targets
        }  # fmt: skip
        columns |= {f"probability_{k}": self.probabilities[:, k] for k in range(self.probabilities.shape[1])}
        return pd.DataFrame(columns)

    @property
    def tags(self) -> dict[str, str]:
        """As the writer of runs sets them."""
        tags = {
            "state": "finished", "message": "", "ending": "", "config": json.dumps(self.config.to_dict()),
            "host": state.host_name(), "pid": "1", "code_version": "generated",
            "dataset_version": self.config.dataset_version, "mlflow.runName": self.name,
        }  # fmt: skip
        return {**tags, GROUP_TAG: self.group_id} if self.is_of_series else tags

    @property
    def metrics(self) -> list[sqlite_client.Metric]:
        """Curves and final figures as rows of the store."""
        rows = [
            (key, float(value), int(1000 * (self.created_s + second)), epoch)
            for epoch, (second, numbers) in enumerate(self.epochs, start=1)
            for key, value in numbers.items()
        ]
        ended = int(1000 * (self.created_s + self.seconds))
        return rows + [(key, float(value), ended, 0) for key, value in self.summary.items()
                       if isinstance(value, int | float) and not isinstance(value, bool)]  # fmt: skip


def _enter(runs: list[_GeneratedRun]) -> None:
    """Enter them in the run store in one transaction, with the statements of the store's own client."""
    experiment = int(experiment_id())
    with closing(sqlite3.connect(runs_dir() / "mlflow.db", timeout=60)) as connection, connection:
        for run in runs:
            begun, ended = int(1000 * run.created_s), int(1000 * (run.created_s + run.seconds))
            place = str(state.run_folder(run.run_id) / "artifacts")
            values = (run.run_id, run.name, "FINISHED", begun, ended, place, experiment)
            connection.execute(sqlite_client.INSERT_RUN, values)
            connection.executemany(sqlite_client._TAG, [(run.run_id, *tag) for tag in run.tags.items()])
            params = {key: str(value) for key, value in run.config.to_dict().items()}
            connection.executemany(sqlite_client._PARAM, [(run.run_id, *param) for param in params.items()])
            metrics = [(run.run_id, *metric) for metric in run.metrics]
            connection.executemany(sqlite_client._METRIC, metrics)
            connection.executemany(sqlite_client._LATEST, metrics)


def _write_series(runs: list[_GeneratedRun]) -> None:
    """The plans of the series of seeds, as the command that starts one writes them."""
    groups: dict[str, list[_GeneratedRun]] = {}
    for run in runs:
        if run.is_of_series:
            groups.setdefault(run.group_id, []).append(run)
    (runs_dir() / SeedSweep.folder).mkdir(exist_ok=True)
    for group_id, members in groups.items():
        plan = SeedSweep(
            group_id=group_id, num_seeds=len(members), config=members[0].config.to_dict(),
            created_s=members[0].created_s,
        )  # fmt: skip
        done = SweepState(state="finished", share=1.0, runs={f"seed {run.config.seed}": run.run_id for run in members})
        _write(plan.path(".plan.json"), vars(plan))
        _write(plan.path(), vars(done))


def _write(path: Any, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def _write_lines(path: Any, lines: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def main() -> None:
    """Make runs in the current home and say how long it took."""
    parser = argparse.ArgumentParser(description="Finished runs with invented answers, for looking at the board.")
    parser.add_argument("--runs", type=int, default=8)
    parser.add_argument("--classes", type=int, default=5)
    parser.add_argument("--test", type=int, default=200, help="images in the test set")
    parser.add_argument("--unordered", action="store_true", help="classes without an order")
    parser.add_argument("--single", action="store_true", help="no patients: every image stands alone")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    started = time.perf_counter()
    made = make_generated_runs(
        asked.runs, num_classes=asked.classes, num_test=asked.test, is_ordinal=not asked.unordered,
        with_groups=not asked.single, seed=asked.seed,
    )  # fmt: skip
    print(f"{len(made)} runs, {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main()
