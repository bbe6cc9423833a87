"""One service of the tiny classifier, asked in this process."""

import time

import pytest

from tests.grading.squares import train_on_squares

TOKEN = "a-token-of-the-tests"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="session")
def trained():
    return train_on_squares()


@pytest.fixture(scope="module")
def grader(trained):
    from lib.grading.grader import Grader

    classifier, manifest, gate = trained
    return Grader(
        classifier,
        manifest | {"dataset": manifest["dataset"] | {"is_medical": True}},
        gate=gate,
        run="0123456789abcdef",
    )


@pytest.fixture
def service(grader):
    """Starts a service with limits of its own; returns its client."""
    from contextlib import ExitStack

    from starlette.testclient import TestClient

    from lib.service.app import create_app
    from lib.service.settings import ServiceSettings

    with ExitStack() as stack:

        def start(*, answering=None, **limits):
            app = create_app(answering or grader, ServiceSettings(token=TOKEN, **limits))
            return stack.enter_context(TestClient(app, headers=WITH_TOKEN))

        yield start


def until_ready(client):
    """Wait until the service says that it is ready."""
    deadline = time.monotonic() + 30
    while client.get("/ready").status_code != 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
