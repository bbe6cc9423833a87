import subprocess
import sys

from lib.data.shipped import install_dataset
from lib.demo.story import BACKBONE, EPOCHS, STORY
from lib.settings import DEMO_DATASET
from lib.training.resolution import resolve_config
from lib.training.strategies import STRATEGIES


def test_story_goes_from_no_training_to_from_scratch_on_equal_terms(shipped):
    told = [entry.strategy for entry in STORY]
    assert told == [name for name in STRATEGIES.names if name in told]  # in the table's order
    assert (told[0], told[-1], len(told)) == ("nearest_neighbors", "from_scratch", 6)
    assert {entry.config.dataset for entry in STORY} == {DEMO_DATASET}
    dataset = install_dataset(shipped.dataset_folder)
    configs = [resolve_config(entry.config, dataset) for entry in STORY]
    assert {(config.backbone, config.seed, config.split_seed) for config in configs} == {(BACKBONE, 0, 0)}
    assert len({config.input_size_px for config in configs}) == 1
    epochs = {config.strategy: config.epochs for config in configs}
    trained = ("partial_finetuning", "full_finetuning", "from_scratch")
    assert {epochs[name] for name in trained} == {EPOCHS}  # equal epochs
    assert len({entry.name for entry in STORY}) == len(STORY)


def test_pages_read_the_story_without_torch_and_mlflow():
    code = (
        "import sys; from lib import demo; demo.read_demo(); sys.exit({'torch', 'mlflow'} & set(sys.modules) != set())"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
