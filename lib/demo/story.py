"""Which runs the default story is made of: a race of six arms. Imports no torch and no MLflow: pages read it too.

They come recorded; training them here is a sweep of the same list.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from lib.data.library import is_taken, open_dataset
from lib.demo.installation import install_dataset_alone, installed_runs
from lib.progress import Progress, ignore_progress
from lib.settings import DEMO_DATASET
from lib.sweeps.plan import Entry, SweepPlan, run_state
from lib.sweeps.strategies import ARMS, StrategySweep

if TYPE_CHECKING:
    from lib.data.dataset import Dataset

DEMO_TAG = "demo"
BACKBONE = "efficientnet_lite0"
ARM_NAMES = (
    "nearest_neighbors", "linear_probe", "feature_extraction", "partial_finetuning", "full_finetuning", "from_scratch",
)  # fmt: skip
INPUT_SIZE_PX = 192
# Each arm that trains the network sees every image equally often, so that only the start differs; 16 images a step:
# twice the steps of 32 in the same time, which counts where epochs are few.
EPOCHS, BATCH_SIZE = 5, 16
PER_CLASS, PICTURE_PX, STORE_SIDE_PX, SEED = 100, 320, 288, 2026


@lru_cache(maxsize=8)
def demo_race(race_id: str = "", **changes: Any) -> StrategySweep:
    """The race of the demo."""
    settings = {
        "dataset": DEMO_DATASET, "backbone": BACKBONE, "rungs": ARM_NAMES, "epochs": EPOCHS,
        "batch_size": BATCH_SIZE, "input_size_px": INPUT_SIZE_PX, "num_images": 5 * PER_CLASS,
    }  # fmt: skip
    return StrategySweep(race_id=race_id, **{**settings, **changes})


@dataclass(frozen=True)
class DemoSweep(SweepPlan):
    """The trainings of the recorded runs, on this machine; there is only this one, so it is not written down."""

    folder, id_field = ".", "race_id"
    noun = nouns = "demo"
    kept = "What is done is kept; preparing again goes on from there."
    ended = "The preparation ended without a word (its process is gone)."
    dataset_title = "Generated fundus images"
    dataset_cost_s = 3.0
    busy = "The demo is being trained already; the start page shows how far it is."
    worker = "demo prepare --worker"

    race_id: str = "demo"

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The trainings, in the ladder's order."""
        race = demo_race()
        return tuple(race.entry(ARMS.get(name), DEMO_TAG, {DEMO_TAG: name}) for name in ARM_NAMES)

    def open_datasets(self, progress: Progress = ignore_progress) -> dict[str, "Dataset"]:
        """The demo's data set, unpacked first where the library lacks it; raises UserError if this copy ships none."""
        is_here = is_taken(DEMO_DATASET)
        return {DEMO_DATASET: open_dataset(DEMO_DATASET) if is_here else install_dataset_alone(progress)}


DEMO = DemoSweep()
STORY = DEMO.entries


def demo_run_ids() -> list[str]:
    """The finished runs of the story that are here, in its order: those trained here, or else the recorded ones."""
    trained = [run_id for run_id in DEMO.read().runs.values() if run_state(run_id) == "finished"]
    recorded = [run_id for run_id in installed_runs().values() if run_state(run_id) == "finished"]
    return trained if len(trained) == len(STORY) or not recorded else recorded
