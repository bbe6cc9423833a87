"""Trains the demo's runs on this machine: what is missing, run after run, all in this process."""

from typing import TYPE_CHECKING

from lib.demo.state import demo_files
from lib.demo.story import STORY
from lib.progress import Progress, ignore_progress
from lib.series import SeriesState
from lib.series.work import Series, Work
from lib.settings import DEMO_DATASET

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

DATASET_TITLE = "Generated fundus images"
_DATASET_COST_S = 3.0


def prepare(*, progress: Progress = ignore_progress, work: Work | None = None) -> SeriesState:
    """Install the demo's data set and make the runs of the story that were not trained on this machine.

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
        dataset_cost_s=_DATASET_COST_S,
        open_dataset=demo_dataset,
        progress=progress,
        work=work,
        busy_message="The demo is being trained already; the start page shows how far it is.",
    ).run()


def demo_dataset(progress: Progress = ignore_progress) -> "Dataset":
    """The demo's data set, unpacked first where the library lacks it; raises UserError if this copy ships none."""
    from lib.data.catalog import is_taken
    from lib.data.library import open_dataset
    from lib.demo.installation import install_dataset_alone

    return open_dataset(DEMO_DATASET) if is_taken(DEMO_DATASET) else install_dataset_alone(progress)
