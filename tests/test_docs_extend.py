"""The entries of docs/extend.md, run as they stand there, are all that an entry of each table needs."""

import json
import re
from typing import Any

import pytest
import torch

from lib.cli import run
from lib.data.library import open_dataset
from lib.data.sources.catalogue import SOURCES
from lib.explain.attribution_map import attribute
from lib.explain.methods import METHODS
from lib.models import networks
from lib.models.backbones import BACKBONES
from lib.models.stages import build_backbone
from lib.recipes.table import RECIPES
from lib.training.strategies import STRATEGIES
from tests.explain.tiny import TinyNetwork, tiny_batch
from tests.pages.scene import make_dataset
from tests.run_store import make_run_store
from tests.test_docs import page


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the blocks of the page define, after they have added their entries to tables of this test's own."""
    for table in (BACKBONES, STRATEGIES, RECIPES, METHODS, SOURCES):
        monkeypatch.setattr(table, "_specs", dict(table._specs))
    defined: dict[str, Any] = {"__name__": "extend"}
    for block in re.findall(r"^```python\n(.*?)^```", page("extend.md"), re.S | re.M):
        exec(block, defined)  # noqa: S102
    monkeypatch.setattr(networks, "SmallNetwork", defined["SmallNetwork"], raising=False)
    return defined


def test_the_network_composes_to_its_own_output(added: dict[str, Any]) -> None:
    spec, images = BACKBONES.get("small_network"), torch.randn(2, 3, 32, 32)
    backbone = build_backbone("small_network", weights="random")
    uncut = added["SmallNetwork"](3)
    assert sum(parameter.numel() for parameter in uncut.parameters()) == spec.num_parameters
    uncut.load_state_dict(dict(zip(uncut.state_dict(), backbone.state_dict().values(), strict=True)))
    with torch.no_grad():
        torch.testing.assert_close(backbone.forward_until(images, "logits"), uncut(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("strategy", ["second_probe", "brief_finetuning"])
def test_the_entries_train(added: dict[str, Any], strategy: str, capsys: pytest.CaptureFixture[str]) -> None:
    make_dataset()
    make_run_store()
    words = ["--dataset", "tiny", "--backbone", "small_network", "--weights", "random", "--set", "dtype=float32"]
    assert run(["train", *words, "--strategy", strategy, "--json"]) == 0, capsys.readouterr().err
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["state"], result["backbone"], result["strategy"]) == ("finished", "small_network", strategy)


def test_the_method_draws(added: dict[str, Any]) -> None:
    network, batch = TinyNetwork(), tiny_batch()
    (found,) = attribute(network, batch, method="gradient_norm", stage="last", target=2, options={"power": 1})
    h = network.forward_until(batch, "last").detach().requires_grad_()
    (gradient,) = torch.autograd.grad(network.forward_after(h, "last")[0, 2], h)
    torch.testing.assert_close(torch.from_numpy(found.raw), gradient[0].abs().sum(dim=0))


def test_the_source_is_imported_from(added: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["datasets", "sources"]) == 0
    assert "greys: Greys" in capsys.readouterr().out
    assert run(["datasets", "import", "--source", "greys", "--set", "per_class=4"]) == 0, capsys.readouterr().err
    dataset = open_dataset("greys")
    assert (dataset.class_names, dataset.num_images, dataset.spec.licence) == (("bright", "dark"), 8, "CC0 1.0")


def test_the_command_line_lists_them(added: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in ("small_network", "second_probe", "brief_finetuning"))
    assert run(["explain", "--help"]) == 0
    assert "gradient_norm" in capsys.readouterr().out
    assert run(["recipes", "list"]) == 0
    assert "small-fundus" in capsys.readouterr().out
    assert run(["recipes", "show", "small-fundus"]) == 0
    assert "The photographs cannot be shipped" in capsys.readouterr().out
