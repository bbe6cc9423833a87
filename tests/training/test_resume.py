"""A process that is killed at any moment leaves checkpoints from which a new one reaches the same weights."""

from pathlib import Path

import pytest
import torch

from lib.models.backbones import BACKBONES
from lib.training.checkpoints import CheckpointStore
from lib.training.events import EpochEnded, Noticed, Progressed, StepEnded, TrainingDiverged
from lib.training.inputs import CachedInputs
from lib.training.strategies import STRATEGIES
from lib.training.trainer import Trainer
from tests.features.tiny_dataset import TinyDataset
from tests.training.test_session import make_session
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data

ITERATIVE = [spec.name for spec in STRATEGIES if spec.is_iterative]
# The parts of a training that carry something from step to step, one arm each.
SETTINGS: dict[str, dict] = {
    "plain": {},
    "mixup and smoothing": {"mixup": 0.4, "label_smoothing": 0.1, "augmentation": "none"},
    "plateau and momentum": {"schedule": "plateau", "optimizer": "sgd", "learning_rate": 0.3, "epochs": 7},
    "drawn views": {"augmentation": "modern", "optimizer": "rmsprop"},
    "turned views": {"augmentation": "dihedral", "optimizer": "adadelta", "learning_rate": 1.0},
    "early stop": {"patience": 1, "epochs": 6, "learning_rate": 0.3},
}


class Killed(BaseException):
    """As sudden as a process can end without ending this one."""


def killed_after(num_events: int):
    count = iter(range(10**6))

    def listen(event: object) -> None:
        if isinstance(event, StepEnded | EpochEnded | Progressed) and next(count) >= num_events:
            raise Killed

    return listen


def dense(folder: Path) -> CheckpointStore:
    """Checkpoints after every batch."""
    return CheckpointStore(folder, interval_s=0, max_saving_share=1e9)


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().double().flatten() for tensor in network.state_dict().values()])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_killed_again_and_again_equals_unbroken(tmp_path, settings: dict) -> None:
    config = tiny_config(**{"epochs": 3, **settings})
    unbroken = TinyNetwork()
    expected = Trainer(unbroken, tiny_data(), config).fit()
    num_kills = 0
    while True:
        network = TinyNetwork(seed=0)
        try:
            # Lives long enough for the batch that is done again, so that each gets further than the one before.
            result = Trainer(
                network, tiny_data(), config, checkpoints=dense(tmp_path), listener=killed_after(3 + num_kills % 3)
            ).fit()
        except Killed:
            num_kills += 1
            assert num_kills < 60
            continue
        break
    assert num_kills >= 2
    assert torch.equal(weights_of(network), weights_of(unbroken))
    assert result.best_epoch == expected.best_epoch
    assert [epoch["train_loss"] for epoch in result.history] == [epoch["train_loss"] for epoch in expected.history]
    assert [epoch["val_loss"] for epoch in result.history] == [epoch["val_loss"] for epoch in expected.history]


@pytest.mark.parametrize("strategy", ITERATIVE)
def test_every_iterative_strategy_resumes_to_the_same_weights(tmp_path, strategy: str) -> None:
    split = TinyDataset().split(0)
    expected = make_session(strategy).fit(split)
    with pytest.raises(Killed):
        make_session(strategy, listener=killed_after(4)).fit(split, dense(tmp_path))
    resumed = make_session(strategy).fit(split, dense(tmp_path))
    assert torch.equal(weights_of(resumed.classifier), weights_of(expected.classifier))
    assert [epoch["train_loss"] for epoch in resumed.history] == [epoch["train_loss"] for epoch in expected.history]


def test_a_damaged_newest_checkpoint_costs_a_batch_and_changes_nothing(tmp_path) -> None:
    unbroken, network = TinyNetwork(), TinyNetwork()
    Trainer(unbroken, tiny_data(), tiny_config()).fit()
    with pytest.raises(Killed):
        Trainer(TinyNetwork(), tiny_data(), tiny_config(), checkpoints=dense(tmp_path), listener=killed_after(8)).fit()
    newest = max(tmp_path.glob("*.pt"))
    newest.write_bytes(newest.read_bytes()[:1000])
    events: list = []
    Trainer(network, tiny_data(), tiny_config(), checkpoints=dense(tmp_path), listener=events.append).fit()
    assert torch.equal(weights_of(network), weights_of(unbroken))
    assert [event.text for event in events if isinstance(event, Noticed)] == [
        "The newest checkpoint is damaged; the training goes on from the one before it."
    ]


def test_weights_that_diverged_are_not_kept_over_the_last_good_ones(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loss that is a number with a gradient that is none: seen only in the weights, by the next checkpoint."""
    step, steps = torch.optim.AdamW.step, []

    def poisoned(self, *arguments: object):
        answer = step(self, *arguments)
        steps.append(1)
        if len(steps) == 3:
            self.param_groups[0]["params"][0].data[0] = float("nan")
        return answer

    monkeypatch.setattr(torch.optim.AdamW, "step", poisoned)
    with pytest.raises(TrainingDiverged, match="weights became nan"):
        Trainer(TinyNetwork(), tiny_data(), tiny_config(), checkpoints=dense(tmp_path)).fit()
    content = dense(tmp_path).load()
    assert content is not None
    assert content["state"]["step"] == 2
    assert all(torch.isfinite(tensor).all() for tensor in content["tuned"].values())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "first", "size_px"), [("timm:test_vit", "blocks_5", 160), ("timm:test_resnet", "layer4", 32)]
)
def test_networks_of_timm_train_behind_a_cache_and_resume(tmp_path, backbone: str, first: str, size_px: int) -> None:
    settings = {"backbone": backbone, "input_size_px": size_px, "epochs": 2}
    split = TinyDataset().split(0)
    expected = make_session("partial_finetuning", **settings).fit(split)
    with pytest.raises(Killed):
        make_session("partial_finetuning", listener=killed_after(4), **settings).fit(split, dense(tmp_path))
    resumed = make_session("partial_finetuning", **settings).fit(split, dense(tmp_path))
    assert torch.equal(weights_of(resumed.classifier), weights_of(expected.classifier))
    assert isinstance(expected.inputs, CachedInputs)
    names = BACKBONES.get(backbone).stage_names
    assert expected.inputs.after == names[names.index(first) - 1]
