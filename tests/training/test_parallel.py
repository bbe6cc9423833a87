import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType

import numpy as np
import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lib.distributed import Ranks
from lib.training.checkpoints import CheckpointStore
from lib.training.events import EpochEnded, Noticed, StepEnded, never_stop
from lib.training.inputs import FitData, ImageInputs, epoch_batches
from lib.training.parallel import ShortOfMemory, StepNetwork, micro_batches, positions_of
from lib.training.trainer import Trainer
from tests.training import two_ranks
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    """What two gloo ranks computed, by rank; started by torchrun's own agent.

    Both are forked from one process that has imported all they need, instead of importing it each by itself.
    """
    folder = tmp_path_factory.mktemp("ranks")
    launch = LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=2, rdzv_backend="c10d", rdzv_endpoint="localhost:0",
        start_method="forkserver", max_restarts=0,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        # The ranks would run the main module again, and AppTest leaves the script of a page there.
        patch.setitem(sys.modules, "__main__", ModuleType("__main__"))
        multiprocessing.set_forkserver_preload([two_ranks.__name__, "torch._dynamo", "sklearn.metrics"])
        elastic_launch(launch, two_ranks.main)(folder)
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in range(2)]


@pytest.mark.slow
def test_two_ranks_equal_one_process(both: list[dict]) -> None:
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        alone = two_ranks.everything(Ranks())
    finally:
        torch.set_num_threads(num_threads)
    for name, expected in alone.items():
        for found in both:
            assert len(found[name]) == len(expected), name
            for ours, theirs in zip(found[name], expected, strict=True):
                assert ours == pytest.approx(theirs, abs=1e-5), name
    assert 1 < len(alone["early stop"]) < 12
    assert len(alone["thawed"]) > 2 * 4


@pytest.mark.slow
def test_ranks_stop_in_the_same_batch(both: list[dict]) -> None:
    assert both[0]["stop"] == both[1]["stop"] == 4


def test_a_rank_without_images_stands_in_at_weight_0() -> None:
    shares = [positions_of(Ranks(rank, 3), 2) for rank in range(3)]
    assert [(positions.tolist(), counts) for positions, counts in shares] == [([0], 1.0), ([1], 1.0), ([0], 0.0)]


def test_compiled_training_gives_the_same_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    # Dynamo itself takes ten seconds to start, and is not what is tested.
    monkeypatch.setattr(torch, "compile", lambda network: calls.append(1) or network)
    plain, fast = (
        Trainer(TinyNetwork(), tiny_data(), tiny_config(epochs=2, compile=is_compiled)).fit().history
        for is_compiled in (False, True)
    )
    assert calls
    assert [epoch["train_loss"] for epoch in fast] == pytest.approx([epoch["train_loss"] for epoch in plain], abs=1e-6)


def test_where_nothing_compiles_training_goes_on_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(network: object) -> None:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", fail)
    notices: list[Noticed] = []
    data, network = tiny_data(4), TinyNetwork()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    step = StepNetwork(
        network, data.inputs, ranks=Ranks(), is_compiled=True, should_stop=never_stop, listener=notices.append
    )
    batch = data.inputs.for_evaluation(data.train_rows)
    network.eval()
    assert torch.equal(step(batch), network(batch))
    assert "no compiler" in notices[0].text
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


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
        inputs.pixels, inputs.image_ids, inputs.transform, inputs.seed, inputs.augmentation, room, **options
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
        Trainer(networks[room], small, config, listener=seen.append).fit()
        losses[room] = [event.loss for event in seen if isinstance(event, StepEnded)]
    assert losses[2] == pytest.approx(losses[100], rel=1e-5)
    assert torch.allclose(weights_of(networks[2]), weights_of(networks[100]), atol=1e-5)


def test_each_halving_is_said_and_stays() -> None:
    events: list = []
    shortages: list[int] = []
    data = with_room(tiny_data(8), 2, on_shortage=lambda: shortages.append(1))
    Trainer(TinyNetwork(), data, tiny_config(batch_size=8, epochs=1), listener=events.append).fit()
    notices = [event.text for event in events if isinstance(event, Noticed)]
    assert [notice.split("computed ")[1].split(" images")[0] for notice in notices] == ["4", "2"]
    assert all("the statistics of BatchNorm frozen" in notice for notice in notices)
    num_in_training = 2  # the rest is the validation of 8 images, in halves of halves as well
    assert len(shortages) == num_in_training + 3


def test_batchnorm_keeps_its_statistics_from_the_first_shortage_on() -> None:
    network = TinyNetwork()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    Trainer(network, with_room(tiny_data(8), 4), tiny_config(batch_size=8, epochs=2)).fit()
    assert all(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())
    Trainer(network, with_room(tiny_data(8), 8), tiny_config(batch_size=8, epochs=2)).fit()
    assert not any(torch.equal(before[name], buffer) for name, buffer in network.named_buffers())


def test_four_halvings_and_no_more(tmp_path) -> None:
    data = with_room(tiny_data(40), 40)
    store = CheckpointStore(tmp_path, interval_s=0, max_saving_share=1e9)
    network = TinyNetwork()
    Trainer(network, data, tiny_config(batch_size=40, epochs=2), checkpoints=store).fit()
    shortages: list[int] = []
    smaller = with_room(tiny_data(40), 2, on_shortage=lambda: shortages.append(1))
    config = tiny_config(batch_size=40, epochs=3)
    with pytest.raises(ShortOfMemory, match=r"even with 3 images at a time\. Start a new run with a smaller image"):
        Trainer(TinyNetwork(), smaller, config).fit()
    assert len(shortages) == 5
    with pytest.raises(ShortOfMemory, match="even with 1 image at a time"):
        Trainer(TinyNetwork(), with_room(tiny_data(8), 0), config).fit()
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
        Trainer(TinyNetwork(), small, config, checkpoints=store, listener=interrupt).fit()
    assert len(shortages) == 1
    result = Trainer(TinyNetwork(), small, config, checkpoints=store).fit()
    assert len(result.history) == 2
    assert len(shortages) == 1


def test_parts_cover_the_batch_in_nearly_equal_sizes() -> None:
    assert [part.stop - part.start for part in micro_batches(10, 2)] == [2, 3, 3, 2]
    assert micro_batches(7, 0) == [slice(0, 7)]
    assert len(micro_batches(3, 4)) == 3


def network_with_one_value_a_channel() -> TinyNetwork:
    """Its last BatchNorm sees a map of 1 x 1, and its head has one of its own: one image is too few for both."""
    network = TinyNetwork(dropout=0.0)
    network.stages["high"] = torch.nn.Sequential(
        torch.nn.Conv2d(8, 8, 3, stride=2, padding=1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.BatchNorm2d(8),
        torch.nn.ReLU(),
    )  # fmt: skip
    network.head = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
    return network


def statistics_of(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([buffer.double().flatten() for name, buffer in network.named_buffers() if "running" in name])


def notices_of(network: torch.nn.Module, num_images: int, **changes) -> list[str]:
    heard: list = []
    Trainer(network, tiny_data(num_images), tiny_config(epochs=2, **changes), listener=heard.append).fit()
    assert all(np.isfinite(event.loss) for event in heard if isinstance(event, StepEnded))
    assert sum(isinstance(event, EpochEnded) for event in heard) == 2
    return [event.text for event in heard if isinstance(event, Noticed)]


def test_a_batch_of_one_image_trains_with_the_statistics_as_they_are_and_says_so() -> None:
    network = network_with_one_value_a_channel()
    weights, statistics = weights_of(network), statistics_of(network)
    (said,) = notices_of(network, 8, batch_size=1)
    assert said.startswith("Each step is on a single image, which has no statistics for BatchNorm")
    assert "batch_size=2 or more" in said
    assert torch.equal(statistics_of(network), statistics)
    assert not torch.equal(weights_of(network), weights)


def test_an_odd_number_in_twos_leaves_one_over() -> None:
    network = network_with_one_value_a_channel()
    statistics = statistics_of(network)
    assert notices_of(network, 7, batch_size=2) == [
        "1 of 4 steps an epoch are on a single image, which has no statistics for BatchNorm: the network keeps those "
        "that it has."
    ]
    assert not torch.equal(statistics_of(network), statistics)  # the other steps train them


@pytest.mark.parametrize("batch_size", [2, 3, 4, 5, 7, 8])
def test_no_other_batch_leaves_a_single_image_over(batch_size: int) -> None:
    for num_images in range(max(2, batch_size), 60):
        sizes = {len(batch) for batch in epoch_batches(np.arange(num_images), batch_size=batch_size, seed=0)}
        assert 1 not in sizes or (batch_size == 2 and num_images % 2)


def test_parts_of_one_image_train_where_each_has_one_value_a_channel() -> None:
    network, heard = network_with_one_value_a_channel(), []
    Trainer(network, with_room(tiny_data(8), 1), tiny_config(epochs=2, batch_size=8), listener=heard.append).fit()
    assert any(isinstance(event, Noticed) and "of BatchNorm frozen" in event.text for event in heard)
    assert all(np.isfinite(event.loss) for event in heard if isinstance(event, StepEnded))


def test_nothing_is_said_where_no_statistics_are_trained() -> None:
    network = TinyNetwork(dropout=0.0)
    assert notices_of(network, 8, batch_size=1, batchnorm="statistics_frozen") == []
    network = TinyNetwork(dropout=0.0)
    network.stages.requires_grad_(requires_grad=False)
    assert notices_of(network, 8, batch_size=1) == []


def test_the_rate_range_and_the_estimate_take_steps_of_one_image_too() -> None:
    from lib.training.network import Compute
    from lib.training.rate_range import find_rate

    found = find_rate(
        network_with_one_value_a_channel(), tiny_data(8), tiny_config(batch_size=1), Compute(), num_steps=20
    )
    assert len(found.losses) >= 3
