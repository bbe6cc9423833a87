"""Three generated runs that all tests of the reports look at."""

import pytest

from tests.cli.conftest import command
from tests.generated_runs import make_generated_runs

__all__ = ["command"]


@pytest.fixture(scope="module")
def report_home(tmp_path_factory):
    home = tmp_path_factory.mktemp("reports")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(home))
        make_generated_runs(6, num_test=80)  # three of them are seeds of one training
    return home


@pytest.fixture
def runs_at_hand(report_home, monkeypatch):
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(report_home))
