"""Reading runs: lists, single runs, curves, predictions; deleting and restoring them."""

import json
import re
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lib.errors import UserError
from lib.settings import HEARTBEAT_STALE_S, runs_dir, tracking_uri, trash_dir
from lib.tracking import state as states
from lib.tracking.sqlite_client import NoSuchRun
from lib.tracking.store import client, experiment_id, is_store_empty, sqlite_path

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

_FULL_ID = re.compile("[0-9a-f]{32}")
_SAID = (("state", "finished"), ("message", ""), ("ending", ""))  # tags and what they are where they lack


@dataclass(frozen=True)
class RunRecord(states.HasState):
    """One run as pages and the command line show it; times in seconds since 1970, metrics are the last values."""

    run_id: str
    name: str
    state: str
    message: str
    ending: str
    created_s: float
    ended_s: float | None
    config: dict[str, Any]
    metrics: dict[str, float]
    folder: Path
    tags: dict[str, str] = field(default_factory=dict)
    parent: str | None = None
    is_deleted: bool = False

    @property
    def label(self) -> str:
        """The name to show, such as "Linear probe · MobileNetV2 · cats_dogs"."""
        return self.name or states.default_name(self.config)

    @property
    def short_id(self) -> str:
        """The first eight characters of the id: what a person types."""
        return self.run_id[:8]

    @property
    def recorded_on(self) -> str:  # type: ignore[override]
        """The machine of a run that came with the program; empty for one that was made here."""
        return self.tags.get("recorded_on", "")

    @property
    def summary(self) -> dict[str, Any]:
        """The final figures with their texts, empty before the run has finished."""
        return states.read_summary(self.folder)


def split_caveats(runs: Iterable[RunRecord]) -> list[str]:
    """What must be said of the scores of these runs because of how their data were split, each sentence once."""
    return list(dict.fromkeys(caveat for run in runs if (caveat := str(run.summary.get("split_caveat") or ""))))


def list_runs(include_deleted: bool = False) -> list[RunRecord]:  # noqa: FBT001, FBT002
    """All runs, newest first."""
    if is_store_empty():
        return []
    runs = client().all_runs(experiment_id(), include_deleted=include_deleted)
    return [_record(run) for run in runs]


def get_run(id_or_prefix: str, *, include_deleted: bool = False) -> RunRecord:
    """The run with that id, or the one whose id begins so, or the newest for "latest"; raises UserError."""
    asked = id_or_prefix.strip()
    if _FULL_ID.fullmatch(asked) and (run := _fetch(asked)) and (include_deleted or not run.is_deleted):
        return run
    runs = list_runs(include_deleted)
    if asked == "latest" and runs:
        return runs[0]
    found = [run for run in runs if asked and run.run_id.startswith(asked.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"There is no run {asked!r}; `python -m lib runs list` shows the runs.")
    ids = ", ".join(run.run_id[:12] for run in found[:5])
    raise UserError(f"{len(found)} runs begin with {asked!r} ({ids}); give more characters.")


def metric_history(run_id: str, keys: Iterable[str] | None = None) -> "pd.DataFrame":
    """All logged values of a run: columns key, step, value, timestamp_ms.

    The last value of a step counts, since a resumed run repeats some steps.
    """
    import pandas as pd

    wanted = list(keys) if keys is not None else list(client().get_run(run_id).data.metrics)
    rows = [
        (key, metric.step, metric.value, metric.timestamp)
        for key in wanted
        for metric in client().get_metric_history(run_id, key)
    ]
    history = pd.DataFrame(rows, columns=["key", "step", "value", "timestamp_ms"])
    history = history.sort_values(["key", "step", "timestamp_ms"], kind="stable")
    return history.drop_duplicates(["key", "step"], keep="last").reset_index(drop=True)


def predictions(run_id: str) -> "pd.DataFrame":
    """The run's predictions: image_id, split, target, probability_0 ...; raises UserError before there are any."""
    import pandas as pd

    path = states.run_folder(run_id) / states.PREDICTIONS_FILE
    if not path.exists():
        raise UserError(f"The run {run_id[:8]} has no predictions; they are written when a training finishes.")
    return pd.read_parquet(path)


def validation_confusions(run_id: str, prefix: str = "") -> dict[int, "np.ndarray"]:
    """Epoch -> counts (K, K) of the validation images, row = true class, column = predicted, in order.

    The last matrix of an epoch counts, since a resumed run repeats some; an old run or a fitted head has none. `prefix`
    is that of the fold, such as "fold_1_".
    """
    import numpy as np

    lines = states.read_lines(states.run_folder(run_id) / states.CONFUSION_FILE)
    found = {int(line["epoch"]): line["matrix"] for line in lines if line.get("prefix") == prefix and "matrix" in line}
    return {epoch: np.asarray(found[epoch], dtype=np.int64) for epoch in sorted(found)}


def rename_run(run_id: str, name: str) -> None:
    """Give a run another name."""
    name = " ".join(name.split())[:200]
    if not name:
        raise UserError("A run needs a name; received an empty one.")
    client().update_run(run_id, name=name)
    if states.run_folder(run_id).exists():
        states.update_state(run_id, name=name)


def delete_run(run_id: str) -> None:
    """Hide a run and move its folder to the trash; raises UserError while it is active."""
    record = get_run(run_id)
    if record.is_active:
        raise UserError(
            f"The run {record.short_id} is {record.state}; stop it first: python -m lib runs stop {record.short_id}"
        )
    _move(record.folder, _trashed(record.run_id))
    client().delete_run(record.run_id)


def restore_run(run_id: str) -> None:
    """Bring a deleted run back."""
    record = get_run(run_id, include_deleted=True)
    if not record.is_deleted:
        raise UserError(f"The run {record.short_id} is not deleted; nothing to restore.")
    client().restore_run(record.run_id)
    _move(_trashed(record.run_id), record.folder)


def _fetch(run_id: str) -> RunRecord | None:
    """The run of a full id, without listing all others."""
    if is_store_empty():
        return None
    try:
        return _record(client().get_run(run_id))
    except NoSuchRun:
        return None


@dataclass(frozen=True)
class PresentState(states.HasState):
    """What is known of a run without its settings and figures; `live` is its folder's word where that was read."""

    name: str
    state: str
    message: str
    ending: str
    created_s: float
    ended_s: float | None
    recorded_on: str = ""
    live: states.RunState | None = None


def present_state(run: Any, *, is_brief: bool = False) -> PresentState:
    """The state of a run of the store's client; with `is_brief` folders are asked of active runs alone.

    A stop request or a killed process shows in the folder first; what has ended says the same in both.
    """
    tags, run_id, live = run.data.tags, run.info.run_id, None
    state, message, ending = (tags.get(key, default) for key, default in _SAID)
    name = states.present_name(run.info.run_name or "")
    try:
        if not is_brief or state in states.ACTIVE_STATES:
            live = states.read_state(run_id)
            state, message, name, ending = live.state, live.message, live.name or name, live.ending
    except UserError:
        # A run of another machine, a deleted one, or one whose maker was killed before it had a folder: the database
        # beside our runs knows no others.
        is_ours = tags.get("host") == states.host_name() or sqlite_path(tracking_uri()) == runs_dir() / "mlflow.db"
        is_old = time.time() - run.info.start_time / 1000 > HEARTBEAT_STALE_S
        if state in states.ACTIVE_STATES and is_ours and is_old:
            state, message, ending = "killed", "It was killed while it was being made; delete it.", "never_started"
    # A resumed run still has the end of its first part.
    ended_s = run.info.end_time / 1000 if run.info.end_time and state not in states.ACTIVE_STATES else None
    return PresentState(
        name=name, state=state, message=message, ending=ending, created_s=run.info.start_time / 1000, ended_s=ended_s,
        recorded_on=tags.get("recorded_on", ""), live=live,
    )  # fmt: skip


def _record(run: Any) -> RunRecord:
    tags, run_id, present = dict(run.data.tags), run.info.run_id, present_state(run)
    try:
        config = dict(json.loads(tags["config"]))
    except (KeyError, ValueError):
        config = dict(run.data.params)
    return RunRecord(
        run_id=run_id,
        name=present.name,
        state=present.state,
        message=present.message,
        ending=present.ending,
        created_s=present.created_s,
        ended_s=present.ended_s,
        config=config,
        metrics=dict(run.data.metrics),
        folder=states.run_folder(run_id),
        tags=tags,
        parent=tags.get("mlflow.parentRunId"),
        is_deleted=run.info.lifecycle_stage == "deleted",
    )


def _trashed(run_id: str) -> Path:
    return trash_dir() / "runs" / run_id


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        shutil.rmtree(target)
    shutil.move(source, target)
