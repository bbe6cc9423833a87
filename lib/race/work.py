"""The process of a race: rung after rung, with a curve of each for the page."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from lib.progress import Progress, ignore_progress
from lib.race.curve import CurveWriter
from lib.race.plan import RacePlan
from lib.series import SeriesState
from lib.series.work import Series, Work, named_dataset

if TYPE_CHECKING:
    from lib.tracking.writer import RunWriter


def run_race(plan: RacePlan, *, progress: Progress = ignore_progress, work: Work | None = None) -> SeriesState:
    """Do the rungs of a race that are missing, in this process.

    Args:
        plan: a race whose plan is kept.
        progress: hears thousandths of the whole and a line of text.
        work: does one prepared run; by default `jobs.work`.

    Raises:
        UserError: another process is racing it, or a rung failed; the others are done all the same.
    """
    return _Race(plan, progress, work).run()


class _Race(Series):
    def __init__(self, plan: RacePlan, progress: Progress, work: Work | None) -> None:
        super().__init__(
            plan.files,
            plan.entries,
            open_dataset=named_dataset(plan.dataset),
            progress=progress,
            work=work,
            busy_message=f"The race {plan.race_id} is running already; the train page shows how far it is.",
        )

    def listener(self, run: "RunWriter") -> Callable[[Any], None]:
        """Tells the progress of the race, and writes the rung's curve."""
        write = CurveWriter(run.folder)

        def listen(event: Any) -> None:
            write(event)
            self._listen(event)

        return listen
