"""Makes what the demo lacks: the data set, then run after run, all in this process; a second call does nothing."""

from typing import TYPE_CHECKING

from lib.demo.state import demo_files
from lib.demo.story import DATASET_COST_S, STORY
from lib.progress import Progress, ignore_progress
from lib.series import SeriesState
from lib.series.work import Series, Work

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

DATASET_TITLE = "Generated fundus images"


def prepare(*, progress: Progress = ignore_progress, work: Work | None = None) -> SeriesState:
    """Make the default data set and the runs of the story that are missing.

    Args:
        progress: hears thousandths of the whole and a line of text.
        work: does one prepared run; by default `jobs.work`.

    Raises:
        UserError: another process is preparing, or something failed; the sentence says what, the state keeps it.
    """
    return Series(
        demo_files(),
        STORY,
        dataset_title=DATASET_TITLE,
        dataset_cost_s=DATASET_COST_S,
        open_dataset=_open_dataset,
        progress=progress,
        work=work,
        busy_message="The demo is being prepared already; the start page shows how far it is.",
    ).run()


def _open_dataset(progress: Progress) -> "Dataset":
    from lib.data.library import ensure_default_dataset

    return ensure_default_dataset(progress)
