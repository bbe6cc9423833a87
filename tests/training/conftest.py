import pytest


@pytest.fixture(autouse=True, scope="module")
def _quick_network(quick_network: None) -> None:
    """How sessions train is the same for every network."""
