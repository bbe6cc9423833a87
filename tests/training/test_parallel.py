import json
import multiprocessing
import sys
from types import ModuleType

import pytest
import torch
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lib.distributed import Ranks
from lib.training.events import Noticed, never_stop
from lib.training.loop import fit
from lib.training.parallel import StepNetwork, positions_of
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
        fit(TinyNetwork(), tiny_data(), tiny_config(epochs=2, compile=is_compiled)).history
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
