import contextlib
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.augmentation import POLICIES, turned
from lib.errors import Stopped
from lib.runtime import derived_seed
from lib.training.checkpoints import CheckpointStore
from lib.training.events import EpochEnded, Progressed, StepEnded, TrainingDiverged
from lib.training.inputs import CachedInputs, balanced_rows, epoch_batches
from lib.training.network import Compute
from lib.training.trainer import Trainer
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


def stop_after(num_calls: int) -> Callable[[], bool]:
    calls = iter(range(10**6))
    return lambda: next(calls) >= num_calls


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([tensor.detach().float().flatten() for tensor in network.state_dict().values()])


def test_overfits_eight_images() -> None:
    network, data = TinyNetwork(dropout=0.0), tiny_data(8)
    result = Trainer(network, data, tiny_config(epochs=30)).fit()
    assert result.history[-1]["val_accuracy"] == 1.0
    assert result.history[-1]["val_loss"] < 0.2 < result.history[0]["val_loss"]
    assert result.best_epoch == int(np.argmin([epoch["val_loss"] for epoch in result.history])) + 1


def test_same_seed_gives_the_same_weights_and_another_seed_others() -> None:
    networks = [TinyNetwork() for _ in range(3)]
    for network, seed in zip(networks, (3, 3, 4), strict=True):
        Trainer(network, tiny_data(), tiny_config(seed=seed, epochs=2)).fit()
    assert torch.equal(weights_of(networks[0]), weights_of(networks[1]))
    assert not torch.equal(weights_of(networks[0]), weights_of(networks[2]))


# should_stop is asked three times forward and twice backward in a batch: every position is met.
@pytest.mark.parametrize("num_calls", [0, 1, 3, 4, 5, 9, 12, 17, 30, 41])
def test_stopped_anywhere_and_resumed_equals_unbroken(tmp_path, num_calls: int) -> None:
    unbroken, stopped, resumed = TinyNetwork(), TinyNetwork(), TinyNetwork()
    config = tiny_config(epochs=3)
    expected = Trainer(unbroken, tiny_data(), config).fit()
    store = CheckpointStore(tmp_path)
    with pytest.raises(Stopped):
        Trainer(stopped, tiny_data(), config, checkpoints=store, should_stop=stop_after(num_calls)).fit()
    result = Trainer(resumed, tiny_data(), config, checkpoints=CheckpointStore(tmp_path)).fit()
    assert torch.equal(weights_of(resumed), weights_of(unbroken))
    assert [e["train_loss"] for e in result.history] == [e["train_loss"] for e in expected.history]
    assert result.best_epoch == expected.best_epoch


def test_stop_is_heard_within_a_batch(tmp_path) -> None:
    steps: list[StepEnded] = []
    asked: list[int] = []

    def should_stop() -> bool:
        if len(steps) == 2:
            asked.append(1)
        return len(asked) > 1  # in the middle of the third batch

    with pytest.raises(Stopped):
        Trainer(
            TinyNetwork(), tiny_data(), tiny_config(), should_stop=should_stop, checkpoints=CheckpointStore(tmp_path),
            listener=lambda event: steps.append(event) if isinstance(event, StepEnded) else None,
        ).fit()  # fmt: skip
    assert len(steps) == 2
    content = CheckpointStore(tmp_path).load()
    assert content is not None
    assert content["state"]["step"] == 2


def test_frozen_stages_keep_weights_and_batchnorm_statistics() -> None:
    network = TinyNetwork()
    network.stages["low"].requires_grad_(False)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    Trainer(network, tiny_data(), tiny_config(epochs=2)).fit()
    after = network.state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before if key.startswith("stages.low"))
    assert not torch.equal(before["stages.high.1.running_mean"], after["stages.high.1.running_mean"])
    assert not torch.equal(before["stages.high.0.weight"], after["stages.high.0.weight"])


@pytest.mark.parametrize("policy", ["none", "flip", "rotations", "dihedral"])
def test_cached_activations_give_the_same_losses_step_by_step(policy: str) -> None:
    images = tiny_data(8)
    images = replace(images, inputs=replace(images.inputs, augmentation=policy))
    losses = []
    for is_cached in (False, True):
        network, data = TinyNetwork(), images
        network.stages["low"].requires_grad_(False)
        if is_cached:
            network.eval()
            plain = images.inputs.for_evaluation(images.train_rows)
            with torch.no_grad():
                views = [
                    network.forward_until(turned(plain, [element] * len(plain)), "low").numpy()
                    for element in POLICIES.get(policy).elements
                ]
            inputs = CachedInputs(views[0], tuple(views), images.inputs.image_ids, images.inputs.seed, "low")
            data = replace(images, inputs=inputs)
        seen: list[float] = []
        Trainer(
            network, data, tiny_config(epochs=3),
            listener=lambda event, seen=seen: seen.append(event.loss) if isinstance(event, StepEnded) else None,
        ).fit()  # fmt: skip
        losses.append(seen)
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_stops_early_and_restores_the_best_weights() -> None:
    data = tiny_data(8)
    network = TinyNetwork(dropout=0.0)
    # Validation targets are the opposite of the truth: what is learned makes the validation loss worse.
    data = replace(data, targets=np.concatenate([data.targets, 1 - data.targets]), val_rows=np.arange(8, 16))
    pixels = np.concatenate([data.inputs.pixels, data.inputs.pixels])
    inputs = replace(data.inputs, pixels=pixels, image_ids=[f"image{row}" for row in range(16)])
    result = Trainer(network, replace(data, inputs=inputs), tiny_config(epochs=40, patience=3)).fit()
    assert len(result.history) == result.best_epoch + 3 < 40
    from torch.nn import functional

    network.eval()
    with torch.no_grad():
        logits = network(inputs.for_evaluation(np.arange(8, 16)))
    loss = float(functional.cross_entropy(logits, torch.tensor(1 - data.targets[:8])))
    assert loss == pytest.approx(result.history[result.best_epoch - 1]["val_loss"], rel=1e-4)


def test_divergence_names_the_step_and_a_lower_rate() -> None:
    network = TinyNetwork()
    with torch.no_grad():
        network.head[1].weight.fill_(float("inf"))
    with pytest.raises(TrainingDiverged, match=r"step 1 of epoch 1; lower the learning rate .*learning_rate=0.002"):
        Trainer(network, tiny_data(), tiny_config()).fit()


def test_events_tell_every_batch_and_epoch() -> None:
    events: list = []
    Trainer(TinyNetwork(), tiny_data(8), tiny_config(epochs=2), listener=events.append).fit()
    steps = [event for event in events if isinstance(event, StepEnded)]
    epochs = [event for event in events if isinstance(event, EpochEnded)]
    progress = [event for event in events if isinstance(event, Progressed)]
    assert [step.step for step in steps] == [1, 2, 3, 4]
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    assert len(progress) == 2 * (2 + 1)  # two batches and one validation batch an epoch
    assert progress[-1].seconds_left == 0.0
    assert progress[-1].images_per_second > 0
    expected = {
        "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_balanced_accuracy",
        "val_quadratic_weighted_kappa", "learning_rate", "images_per_second", "gradient_norm",
    }  # fmt: skip
    assert set(epochs[0].metrics) == expected


def test_uneven_last_batch_is_averaged_over_images() -> None:
    # 7 images in batches of 4: sizes 4 and 3. At a learning rate of almost zero the epoch's loss is that of all images.
    data = tiny_data(7, flips=False)
    network = TinyNetwork(dropout=0.0)
    network.stages.requires_grad_(False)
    network.eval()
    with torch.no_grad():
        logits = network(data.inputs.for_evaluation(np.arange(7)))
    expected = float(torch.nn.functional.cross_entropy(logits, torch.tensor(data.targets)))
    result = Trainer(network, data, tiny_config(epochs=1, learning_rate=1e-9)).fit()
    assert result.history[0]["train_loss"] == pytest.approx(expected, rel=1e-5)


def test_class_weights_count_in_the_loss() -> None:
    pixels_data = tiny_data(8, flips=False)
    targets = np.array([0, 0, 0, 0, 0, 0, 0, 1])  # 7 : 1, over the limit of 3
    data = replace(pixels_data, targets=targets)
    network = TinyNetwork(dropout=0.0)
    network.stages.requires_grad_(False)
    network.eval()
    with torch.no_grad():
        losses = torch.nn.functional.cross_entropy(
            network(data.inputs.for_evaluation(np.arange(8))), torch.tensor(targets), reduction="none"
        ).numpy()
    expected = (losses[:7].mean() + losses[7]) / 2  # both classes count the same
    result = Trainer(network, data, tiny_config(epochs=1, learning_rate=1e-9, batch_size=8)).fit()
    assert result.history[0]["train_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert result.history[0]["val_loss"] == pytest.approx(float(expected), rel=1e-5)


def test_checkpoint_holds_only_trainable_tensors_and_buffers(tmp_path) -> None:
    network = TinyNetwork()
    network.stages["low"].requires_grad_(False)
    store = CheckpointStore(tmp_path, interval_s=0)
    Trainer(network, tiny_data(), tiny_config(epochs=1), checkpoints=store).fit()
    content = store.load()
    assert content is not None
    assert "stages.low.0.weight" not in content["tuned"]
    assert {"stages.high.0.weight", "head.1.weight", "stages.high.1.running_mean"} <= set(content["tuned"])


def test_bfloat16_training_keeps_float32_weights_and_learns() -> None:
    network = TinyNetwork(dropout=0.0)
    result = Trainer(network, tiny_data(8), tiny_config(epochs=30), compute=Compute(training_dtype="bfloat16")).fit()
    assert result.history[-1]["val_accuracy"] == 1.0
    assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


def test_epochs_tell_confusion_and_gradient_norm_also_after_a_resume(tmp_path) -> None:
    def epochs_of(**options: object) -> list[EpochEnded]:
        heard: list[EpochEnded] = []
        options |= {"listener": lambda event: heard.append(event) if isinstance(event, EpochEnded) else None}
        with contextlib.suppress(Stopped):
            Trainer(
                TinyNetwork(), tiny_data(), tiny_config(epochs=3), checkpoints=CheckpointStore(tmp_path), **options
            ).fit()
        return heard

    first = epochs_of(should_stop=stop_after(17))
    rest = epochs_of()
    CheckpointStore(tmp_path).clear()
    unbroken = epochs_of()
    for epoch in unbroken:
        assert np.sum(epoch.confusion) == 8
        assert np.trace(np.array(epoch.confusion)) / 8 == epoch.metrics["val_accuracy"]
        assert epoch.metrics["gradient_norm"] > 0
    assert len(first) + len(rest) == len(unbroken)
    told = [(epoch.metrics["gradient_norm"], epoch.confusion) for epoch in [*first, *rest]]
    assert told == [(epoch.metrics["gradient_norm"], epoch.confusion) for epoch in unbroken]


def test_balanced_sampling_shows_every_class_equally_often_and_repeats() -> None:
    targets, rows = np.array([0] * 20 + [1] * 4 + [2] * 6), np.arange(30)
    drawn = balanced_rows(rows, targets, seed=1)
    assert np.bincount(targets[drawn]).tolist() == [10, 10, 10]
    assert np.bincount(drawn, minlength=30)[20:24].min() >= 2  # no image a third time before all came twice
    assert len(set(drawn[targets[drawn] == 0])) == 10
    assert np.array_equal(drawn, balanced_rows(rows, targets, seed=1))
    assert not np.array_equal(np.sort(drawn), np.sort(balanced_rows(rows, targets, seed=2)))
    assert len(balanced_rows(np.arange(7), np.array([0, 0, 0, 1, 1, 2, 2]), seed=0)) == 7


def test_balanced_sampling_resumes_to_the_same_weights(tmp_path) -> None:
    data = replace(tiny_data(8), targets=np.array([0, 0, 0, 0, 0, 0, 1, 1]))
    config = tiny_config(epochs=3, sampling="balanced")
    unbroken, stopped, resumed = TinyNetwork(), TinyNetwork(), TinyNetwork()
    Trainer(unbroken, data, config).fit()
    with pytest.raises(Stopped):
        Trainer(stopped, data, config, checkpoints=CheckpointStore(tmp_path), should_stop=stop_after(14)).fit()
    Trainer(resumed, data, config, checkpoints=CheckpointStore(tmp_path)).fit()
    assert torch.equal(weights_of(resumed), weights_of(unbroken))
    natural = TinyNetwork()
    Trainer(natural, data, tiny_config(epochs=3)).fit()
    assert not torch.equal(weights_of(natural), weights_of(unbroken))


def test_mixup_blends_images_and_targets_by_the_draw_of_the_step() -> None:
    data, seen = tiny_data(4, flips=False), []

    class Spy:
        for_training, for_evaluation = data.inputs.for_training, data.inputs.for_evaluation

        def logits(self, network, inputs, should_stop):
            if network.training:
                seen.append(inputs.clone())
            return data.inputs.logits(network, inputs, should_stop)

    network = TinyNetwork(dropout=0.0)
    config = tiny_config(epochs=1, batch_size=4, mixup=0.4, learning_rate=1e-9, batchnorm="frozen")
    losses: list[float] = []
    Trainer(
        network, replace(data, inputs=Spy()), config,
        listener=lambda event: losses.append(event.loss) if isinstance(event, StepEnded) else None,
    ).fit()  # fmt: skip
    rows = epoch_batches(np.arange(4), batch_size=4, seed=derived_seed(config.seed, "order", 1))[0]
    rng = np.random.default_rng([config.seed, 0])
    share, order = rng.beta(0.4, 0.4), rng.permutation(4)
    images, targets = data.inputs.for_evaluation(rows), torch.tensor(data.targets[rows])
    assert torch.allclose(seen[0], share * images + (1 - share) * images[order], atol=1e-6)
    network.eval()
    with torch.no_grad():
        logits = network(seen[0])
    entropy = torch.nn.functional.cross_entropy
    expected = share * entropy(logits, targets) + (1 - share) * entropy(logits, targets[order])
    assert losses[0] == pytest.approx(float(expected), rel=1e-4)


def test_mixup_resumes_to_the_same_weights(tmp_path) -> None:
    config = tiny_config(epochs=3, mixup=0.4)
    unbroken, stopped, resumed = TinyNetwork(), TinyNetwork(), TinyNetwork()
    Trainer(unbroken, tiny_data(), config).fit()
    with pytest.raises(Stopped):
        Trainer(stopped, tiny_data(), config, checkpoints=CheckpointStore(tmp_path), should_stop=stop_after(17)).fit()
    Trainer(resumed, tiny_data(), config, checkpoints=CheckpointStore(tmp_path)).fit()
    assert torch.equal(weights_of(resumed), weights_of(unbroken))
