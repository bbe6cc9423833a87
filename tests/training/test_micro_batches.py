"""Memory that runs out within a step: raised where a GPU would raise it, by the size of what is computed at once."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch

from lib.training.checkpoints import CheckpointStore
from lib.training.events import EpochEnded, Noticed, StepEnded
from lib.training.inputs import FitData, ImageInputs
from lib.training.loop import fit
from lib.training.micro_batches import ShortOfMemory, micro_batches
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


@dataclass(frozen=True)
class SmallMemory(ImageInputs):
    """Inputs of a device that holds the activations of `room` images; `on_shortage` is told before it says so."""

    room: int = 100
    on_shortage: Callable[[], None] = lambda: None
    is_backward: bool = False

    def logits(self, classifier, inputs, should_stop):
        logits = super().logits(classifier, inputs, should_stop)
        if len(inputs) > self.room and self.is_backward and logits.requires_grad:
            logits.register_hook(self._run_out)
        elif len(inputs) > self.room:
            self._run_out(None)
        return logits

    def _run_out(self, gradient: object) -> None:
        self.on_shortage()
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")


def with_room(data: FitData, room: int, **options) -> FitData:
    inputs = data.inputs
    small = SmallMemory(
        inputs.pixels, inputs.image_ids, inputs.preprocessing, inputs.seed, inputs.augmentation, room, **options
    )
    return replace(data, inputs=small)


def norm_free(network: TinyNetwork) -> TinyNetwork:
    """Without anything that looks at more than one image: BatchNorm with frozen statistics, and no dropout."""
    network.train = lambda mode=True: torch.nn.Module.train(network, mode=False)  # type: ignore[method-assign]
    return network


def weights_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


@pytest.mark.parametrize("is_backward", [False, True])
@pytest.mark.parametrize("weighting", ["none", "balanced"])
def test_smaller_parts_give_the_steps_of_the_whole_batch(weighting: str, is_backward: bool) -> None:
    config = tiny_config(epochs=3, batch_size=8, class_weights=weighting, mixup=0.3)
    data = tiny_data(8)
    # Two images validate, so that memory runs out in steps alone.
    data = replace(data, targets=np.array([0, 0, 0, 0, 0, 0, 1, 1]), val_rows=data.val_rows[-2:])
    losses = {}
    networks = {}
    for room in (100, 2):
        networks[room], seen = norm_free(TinyNetwork(dropout=0.0)), []
        small = with_room(data, room, is_backward=is_backward)
        fit(networks[room], small, config, listener=seen.append)
        losses[room] = [event.loss for event in seen if isinstance(event, StepEnded)]
    assert losses[2] == pytest.approx(losses[100], rel=1e-5)
    assert torch.allclose(weights_of(networks[2]), weights_of(networks[100]), atol=1e-5)


def test_each_halving_is_said_and_stays() -> None:
    events: list = []
    shortages: list[int] = []
    data = with_room(tiny_data(8), 2, on_shortage=lambda: shortages.append(1))
    fit(TinyNetwork(), data, tiny_config(batch_size=8, epochs=1), listener=events.append)
    notices = [event.text for event in events if isinstance(event, Noticed)]
    assert [notice.split("computed ")[1].split(" images")[0] for notice in notices] == ["4", "2"]
    assert all("the statistics of BatchNorm frozen" in notice for notice in notices)
    num_in_training = 2  # the rest is the validation of 8 images, in halves of halves as well
    assert len(shortages) == num_in_training + 3


def test_batchnorm_keeps_its_statistics_from_the_first_shortage_on() -> None:
    network = TinyNetwork()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    fit(network, with_room(tiny_data(8), 4), tiny_config(batch_size=8, epochs=2))
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())
    fit(network, with_room(tiny_data(8), 8), tiny_config(batch_size=8, epochs=2))
    assert not any(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_four_halvings_and_no_more(tmp_path) -> None:
    data = with_room(tiny_data(40), 40)
    store = CheckpointStore(tmp_path, interval_s=0, max_saving_share=1e9)
    network = TinyNetwork()
    fit(network, data, tiny_config(batch_size=40, epochs=2), checkpoints=store)
    shortages: list[int] = []
    smaller = with_room(tiny_data(40), 2, on_shortage=lambda: shortages.append(1))
    config = tiny_config(batch_size=40, epochs=3)
    with pytest.raises(ShortOfMemory, match=r"even with 3 images at a time\. Start a new run with a smaller image"):
        fit(TinyNetwork(), smaller, config)
    assert len(shortages) == 5
    with pytest.raises(ShortOfMemory, match="even with 1 image at a time"):
        fit(TinyNetwork(), with_room(tiny_data(8), 0), config)
    content = store.load()
    assert content is not None
    assert content["state"]["num_halvings"] == 0


def test_a_resumed_training_knows_what_fits(tmp_path) -> None:
    config, shortages = tiny_config(batch_size=8, epochs=2), []
    data = tiny_data(8)
    small = with_room(replace(data, val_rows=data.val_rows[:2]), 4, on_shortage=lambda: shortages.append(1))

    def interrupt(event: object) -> None:
        if isinstance(event, EpochEnded):
            raise KeyboardInterrupt

    store = CheckpointStore(tmp_path, interval_s=0, max_saving_share=1e9)
    with pytest.raises(KeyboardInterrupt):
        fit(TinyNetwork(), small, config, checkpoints=store, listener=interrupt)
    assert len(shortages) == 1
    result = fit(TinyNetwork(), small, config, checkpoints=store)
    assert len(result.history) == 2
    assert len(shortages) == 1


def test_parts_cover_the_batch_in_nearly_equal_sizes() -> None:
    assert [part.stop - part.start for part in micro_batches(10, 2)] == [2, 3, 3, 2]
    assert micro_batches(7, 0) == [slice(0, 7)]
    assert len(micro_batches(3, 4)) == 3
