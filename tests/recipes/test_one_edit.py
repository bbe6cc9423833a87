"""One entry is all that a new recipe needs: page, command line and files know it, and the documentation lacks it."""

import json
import re
from pathlib import Path

import pytest

from lib.cli import run
from lib.recipes import RECIPES, published_line, write_published
from lib.recipes.spec import FUNDUS, Published, RecipeSpec, Study
from lib.tracking import list_runs
from tests.pages.scene import make_dataset, open_page, words
from tests.run_store import make_run_store

ROOT = Path(__file__).parents[2]
TOY = RecipeSpec(
    name="toy-squares",
    title="A toy on coloured squares",
    study=Study("Toy study", "leaflet, May 2026", 2026, "none"),
    subject=FUNDUS,
    protocol="All squares, the usual fifths.",
    settings={"backbone": "bundled_vgg", "strategy": "linear_probe", "input_size_px": 32},
    published=Published(accuracy=0.625, measured_on="eight squares"),
    deviations=("Squares of other colours than the published ones.",),
)


@pytest.fixture
def toy(home, monkeypatch) -> None:
    monkeypatch.setitem(RECIPES._specs, TOY.name, TOY)
    make_dataset()
    make_run_store()


def undocumented() -> list[str]:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    return [name for name in RECIPES.names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)]


def test_the_documentation_names_every_recipe():
    assert undocumented() == []


def test_a_new_entry_is_missed_in_the_documentation(toy):
    assert undocumented() == [TOY.name]


@pytest.mark.slow
def test_a_new_entry_is_in_the_command_line_and_runs(toy, capsys, tmp_path, monkeypatch):
    assert run(["recipes", "list"]) == 0
    assert TOY.title in capsys.readouterr().out
    assert run(["recipes", "show", TOY.name, "--dataset", "tiny"]) == 0
    assert TOY.deviations[0] in capsys.readouterr().out
    assert run(["recipes", "run", TOY.name, "--dataset", "tiny", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out.splitlines()[-1])["recipes"]
    assert (found["recipe"], found["state"], found["published_accuracy"]) == (TOY.name, "finished", 0.625)
    assert list_runs()[0].label == "toy-squares · Bundled VGG · tiny"
    assert published_line(TOY.name, "test_accuracy").source == TOY.study.line
    monkeypatch.setattr("lib.recipes.published.PUBLISHED_FILE", tmp_path / "published.json")
    write_published()
    assert json.loads((tmp_path / "published.json").read_text())["results"][-1]["recipe"] == TOY.name


def test_a_new_entry_is_on_the_training_page(toy):
    at = open_page("train_model", dataset="tiny", recipe=TOY.name)
    assert not at.exception
    picker = at.selectbox(key="train_recipe")
    assert picker.value == TOY.name
    assert any(TOY.title in option for option in picker.options)
    assert "accuracy 0.625 on eight squares (leaflet, May 2026)" in words(at)
