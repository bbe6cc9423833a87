"""The curve of a rung in its run's folder: a line of JSON an epoch, so that a page need not ask the run store."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.training.events import EpochEnded, NetworkBuilt

CURVE_FILE = "race_curve.jsonl"


@dataclass(frozen=True)
class CurvePoint:
    """A rung after an epoch: seconds since it began (interruptions left out), and its numbers as fractions."""

    epoch: int
    seconds: float
    values: dict[str, float]


@dataclass(frozen=True)
class Curve:
    """What a rung has told so far; `num_trained` is None before its network was built."""

    num_trained: int | None
    num_parameters: int | None
    points: tuple[CurvePoint, ...]


class CurveWriter:
    """A listener that appends to a run's curve; seconds go on from the last line of an interrupted run."""

    def __init__(self, folder: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path, self._clock, self._began_s = folder / CURVE_FILE, clock, clock()
        points = read_curve(folder).points
        self._before_s = points[-1].seconds if points else 0.0

    def __call__(self, event: Any) -> None:
        """Hear one event of a training."""
        if isinstance(event, NetworkBuilt):
            self._append({"num_trained": event.num_trained, "num_parameters": event.num_parameters})
        elif isinstance(event, EpochEnded):
            seconds = round(self._before_s + self._clock() - self._began_s, 3)
            self._append({"epoch": event.epoch, "seconds": seconds, "values": event.metrics})

    def _append(self, line: dict[str, Any]) -> None:
        # A line of a few hundred bytes in one write: a reader sees it whole or, at a crash, cut off and skips it.
        with self._path.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")


def read_curve(folder: Path) -> Curve:
    """The curve in a run's folder; of an epoch that was repeated after a stop the last line counts."""
    try:
        text = (folder / CURVE_FILE).read_text(encoding="utf-8")
    except OSError:
        return Curve(None, None, ())
    counts: dict[str, int] = {}
    points: dict[int, CurvePoint] = {}
    for line in text.splitlines():
        try:
            content = json.loads(line)
        except ValueError:
            continue
        if "epoch" in content:
            points[content["epoch"]] = CurvePoint(content["epoch"], content["seconds"], content["values"])
        else:
            counts = content
    ordered = tuple(points[epoch] for epoch in sorted(points))
    return Curve(counts.get("num_trained"), counts.get("num_parameters"), ordered)
