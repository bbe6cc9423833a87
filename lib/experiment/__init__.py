"""From a config to a finished run: resolve, train, evaluate, keep the classifier.

The three lines of Python:

    from lib.experiment import train
    from lib.training.config import TrainConfig
    summary = train(TrainConfig(dataset="path/to/folder"))
"""

from lib.experiment.running import run_experiment, train
from lib.experiment.start import resolve_start
from lib.training.resolution import resolve_config

__all__ = ["resolve_config", "resolve_start", "run_experiment", "train"]
