"""The commands of the documentation: each is parsed with its real options, cheap ones are run."""

import re
import shlex
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import click
import pytest

from lib.cli import cli, run
from lib.cli.domain_gap import ALL
from lib.data.sources.catalogue import SOURCES
from lib.errors import UserError
from lib.explain.image_map import METHODS as MAP_METHODS
from lib.explain.method_spec import read_options
from lib.explain.methods import METHODS
from lib.models.backbones import BACKBONES
from lib.recipes.table import RECIPES
from lib.training.config import TrainConfig
from lib.training.strategies import STRATEGIES
from tests.pages.scene import write_images
from tests.run_store import make_run_store
from tests.test_docs import PAGES, ROOT

MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
# What other programs do with their options is theirs to say.
OTHERS = (
    "pip",
    "python3 -m venv",
    "mlflow server",
    "mlflow ui",
    "ssh",
    "export",
    "git",
    "python -m pytest",
    "python -m streamlit",
)
OURS = re.compile(r"^(?:python -m lib|transferscope|torchrun(?: --\S+)* -m lib)(?= |$)")
PLACEHOLDERS = re.compile(r"^(?:[A-Z]+|\.\.\.)$")


def commands(text: str) -> list[tuple[str, bool]]:
    """Every command line of the bash blocks and of the code within sentences, and whether it is one of a block."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.S | re.M)
    lines = [(line, True) for block in blocks for line in block.splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
    begins = ("python ", "make ", "transferscope ", "torchrun ", "mlflow ", ".venv/bin/")
    lines += [(code, False) for code in re.findall(r"`([^`]+)`", prose) if code.startswith(begins)]
    words = ((shlex.join(shlex.split(line, comments=True)), is_block) for line, is_block in lines)
    return [(line.replace(".venv/bin/", ""), is_block) for line, is_block in words if line]


EVERY = sorted({(page.name, *command) for page in PAGES for command in commands(page.read_text("utf-8"))})


def parse(words: list[str], *, is_whole: bool = True) -> dict[str, object]:
    """Parse the words behind `python -m lib` with the options of their command; returns those given, by name.

    In a sentence a command may stand without what it requires (`is_whole`).
    """
    command: click.Command = cli
    context = click.Context(cli)
    while isinstance(command, click.Group) and words:
        found = command.get_command(context, words[0])
        assert found is not None, f"there is no command {words[0]}"
        command, words, context = found, words[1:], click.Context(found, parent=context)
    values, left, _ = command.make_parser(context).parse_args([word for word in words if word != "..."])
    assert not left, f"{left} is too much"
    for parameter in command.params:
        given = values.get(parameter.name)
        texts = given if isinstance(given, list | tuple) else [given]
        if not all(isinstance(text, str | bool) for text in texts) or not texts:
            values.pop(parameter.name, None)
            assert not (parameter.required and is_whole), f"{parameter.name} is missing"
        elif not isinstance(parameter.type, click.Path | click.File) and not PLACEHOLDERS.match(str(given)):
            parameter.type_cast_value(context, given)
    return values


def check_names(values: dict[str, object]) -> None:
    """Raise what the program would say of a strategy, a network, a recipe or a setting that it does not know."""
    for key, table in (("strategy", STRATEGIES), ("recipe", RECIPES)):
        name = values.get(key)
        if isinstance(name, str) and not PLACEHOLDERS.match(name):
            table.get(name)
    network = values.get("backbone")
    assert network in (None, ALL) or BACKBONES.may_know(str(network)), network
    settings = [word for word in values.get("settings") or () if not PLACEHOLDERS.match(str(word))]
    method = values.get("method")  # of attribution, unless it is one of maps of images
    if isinstance(method, str) and method not in MAP_METHODS and not PLACEHOLDERS.match(method):
        METHODS.get(method).complete(read_options(settings))
        return
    source = values.get("source")  # of images
    if isinstance(source, str) and not PLACEHOLDERS.match(source):
        options = {option.name: "given" for option in SOURCES.get(source).options if option.is_required}
        SOURCES.get(source).complete(options | read_options(settings))
        return
    TrainConfig(dataset="mine").with_settings(settings)


@pytest.mark.parametrize(("page", "command", "is_block"), EVERY, ids=lambda value: str(value).replace(" ", "_"))
def test_every_command_is_one_that_there_is(page: str, command: str, is_block: bool) -> None:
    words = shlex.split(command)
    if ours := OURS.match(command):
        check_names(parse(shlex.split(command[ours.end() :]), is_whole=is_block))
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:.*##", MAKEFILE, re.M)
        for word in words[2:]:
            assert f"{word.partition('=')[0]} ?=" in MAKEFILE
    elif command.startswith(("python -m tests.", "python -m lib.")):
        spec = find_spec(words[2])
        assert spec and spec.origin
        source = Path(spec.origin).read_text("utf-8")
        for option in (word for word in words[3:] if word.startswith("--")):
            assert f'"{option}"' in source, option
    else:
        assert command.startswith(OTHERS), command


@pytest.mark.parametrize(
    "wrong",
    ["tidy", "train --dataset mine --strat linear_probe", "train --epochs many", "grade photo.jpg", "run --port 0"],
)
def test_a_wrong_command_is_found(wrong: str) -> None:
    with pytest.raises((AssertionError, click.UsageError)):
        parse(shlex.split(wrong))


@pytest.mark.parametrize(
    "values",
    [
        {"strategy": "probing"},
        {"settings": ["bathc_size=3"]},
        {"backbone": "vgg61"},
        {"method": "gradcam"},
        {"source": "food100"},
        {"source": "food101", "settings": ["class=2"]},
    ],
)
def test_a_wrong_name_is_found(values: dict[str, object]) -> None:
    with pytest.raises((AssertionError, UserError)):
        check_names(values)


def options_in_sentences() -> list[str]:
    texts = [page.read_text("utf-8") for page in PAGES]
    return sorted({code for text in texts for code in re.findall(r"`(--[^`\n]+)`", text)})


def all_options() -> set[str]:
    """Every option of every command."""
    context, found, waiting = click.Context(cli), {"--help"}, [cli]
    while waiting:
        command = waiting.pop()
        found.update(option for parameter in command.params for option in parameter.opts + parameter.secondary_opts)
        if isinstance(command, click.Group):
            waiting += [one for name in command.list_commands(context) if (one := command.get_command(context, name))]
    return found


def test_options_within_sentences_are_real() -> None:
    known = all_options()
    for code in options_in_sentences():
        words = shlex.split(code)
        assert {word for word in words if word.startswith("--")} <= known, code
        settings = [after for word, after in pairwise(words) if word == "--set" and "=" in after]
        of_sources = {option.name for spec in SOURCES for option in spec.options}
        TrainConfig(dataset="mine").with_settings([one for one in settings if one.split("=")[0] not in of_sources])


def readme_block() -> list[str]:
    """The commands of the README that lead from a folder to grades."""
    text = (ROOT / "README.md").read_text("utf-8")
    return [command for command, is_block in commands(text) if is_block and OURS.match(command)]


CHEAP = (
    "runs list", "runs show latest", "datasets list", "datasets show mine", "datasets change mine --suggested",
    "caches list", "recipes list", "recipes show vgg16-dr-mlp1", "weights list",
    "export --run ID --out bundle.zip", "grade new_photos/ --run bundle.zip --out report.csv",
    "evaluate --run ID --dataset other",
)  # fmt: skip


@pytest.mark.slow
def test_the_readme_leads_from_a_folder_to_grades(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its commands in their order, then every cheap command of the other pages in the same home."""
    make_run_store()
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "my_photos", classes=("ant", "bee"))
    shutil.copytree(tmp_path / "my_photos" / "ant", tmp_path / "new_photos")
    first = readme_block()
    assert len(first) == 4
    documented = {command for _, command, _ in EVERY}
    quick = [command for command in first if " advise " not in command]  # tests/cli/test_advice.py runs that one
    for command in [*quick, "python -m lib datasets import my_photos --name other"]:
        assert run(shlex.split(command)[3:]) == 0, capsys.readouterr().err
    assert len((tmp_path / "report.csv").read_text("utf-8").splitlines()) == 12  # ten photographs, one that is none
    for rest in CHEAP:
        assert f"python -m lib {rest}" in documented, f"{rest} is documented nowhere any more"
        words = ["latest" if word == "ID" else word for word in shlex.split(rest)]
        assert run(words) == 0, capsys.readouterr().err
    assert (tmp_path / "bundle.zip").stat().st_size > 0
