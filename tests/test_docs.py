"""The README names what the tables hold, so that a new entry cannot be forgotten there."""

from pathlib import Path

import pytest

from lib.models.backbones import BACKBONES
from lib.tracking.endings import ENDINGS
from lib.training.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [*BACKBONES.names, *STRATEGIES.names])
def test_readme_names_every_backbone_and_strategy(name: str):
    assert f"`{name}`" in README


@pytest.mark.parametrize("strategy", STRATEGIES, ids=STRATEGIES.names)
def test_readme_gives_every_strategy_the_title_that_pages_show(strategy):
    assert f"| `{strategy.name}` | {strategy.title} |" in README


def test_readme_names_every_page():
    for page in (ROOT / "pages").glob("*.py"):
        if page.stem != "__init__":
            title = page.stem.replace("_", " ").capitalize()
            assert title in README, f"{title} is missing in the README"


def test_readme_pictures_exist():
    for part in README.split("](")[1:]:
        target = part.split(")")[0]
        if not target.startswith("http"):
            assert (ROOT / target).exists(), f"README links to {target}"


def test_gitignore_keeps_the_library():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any(line.strip("/") == "lib" for line in ignored)


def test_readme_names_every_ending():
    for ending in ENDINGS:
        resume = "yes" if ending.can_resume else "no"
        assert f"| {ending.title} | {ending.summary} | {resume} |" in README
