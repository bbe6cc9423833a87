"""One entry and nothing else: a toy of each table is on the page, in the commands and the docs."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
import torch
from PIL import Image

from lib import cli
from lib.data.library import open_dataset
from lib.data.sources.catalogue import SOURCES
from lib.explain.methods import METHODS
from lib.models.backbones import BACKBONES
from lib.models.freezing import stage_plan
from lib.models.stages import build_backbone
from lib.recipes import published_results
from lib.recipes.table import RECIPES
from lib.training.strategies import STRATEGIES
from pages.common import folder_import
from tests import toy
from tests.pages.scene import ROOT, html_of, make_dataset, open_page
from tests.pages.test_explore_data import wait_for
from tests.run_store import make_run_store

TABLES = {
    BACKBONES: toy.BACKBONE,
    STRATEGIES: toy.STRATEGY,
    RECIPES: toy.RECIPE,
    METHODS: toy.METHOD,
    SOURCES: toy.SOURCE,
}


@pytest.fixture(autouse=True)
def _entries(home, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for table, entry in TABLES.items():
        monkeypatch.setitem(table._specs, entry.name, entry)
    make_dataset()
    make_run_store()
    yield
    st.cache_data.clear()
    st.cache_resource.clear()


def test_the_network_has_the_stages_and_counts_of_its_entry() -> None:
    backbone = build_backbone("toy_net", weights="random")
    images, network = torch.randn(2, 3, 32, 32), toy.ToyNetwork(3)
    with torch.no_grad():
        assert [h.shape[1] for h in (backbone.forward_until(images, name) for name in backbone.stages)] == [4, 4, 3]
    assert sum(parameter.numel() for parameter in network.parameters()) == toy.BACKBONE.num_parameters
    assert [stage.num_parameters for stage in stage_plan("toy_net", "all", num_classes=2)] == [112, 4 * 2 + 2]


def test_the_page_offers_them() -> None:
    at = open_page("train_model", dataset="tiny", backbone="toy_net")
    assert "Toy network" in " ".join(at.sidebar.selectbox(key="sidebar_backbone").options)
    at.button(key="train_strategy_toy_probe").click().run()
    assert not at.exception
    assert toy.STRATEGY.summary in html_of(at)
    assert "Toy recipe" in " ".join(option for box in at.selectbox for option in box.options)


def test_the_commands_list_and_train_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["train", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "toy_net" in said
    assert "toy_probe" in said
    assert cli.run(["recipes", "list"]) == 0
    assert "toy-recipe" in capsys.readouterr().out
    started = ["train", "--dataset", "tiny", "--backbone", "toy_net", "--weights", "random", "--strategy", "toy_probe"]
    assert cli.run([*started, "--set", "dtype=float32", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["state"], result["backbone"], result["strategy"]) == ("finished", "toy_net", "toy_probe")


def test_the_command_explains_by_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["explain", "--help"]) == 0
    assert "toy_cam" in capsys.readouterr().out
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    asked = ["--method", "toy_cam", "--set", "power=2", "--stage", "block2", "--out", str(tmp_path / "b.png"), "--json"]
    assert cli.run(["explain", str(tmp_path / "a.png"), "--backbone", "bundled_vgg", *asked]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["method"], result["method_name"], result["options"]) == ("Toy map", "toy_cam", {"power": 2})
    assert [one["stage"] for one in result["stages"]] == ["block2"]


def test_the_view_of_maps_offers_and_draws_the_method() -> None:
    at = open_page("look_inside", dataset="tiny", backbone="mobilenet_v3_small", view="attribution", methods="toy_cam")
    assert not at.exception
    assert "Toy map" in at.multiselect(key="inside_methods").options
    assert "Toy map" in html_of(at)
    assert at.number_input(key="inside_option_toy_cam_power").label == "Toy map: power of the toy"


def test_the_commands_list_the_source_and_import_from_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["datasets", "sources"]) == 0
    said = capsys.readouterr().out
    assert "toy_stripes: Toy stripes\n  Noise in stripes across and along.\n  --set per_class=N [6]" in said
    assert cli.run(["datasets", "import", "--source", "toy_stripes", "--set", "per_class=5", "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["name"], result["title"], result["num_images"]) == ("stripes", "Stripes", 10)
    assert result["class_names"] == ["across", "along"]
    dataset = open_dataset("stripes")
    assert dataset.spec.licence == "CC0 1.0"
    assert dataset.source_path(0)
    assert cli.run(["datasets", "import", "--source", "toy_stripes", "--set", "per_class=many"]) == 2


def test_the_form_of_imports_draws_the_source_and_imports_from_it() -> None:
    at = open_page("explore_data", form="import", source="toy_stripes")
    assert not at.exception
    assert "Toy stripes" in at.selectbox(key="explore_source").options
    assert at.number_input(key="explore_toy_stripes_per_class").label == "Images a class"
    at.number_input(key="explore_toy_stripes_per_class").set_value(4).run()
    at.button(key="explore_import_start").click().run()
    assert not wait_for(folder_import.TASK).error
    at.run()
    assert open_dataset("stripes").num_images == 8
    assert not at.exception


def undocumented() -> list[str]:
    """The entries that no page of the documentation names."""
    text = "".join(page.read_text(encoding="utf-8") for page in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")))
    return [name for table in TABLES for name in table.names if f"`{name}`" not in text]


def test_the_documentation_is_asked_for_them() -> None:
    assert undocumented() == [entry.name for entry in TABLES.values()]
    assert published_results()["results"][-1]["recipe"] == "toy-recipe"
