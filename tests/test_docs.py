"""The documentation names what the tables hold, so that a new entry cannot be forgotten there; its links lead on."""

from pathlib import Path

import pytest

from lib.explain.methods import METHODS
from lib.models.backbones import BACKBONES
from lib.tracking.state import EXIT_REASONS
from lib.training.strategies import STRATEGIES

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "data" / "README.md"])


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", BACKBONES.names)
def test_every_backbone_is_named(name: str):
    assert f"`{name}`" in page("backbones.md")


@pytest.mark.parametrize("strategy", STRATEGIES, ids=STRATEGIES.names)
def test_every_strategy_has_the_title_that_pages_show(strategy):
    assert f"| `{strategy.name}` | {strategy.title} |" in page("choose_a_strategy.md")


@pytest.mark.parametrize("method", METHODS, ids=METHODS.names)
def test_every_attribution_method_has_its_line(method):
    (line,) = (line for line in page("read_a_map.md").splitlines() if line.startswith(f"| `{method.name}` |"))
    works_on = "a stage" if method.is_at_stage else "pixels"
    assert line.startswith(
        f"| `{method.name}` | [{method.title}]({method.reference_url}) | {works_on} | {method.summary}"
    )
    assert all(f"`{option.name}`" in line for option in method.options)


def test_readme_names_every_page():
    for file in (ROOT / "pages").glob("*.py"):
        if file.stem != "__init__":
            title = file.stem.replace("_", " ").capitalize()
            assert title in README, f"{title} is missing in the README"


def test_readme_is_short_and_leads_to_every_page():
    assert len(README.splitlines()) <= 110
    missing = [file.name for file in (ROOT / "docs").glob("*.md") if f"](docs/{file.name})" not in README]
    assert not missing


@pytest.mark.parametrize("file", PAGES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_links_lead_to_files(file: Path):
    for part in file.read_text(encoding="utf-8").split("](")[1:]:
        target = part.split(")")[0]
        if not target.startswith("http"):
            assert (file.parent / target).exists(), f"{file.name} links to {target}"


def test_the_layout_shows_every_room():
    layout = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rooms = [folder.name for folder in (ROOT / "lib").iterdir() if (folder / "__init__.py").exists()]
    assert not [room for room in rooms if room not in layout]


def test_gitignore_keeps_the_library():
    ignored = (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert not any(line.strip("/") == "lib" for line in ignored)


def test_every_ending_is_named():
    for ending in EXIT_REASONS:
        resume = "yes" if ending.can_resume else "no"
        assert f"| {ending.title} | {ending.summary} | {resume} |" in page("endings_and_recovery.md")
