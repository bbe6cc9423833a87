"""One list of dependencies: what is imported is in requirements.txt, what is there is locked with its hashes."""

import ast
import importlib.metadata
import sys
import tomllib

import pathspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lib.settings import PROJECT_ROOT

PYPROJECT = tomllib.loads((PROJECT_ROOT / "pyproject.toml").read_text("utf-8"))
LINES = (PROJECT_ROOT / "requirements.txt").read_text("utf-8").splitlines()
REQUIREMENTS = [Requirement(line) for line in LINES if line and not line.startswith("#")]


def imported_modules() -> set[str]:
    """The first names of all modules that the program imports, at the top of a file or within a function."""
    files = [PROJECT_ROOT / "app.py", *(PROJECT_ROOT / "lib").rglob("*.py"), *(PROJECT_ROOT / "pages").rglob("*.py")]
    names: set[str] = set()
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - {"lib", "pages"}


@pytest.mark.slow
def test_what_is_imported_is_required() -> None:
    sources = importlib.metadata.packages_distributions()
    required = {canonicalize_name(requirement.name) for requirement in REQUIREMENTS}
    undeclared = {
        name: sources.get(name)
        for name in imported_modules()
        if not {canonicalize_name(found) for found in sources.get(name, [])} & required
    }
    assert not undeclared


def locked() -> dict[str, tuple[str, str]]:
    """Name -> (version, the lines of its entry)."""
    entries: dict[str, tuple[str, str]] = {}
    text = (PROJECT_ROOT / "requirements.lock").read_text("utf-8")
    for entry in text.replace("\\\n", "").splitlines():
        if entry and not entry.startswith("#"):
            name, _, rest = entry.partition("==")
            entries[canonicalize_name(name)] = (rest.split()[0], rest)
    return entries


@pytest.mark.parametrize("requirement", REQUIREMENTS, ids=str)
def test_the_lock_holds_every_requirement_within_its_bounds(requirement: Requirement) -> None:
    version, _ = locked()[canonicalize_name(requirement.name)]
    assert requirement.specifier.contains(version)


def test_every_locked_file_has_its_hash() -> None:
    entries = locked()
    assert len(entries) > len(REQUIREMENTS)
    assert all("--hash=sha256:" in entry for _, entry in entries.values())


def test_dependencies_have_one_list() -> None:
    assert "dependencies" not in PYPROJECT["project"]
    assert PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["requirements_txt"]["files"] == ["requirements.txt"]


def test_the_wheel_takes_all_that_the_program_opens() -> None:
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    taken = {*wheel["only-include"], *wheel["force-include"]}
    assert {"app.py", "lib", "pages", "assets", "data/samples", ".streamlit"} <= taken
    for path in taken:
        assert (PROJECT_ROOT / path).exists(), path
    assert wheel["sources"] == {path: f"transferscope/{path}" for path in wheel["only-include"]}
    # The line that puts the folder of the program on the path.
    assert (PROJECT_ROOT / ".ci" / "transferscope.pth").read_text("utf-8").split() == ["transferscope"]


def test_the_wheel_leaves_out_no_folder_of_the_program() -> None:
    """The builder passes over what .gitignore names: no new folder of the program may be called like that."""
    rules = (PROJECT_ROOT / ".gitignore").read_text("utf-8").splitlines()
    left_out = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    ignored = pathspec.PathSpec.from_lines("gitwildmatch", [*rules, *left_out])
    files = [path for folder in ("lib", "pages") for path in (PROJECT_ROOT / folder).rglob("*.py")]
    names = [path.relative_to(PROJECT_ROOT).as_posix() for path in files]
    assert "pages/compare/views.py" in names
    assert ignored.match_file("lib/__pycache__/errors.cpython-311.pyc")  # the rules are read
    assert not [name for name in names if ignored.match_file(name)]
    assert {path.parent for path in files} == {path.parent for path in files if path.name == "__init__.py"}
