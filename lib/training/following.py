"""What the other ranks of a training do: the same fits as the first one, without run, lease and output."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lib.distributed import Ranks
from lib.errors import Stopped, UserError
from lib.training.compute import Compute, follow_compute
from lib.training.config import TrainConfig
from lib.training.events import ignore_events

if TYPE_CHECKING:
    from lib.data.dataset import Dataset


def follow(ranks: Ranks) -> None:
    """Take part in whatever the first rank fits until it says that all is over; returns also after a stop.

    The data set, the caches and the weights are read from the same home (a shared folder where there are several
    machines); predictions of the finished classifier are the first rank's affair alone.

    Raises:
        UserError: this process sees another data set than the first one, or the training diverged.
    """
    from lib.data.subset import take_part
    from lib.training.session import TrainingSession

    try:
        plan = ranks.hear()
        config = TrainConfig.from_dict(plan["config"])
        dataset = _open(config, ranks.rank)
        dataset = take_part(dataset, config)
        compute = follow_compute(Compute(**plan["compute"]), config, ranks)
        head_bundle = Path(plan["head_bundle"]) if plan["head_bundle"] else None
        session = TrainingSession(
            config, dataset, compute, listener=ignore_events, should_stop=ranks.is_over, head_bundle=head_bundle,
            ranks=ranks,
        )  # fmt: skip
        while True:
            session.fit(np.array(ranks.hear()))
    except Stopped:
        return


def _open(config: TrainConfig, rank: int) -> "Dataset":
    """The data set at the version that the first rank reads."""
    from lib.data.library import open_dataset

    dataset = open_dataset(config.dataset)
    try:
        return dataset.at_version(config.dataset_version)
    except UserError:
        raise UserError(
            f"Rank {rank} finds version {dataset.version} of the data set {config.dataset!r}, the first rank "
            f"{config.dataset_version}; all ranks must share one TRANSFERSCOPE_HOME."
        ) from None
