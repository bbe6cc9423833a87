"""What a run starts from: its data set, the head of an earlier run, and the session that trains.

Imports no torch: the head is found and checked before anything is queued.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import read_json
from lib.data.dataset import takes_part
from lib.data.splits import TEST, VAL
from lib.data.subset import DataProtocol, apply_protocol
from lib.distributed import Ranks
from lib.errors import Stopped, UserError
from lib.models.heads import can_take_head
from lib.models.seen_images import FITTED
from lib.tracking.records import get_run
from lib.tracking.state import (
    BUNDLE_FOLDER,
    COMPUTE_FILE,
    CONFIG_FILE,
    PREDICTIONS_FILE,
    RunState,
    find_local_run,
    read_state,
)
from lib.training.config import TrainConfig
from lib.training.events import Listener, progress_events
from lib.training.network import choose_compute
from lib.training.preparation import fit_splits, seen_by
from lib.training.resolution import resolve_config
from lib.watched_images import watch_images

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.tracking.writer import RunWriter
    from lib.training.session import TrainingSession

# Together they say which images were tested: with others of them, the head may have been trained on images tested here.
_SAME_IMAGES = (
    "dataset", "dataset_version", "target_map", "split_seed", "num_folds",
    *(field.name for field in dataclasses.fields(DataProtocol)),
)  # fmt: skip
_SAME_FEATURES = ("backbone", "feature_stage", "pooling")


def resolve_start(config: TrainConfig, dataset: Any) -> TrainConfig:
    """What `resolve_config` returns, with the head that it starts from found, by its full id, and checked as well.

    Raises:
        UserError: as `dataset_of`, `resolve_config` and `head_bundle`.
    """
    dataset = dataset_of(config, dataset)
    resolved = resolve_config(config, dataset)
    if resolved.head_from is None:
        return resolved
    resolved = dataclasses.replace(resolved, head_from=_find(resolved.head_from).run_id)
    head_bundle(resolved, apply_protocol(dataset, resolved))
    return resolved


def dataset_of(config: TrainConfig, dataset: Any) -> Any:
    """The data set at the version that a config was set up with, whatever its classes are called and ordered now.

    Raises:
        UserError: its images were imported anew since then.
    """
    if config.dataset_version in ("", dataset.version):
        return dataset
    try:
        return dataset.at_version(config.dataset_version)
    except UserError:
        raise UserError(
            f"The data set {dataset.name!r} has changed since this run was set up (version {config.dataset_version}, "
            f"now {dataset.version}); start a new run."
        ) from None


def head_bundle(config: TrainConfig, dataset: Any) -> Path | None:
    """The bundle of the run whose head a training of a resolved config starts from; None for a new head.

    Args:
        config: resolved.
        dataset: the part of it that the training reads.

    Raises:
        UserError: there is no such run, it is not finished, or its head was learned on other images, on images that are
            held out here, or for other features.
    """
    if config.head_from is None:
        return None
    source = _find(config.head_from)
    short_id, bundle = source.run_id[:8], source.folder / BUNDLE_FOLDER
    if source.state != "finished" or not bundle.is_dir():
        raise UserError(f"The run {short_id} is {source.state} and has no head yet; head_from needs a finished run.")
    learned = _config_of(source)
    if learned["dataset"] == config.dataset and learned["dataset_version"] != config.dataset_version:
        raise UserError(
            f"The head of run {short_id} was learned on version {learned['dataset_version']} of the data set, here it "
            f"is {config.dataset_version}: its classes may have another order there. Use a run of this version."
        )
    for key in _SAME_IMAGES:
        if learned[key] != getattr(config, key):
            raise UserError(
                f"The head of run {short_id} was learned with {key}={learned[key]}, here it is "
                f"{getattr(config, key)}: it may have seen images that are tested here. Use the same {key}."
            )
    for key in _SAME_FEATURES:
        if learned[key] != getattr(config, key):
            raise UserError(
                f"The head of run {short_id} reads features with {key}={learned[key]}, here it is "
                f"{getattr(config, key)}; use the same {key}, or leave out head_from."
            )
    if learned["output"] != config.output or not can_take_head(str(config.head), str(learned["head"])):
        raise UserError(
            f"The head of run {short_id} is {learned['head']} with {learned['output']} and does not fit into "
            f"{config.head} with {config.output}; choose the same, or mlp_plain for one with BatchNorm folded."
        )
    _refuse_held_out(short_id, bundle, source.folder / PREDICTIONS_FILE, dataset=dataset, config=config)
    return bundle


def _refuse_held_out(short_id: str, bundle: Path, predictions: Path, *, dataset: Any, config: TrainConfig) -> None:
    """Raise UserError where a head has seen, by content, what is tested here or chooses the best epoch."""
    seen = seen_by(bundle, read_json(bundle / "manifest.json"), predictions)
    roles = seen.roles(dataset.table["image_id"])
    for split in fit_splits(dataset, config):
        num_tested, num_validating = int((roles[split == TEST] != "").sum()), int((roles[split == VAL] == FITTED).sum())
        if num_tested:
            raise UserError(
                f"The head of run {short_id} has seen {num_tested} images that are tested here; take another run's."
            )
        if num_validating:
            raise UserError(
                f"The head of run {short_id} was fitted on {num_validating} images that choose the best epoch here; "
                "take one that was trained in epochs, or use probe_then_finetune, whose probe keeps them apart."
            )


def _find(asked: str) -> RunState:
    """The one run of that id or its beginning."""
    asked = asked.strip()
    found = find_local_run(asked.lower())
    if found is None:
        found = get_run(asked).run_id
    return read_state(found)


def _config_of(source: RunState) -> dict[str, Any]:
    """The stored settings of a run; those that are younger than it have their defaults."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    try:
        return {**defaults, **read_json(source.folder / CONFIG_FILE)}
    except (FileNotFoundError, ValueError, TypeError):
        raise UserError(
            f"The settings of run {source.run_id[:8]} cannot be read, so its head cannot be taken; choose another run."
        ) from None


def open_dataset(config: TrainConfig, listener: Listener, should_stop: Callable[[], bool]) -> "Dataset":
    """Open the data set, importing its folder first where needed; raises Stopped during an import."""
    from lib.data.importing import resolve_dataset

    tell = progress_events("Importing images", listener)

    def progress(done: int, total: int, what: str) -> None:
        if should_stop():
            raise Stopped("Stopped while importing.")
        tell(done, total, what)

    dataset = resolve_dataset(config.dataset, progress=progress)
    return dataset_of(config, dataset)


def open_session(
    config: TrainConfig,
    dataset: "Dataset",
    run: "RunWriter",
    *,
    listener: Listener,
    should_stop: Callable[[], bool],
    ranks: Ranks,
) -> "TrainingSession":
    """The session that does the work of a run; its plan is told to the other ranks and kept as the run's parameters.

    `config` is resolved, `dataset` the part that the run reads; the run's folder keeps the choice of device and epochs.
    """
    from lib.training.session import TrainingSession

    compute = choose_compute(
        config, run.folder / COMPUTE_FILE, ranks, num_images=len(dataset.table), listener=listener,
        should_stop=should_stop,
    )  # fmt: skip
    learned_head = head_bundle(config, dataset)
    plan = {"config": config.to_dict(), "compute": dataclasses.asdict(compute)}
    ranks.announce({**plan, "head_bundle": str(learned_head or "")})
    run.log_params({**config.to_dict(), **dataclasses.asdict(compute)})

    def prepare(pixels: np.ndarray) -> np.ndarray:
        return session.preparation.enhancement(pixels)

    watch = watch_images(config, dataset, run.folder, compute.device, prepare=prepare)
    budget = None
    if config.time_budget_s:
        from lib.training.estimation.trial_steps import TimeBudget

        state = read_state(run.run_id)  # work began when the run left the queue, so that the imports count
        budget = TimeBudget(
            config, compute, run.folder, int(takes_part(dataset).sum()), state.started_s or time.time(), listener,
            should_stop, worked_s=state.worked_s,
        )  # fmt: skip
    session = TrainingSession(
        config, dataset, compute, listener=listener, should_stop=should_stop, on_epoch=watch, ranks=ranks,
        budget=budget, head_bundle=learned_head,
    )  # fmt: skip
    return session
