"""What two processes compute: `torchrun --nproc-per-node=2 -m tests.training.two_ranks FOLDER` (test_parallel.py)."""

import dataclasses
import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from lib.distributed import Ranks, is_launched, joined
from lib.errors import Stopped
from lib.runtime import set_threads
from lib.training.events import ignore_events, never_stop
from lib.training.inputs import CachedInputs
from lib.training.parallel import StepNetwork
from lib.training.trainer import Trainer
from tests import quick_network
from tests.features.extracted import extract_features
from tests.features.tiny_dataset import TinyDataset
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data

# Nine images: the last batch of four is uneven over two ranks; in batches of one the second rank has no row.
CASES: dict[str, dict] = {
    "plain": {},
    "weighted and smoothed": {"class_weights": "balanced", "label_smoothing": 0.1},
    "mixed": {"mixup": 0.3, "augmentation": "flip"},
    "no row": {"batch_size": 1},
    "cached": {"strategy": "partial_finetuning"},
    "early stop": {"patience": 1, "learning_rate": 0.2, "epochs": 12},
}


def losses(name: str, ranks: Ranks) -> list[list[float]]:
    """Training and validation losses of a case, epoch by epoch."""
    changes = dict(CASES[name])
    strategy = changes.pop("strategy", "from_scratch")
    data = tiny_data(11, num_classes=3, flips=name != "cached")
    val_rows = np.arange(1) if name == "no row" else np.arange(5, 11)
    data = dataclasses.replace(data, train_rows=np.array([0, 1, 2, 3, 4, 6, 7, 9, 10]), val_rows=val_rows)
    network = TinyNetwork(3, dropout=0.0)
    if strategy != "from_scratch":
        network.stages["low"].requires_grad_(requires_grad=False)
    if name == "cached":
        plain = network.eval().stages["low"](data.inputs.for_evaluation(np.arange(11))).detach().numpy()
        data = dataclasses.replace(data, inputs=CachedInputs(plain, (), [f"image{row}" for row in range(11)], 0, "low"))
    settings = {"epochs": 2, "batchnorm": "statistics_frozen", **changes}
    history = Trainer(network, data, tiny_config(**settings), ranks=ranks).fit().history
    return [[epoch["train_loss"], epoch["train_accuracy"], epoch["val_loss"]] for epoch in history]


def thawed_gradients(ranks: Ranks) -> list[float]:
    """Sums of the gradients of each stage, before and after one more of them is trained."""
    data, network, found = tiny_data(4, flips=False), TinyNetwork(dropout=0.0).eval(), []
    step = StepNetwork(
        network, data.inputs, ranks=ranks, is_compiled=False, should_stop=never_stop, listener=ignore_events
    )
    for is_trained in (False, True):
        network.stages["low"].requires_grad_(requires_grad=is_trained)
        rows = ranks.share(np.arange(4))
        logits = step(data.inputs.for_evaluation(rows))
        (logits[:, 0].sum() * ranks.size).backward()
        found += [float(p.grad.abs().sum()) for p in network.parameters() if p.grad is not None]
        network.zero_grad(set_to_none=True)
    return found


def steps_until_stop(ranks: Ranks) -> int:
    """In which batch a training ends whose last rank alone is asked to stop."""
    asked = []

    def should_stop() -> bool:
        asked.append(1)
        return ranks.rank == ranks.size - 1 and len(asked) > 3

    try:
        Trainer(TinyNetwork(), tiny_data(), tiny_config(), should_stop=should_stop, ranks=ranks).fit()
    except Stopped:
        return len(asked)
    return 0


def features(ranks: Ranks) -> list[float]:
    """The features of three images, of which each rank computes its part."""
    return extract_features(TinyDataset(num_images=3), ranks=ranks).features.sum(1).tolist()


def everything(ranks: Ranks) -> dict[str, list]:
    """All that should be the same however many processes compute it."""
    found: dict[str, list] = {name: losses(name, ranks) for name in CASES}
    return found | {"thawed": thawed_gradients(ranks), "features": features(ranks)}


def main(folder: Path) -> None:
    """Write what this launch found into `folder`, one file a rank; the caches are there, too."""
    os.environ["TRANSFERSCOPE_HOME"] = str(folder)
    set_threads(1)
    quick_network.register(pytest.MonkeyPatch())
    if not is_launched():
        (folder / "one.json").write_text(json.dumps(everything(Ranks())))
        return
    with joined() as ranks:
        found = {**everything(ranks), "stop": steps_until_stop(ranks)}
        (folder / f"rank{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
