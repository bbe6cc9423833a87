"""What a training will read from the cache, before it is started: the list that bulk extraction works off."""

from collections.abc import Iterator
from typing import Any

from lib.errors import UserError
from lib.features.request import FeatureRequest
from lib.training.cache_need import why_uncached
from lib.training.compute import Compute
from lib.training.config import TrainConfig
from lib.training.events import Listener, ShouldStop, ignore_events, never_stop
from lib.training.fit_splits import fit_splits
from lib.training.network import untrained_classifier
from lib.training.preparation import Preparation


def needed_features(
    config: TrainConfig,
    dataset: Any,
    compute: Compute,
    *,
    listener: Listener = ignore_events,
    should_stop: ShouldStop = never_stop,
) -> Iterator[FeatureRequest]:
    """Yield, each once, the requests that a training makes, by the very code that makes them then (`Preparation`).

    Images are preprocessed on the way, for each fit whose mean colour differs (folds), and kept for the training.

    Args:
        config: resolved.
        dataset: the part of it that the training reads (`take_part`).
        compute: device and number formats of the training.
        listener: hears of the preprocessing.
        should_stop: asked now and then.

    Raises:
        Stopped: `should_stop()` turned true.
        UserError: such a training keeps nothing.
    """
    preparation = Preparation(config, dataset, compute, listener=listener, should_stop=should_stop)
    classifier = untrained_classifier(config, num_classes=dataset.spec.num_classes).to(compute.device)
    part = preparation.kept_part(classifier)
    if part is None:
        raise UserError(f"There is nothing to extract for this training: {why_uncached(preparation)}.")
    seen = set()
    for split in fit_splits(dataset, config):
        preparation.preprocess(split)
        if preparation.enhancement.key not in seen:
            seen.add(preparation.enhancement.key)
            yield from preparation.requests(part)
