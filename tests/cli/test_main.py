import importlib
import json
import subprocess
import sys

import click
import pytest

from lib import cli
from lib.errors import UserError
from lib.settings import PROJECT_ROOT, home
from lib.tracking.writer import code_version


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_of_the_table_exists_and_has_help(name, command):
    module, attribute, _ = cli.COMMANDS[name]
    found = getattr(importlib.import_module(module), attribute)
    assert isinstance(found, click.Command)
    answer = command(name, "--help")
    assert answer.status == 0
    assert found.help.splitlines()[0] in " ".join(answer.out.split())


def test_help_lists_all_commands_without_loading_them():
    code = (
        "import sys; from lib import cli; status = cli.run(['--help']);"
        "sys.exit(any(name in sys.modules for name in ('torch', 'mlflow', 'numpy', 'pandas', 'lib.cli.training')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert answer.returncode == 0
    assert all(f"\n  {name}" in answer.stdout for name in cli.COMMANDS)


def test_without_a_command_the_help_is_shown(command):
    answer = command()
    assert answer.status == 0
    assert answer.out.startswith("Usage: python -m lib")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["bogus"], "No such command 'bogus'"),
        (["train", "--bogus"], "No such option '--bogus'"),
        (["runs", "show"], "Missing argument 'ID'"),
        (["runs", "show", "zz"], "There is no run 'zz'"),
        (["datasets", "show", "none"], "There is no data set"),
        (["weights", "download", "vgg99"], "Unknown backbone 'vgg99'. Did you mean 'vgg16'?"),
        (["compare", "one"], "at least two runs"),
    ],
)
def test_bad_input_is_one_line_and_status_2(arguments, expected, command):
    answer = command(*arguments)
    assert answer.status == 2
    assert expected in answer.err
    assert answer.err.count("\n") == 1
    assert answer.out == ""


def _raise(error):
    def command(**_):
        raise error

    return click.Command("broken", callback=command)


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (UserError("first line\nsecond line"), 2, "Error: first line second line\n"),
        (KeyboardInterrupt(), 130, "Error: Interrupted.\n"),
        (ZeroDivisionError("by zero"), 1, "Error: Unexpected error (ZeroDivisionError); its details are in "),
    ],
)
def test_no_error_shows_a_traceback(error, status, expected, command, monkeypatch):
    monkeypatch.setattr(cli.cli, "get_command", lambda ctx, name: _raise(error))
    answer = command("broken")
    assert answer.status == status
    assert answer.err.lstrip().startswith(expected)
    assert answer.err.lstrip().count("\n") == 1
    if status == 1:
        assert "ZeroDivisionError: by zero" in (home() / "errors.log").read_text()


def test_a_reader_that_goes_away_is_no_error(images):
    shell = f"{sys.executable} -m lib weights list --json | head -c 10"
    answer = subprocess.run(["bash", "-o", "pipefail", "-c", shell], cwd=PROJECT_ROOT, capture_output=True, text=True)
    assert answer.stdout == '{"weights"'
    assert answer.stderr == ""


def test_weights_list_says_what_is_missing(command):
    listed = json.loads(command("weights", "list", "--json").out.splitlines()[-1])
    assert {entry["backbone"]: entry["is_cached"] for entry in listed["weights"]}["mobilenet_v2"] is False
    assert "mobilenet_v2" in command("weights", "list").out


def test_downloading_without_a_network_names_file_and_folder(command, tmp_path):
    answer = command("weights", "download", "mobilenet_v2")
    assert answer.status == 2
    assert "mobilenet_v2-" in answer.err
    assert str(tmp_path / "torch_home") in answer.err


def test_the_version_is_told(command):
    done = command("--version")
    assert (done.status, done.out) == (0, f"Transferscope {code_version()}\n")
