import pytest

from tests.run_store import make_run_store

CONFIG = {"dataset": "cats_dogs", "backbone": "mobilenet_v2", "strategy": "linear_probe", "epochs": None}


@pytest.fixture
def run_store(home) -> None:
    make_run_store()
