"""Records the demo that ships with the program: draws its data set, trains every rung, packs both."""

import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lib.atomic import read_json, write_json
from lib.data.builtin import FUNDUS_SPEC, PICTURES_FOLDER, ship_dataset
from lib.data.import_options import ImportOptions
from lib.data.importing import import_scan
from lib.data.sources.folder import scan_folder
from lib.data.splits import assign_splits
from lib.demo import recording as recordings
from lib.demo.opening import write_opening
from lib.demo.recording import halve_tensors, pack_run, unpack_run
from lib.demo.samples import SEEDS_FILE, choose_seeds
from lib.demo.story import DEMO_TAG, PER_CLASS, PICTURE_PX, SEED, STORE_SIDE_PX, demo_race
from lib.errors import UserError
from lib.progress import Progress, ignore_progress
from lib.recipes import run_title
from lib.runtime import available_cores, processor_name
from lib.settings import DEMO_DATASET
from lib.sweeps.results import ArmResult, arm_results, leader
from lib.sweeps.runner import Work, run_sweep
from lib.sweeps.strategies import StrategySweep
from lib.tracking.scores import probability_columns
from lib.tracking.state import CONFIG_FILE, PREDICTIONS_FILE, run_folder
from lib.training.config import TrainConfig
from lib.training.resolution import resolve_config

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

MAX_BYTES = 40_000_000
_SPLIT_SEED = 0
_NUM_ROUNDINGS = 40  # tries at half precision before a run keeps single precision


def record(
    folder: Path | None = None,
    *,
    per_class: int = PER_CLASS,
    changes: Mapping[str, Any] | None = None,
    has_samples: bool = True,
    machine: str = "",
    progress: Progress = ignore_progress,
    work: Work | None = None,
) -> recordings.Recording:
    """Make the recording anew in `folder` (by default the one that ships), in a home of its own.

    In a trial there are fewer images a grade, `changes` of the race's plan, and no samples. `machine` is what to call
    this one, `work` does one prepared run (by default `jobs.work`).

    Raises:
        UserError: a rung failed, or the recording would be larger than 40 MB.
    """
    target = folder or recordings.FOLDER
    machine = machine or this_machine()
    began = time.time()
    with _own_home() as home:
        made = home / "recording"
        dataset = draw_dataset(made / recordings.DATASET_FOLDER, per_class=per_class, progress=progress)
        plan, runs = _race(dataset, dict(changes or {}), progress, work)
        for strategy, run_id in runs.items():
            tags = {DEMO_TAG: strategy, "race_id": plan.race_id}
            _pack(run_id, made / recordings.RUNS_FOLDER / run_id, dataset=dataset, machine=machine, tags=tags)
        (made / recordings.RACE_FOLDER).mkdir()
        for path in (plan.path(), plan.path(".plan.json")):
            shutil.copyfile(path, made / recordings.RACE_FOLDER / path.name)
        results = arm_results(plan)
        if has_samples:
            from lib.grading.grader import Grader

            progress(0, 0, "Choosing the samples of the grade page")
            best = leader(results)
            if best is None:
                raise UserError("No rung has a defined result; there is nothing to choose the samples by.")
            write_json(made / SEEDS_FILE, choose_seeds(Grader.open(str(best.run_id), device="cpu")))
            progress(0, 0, "Drawing the first picture")
            kappas = {result.key: result.test("quadratic_weighted_kappa")[0] for result in results}
            write_opening(made, dataset, runs, kappas)
        recording = recordings.write_recording(made, created_s=began, machine=machine, race_id=plan.race_id, runs=runs)
        size = sum((made / name).stat().st_size for name in recording.files)
        if size > MAX_BYTES:
            raise UserError(f"The recording would have {size / 1e6:.1f} MB; at most {MAX_BYTES / 1e6:.0f} MB ship.")
        (made / "README.md").write_text(_about(recording, plan, results, time.time() - began), encoding="utf-8")
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(made, target)
    return replace(recording, folder=target)


def draw_dataset(folder: Path, *, per_class: int, progress: Progress = ignore_progress) -> "Dataset":
    """Draw the pictures of the demo, import them with splits of their own, and keep what the import found."""
    from lib.data.fundus.generation import Spoiling, generate

    pictures = folder / PICTURES_FOLDER
    pictures.mkdir(parents=True)
    # All of them can be graded: what cannot is for the gate to turn away.
    generate(
        pictures, per_class=per_class, size_px=PICTURE_PX, seed=SEED, spoiling=Spoiling(share=0.0), progress=progress
    )
    spec = {**FUNDUS_SPEC, "title": "Fundus demo (generated)"}
    options = ImportOptions(
        group_column="patient", store_side_px=STORE_SIDE_PX, crop_policy="retina_box", spec_changes=spec
    )
    scan = scan_folder(pictures, options)
    targets = np.array([scan.class_names.index(entry.class_name) for entry in scan.entries])
    groups = np.array([entry.group_id for entry in scan.entries])
    parts = assign_splits(targets, groups, None, split_seed=_SPLIT_SEED)
    entries = [replace(entry, split=str(part)) for entry, part in zip(scan.entries, parts, strict=True)]
    scan = replace(scan, entries=entries)
    dataset = import_scan(
        scan, name=DEMO_DATASET, options=options, source=str(pictures), is_resumable=False, progress=progress
    )
    ship_dataset(dataset, folder)
    return dataset


def this_machine() -> str:
    """Such as "2 cores of Intel Xeon Processor @ 2.50GHz"."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores = available_cores()
    return f"{cores} {'core' if cores == 1 else 'cores'} of {' '.join(processor_name().split())}"


@contextmanager
def _own_home() -> Iterator[Path]:
    """A home that lasts as long as the recording, so that nobody's runs and data sets are touched."""
    former = os.environ.get("TRANSFERSCOPE_HOME")
    with tempfile.TemporaryDirectory(prefix="transferscope-demo-") as name:
        os.environ["TRANSFERSCOPE_HOME"] = name
        try:
            yield Path(name)
        finally:
            os.environ.pop("TRANSFERSCOPE_HOME")
            if former is not None:
                os.environ["TRANSFERSCOPE_HOME"] = former


def _race(
    dataset: "Dataset", changes: dict[str, Any], progress: Progress, work: Work | None
) -> tuple[StrategySweep, dict[str, str]]:
    settings = {"num_images": dataset.num_images, "created_s": time.time(), **changes}
    plan = demo_race(secrets.token_hex(6), **settings)
    pinned = resolve_config(plan.entries[0].config, dataset).pinned_images
    plan = replace(plan, pinned_images=pinned)
    plan.write()
    return plan, dict(run_sweep(plan, progress=progress, work=work).runs)


def _pack(run_id: str, target: Path, *, dataset: "Dataset", machine: str, tags: dict[str, str]) -> None:
    """Pack a run; in half precision if by some rounding each image gets the class that it had."""
    config = TrainConfig.from_dict(read_json(run_folder(run_id) / CONFIG_FILE))
    pack_run(run_id, target, name=run_title(config, mark=DEMO_TAG), machine=machine, tags=tags)
    with tempfile.TemporaryDirectory() as name:
        whole = Path(name) / "whole"
        shutil.copytree(target, whole)
        for seed in range(_NUM_ROUNDINGS):
            halve_tensors(target, seed=seed)
            unpack_run(target, unpacked := Path(name) / f"unpacked_{seed}")
            if _answers_as_recorded(unpacked, dataset):
                return
            shutil.rmtree(target)
            shutil.copytree(whole, target)


def _answers_as_recorded(run: Path, dataset: "Dataset") -> bool:
    """Whether the classifier in a run's folder gives each validation and test image the class of its predictions."""
    from lib.grading.grader import Grader

    table = pd.read_parquet(run / PREDICTIONS_FILE)
    table = table[table["split"].isin(("val", "test"))]  # what is out of fold was said by other classifiers
    rows, recorded = dataset.indices(list(table["image_id"])), table[probability_columns(table)].to_numpy().argmax(1)
    grader = Grader.open(run / "bundle", device="cpu")
    for start in range(0, len(rows), 32):
        scores, _ = grader.scores(np.asarray(dataset.pixels[rows[start : start + 32]]))
        if not np.array_equal(scores.argmax(axis=1), recorded[start : start + 32]):
            return False
    return True


def _about(recording: recordings.Recording, plan: StrategySweep, results: list[ArmResult], seconds: float) -> str:
    """The page beside the recording: what it is, what each arm reached on the test images, sizes of its parts."""
    rows = ["| run | quadratic kappa (95 % interval) | accuracy | seconds |", "|---|---|---|---:|"]
    for result in results:
        (kappa, low, high), accuracy = result.test("quadratic_weighted_kappa"), result.test("accuracy")[0]
        took_s = float(result.summary["seconds_total"])
        rows.append(f"| {result.title} | {kappa:.2f} ({low:.2f} to {high:.2f}) | {accuracy:.3f} | {took_s:.0f} |")
    table = "\n".join(rows)
    return f"""# The recorded demo

Made by `make demo`, {recording.words.removeprefix("recorded ")}, in {seconds / 60:.1f} minutes; never edited by hand.
{plan.num_images} generated images, {plan.title.partition(" · ")[0]}, {plan.size_px} px; each rung that trains
the network sees them {plan.epochs} times in batches of {plan.batch_size}.
`recording.json` has the SHA-256 of every file.

{table}

{recordings.size_table(recording)}
"""
