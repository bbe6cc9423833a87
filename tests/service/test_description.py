"""Every answer is as the OpenAPI description says, whatever is sent."""

from collections import Counter
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.service.conftest import TOKEN, WITH_TOKEN, until_ready

# A run without limits of the expected grade says so with 422, which no description of one parameter can say.
LEFT_OUT = [positive_data_acceptance]


@pytest.fixture(scope="module")
def described(grader):
    from starlette.testclient import TestClient

    from lib.service.app import create_app
    from lib.service.settings import ServiceSettings

    app = create_app(grader, ServiceSettings(token=TOKEN, requests_per_minute=10**6))

    async def started(scope, receive, send):  # Schemathesis would start and end the service at each request
        if scope["type"] == "lifespan":
            for what in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{what}.complete"})
        else:
            await app(scope, receive, send)

    with TestClient(app) as client:
        until_ready(client)
        yield schemathesis.openapi.from_asgi("/openapi.json", started, headers=WITH_TOKEN)


def ask_everything(schema, mode, num_examples):
    """Send generated requests to every route; returns how often each status came."""
    statuses: Counter[int] = Counter()
    paths = set()
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=num_examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=list(HealthCheck), phases=[Phase.explicit, Phase.generate],
        )  # fmt: skip
        def ask(case):
            response = case.call(headers=WITH_TOKEN)
            sent = parse_qs(urlsplit(response.request.url).query, keep_blank_values=True)
            # A parameter whose value is an empty list is never sent, so that nothing wrong arrives.
            is_lost = not set(case.query or ()) <= set(sent)
            case.validate_response(response, excluded_checks=[*LEFT_OUT, *[negative_data_rejection] * is_lost])
            statuses[response.status_code] += 1

        if mode is GenerationMode.POSITIVE or operation.method == "post":  # the others take nothing that could be wrong
            ask()
        paths.add(operation.path)
    assert paths == {"/grade", "/grade/batch", "/health", "/ready", "/metrics", "/model"}
    return statuses


def test_answers_to_what_is_asked_rightly_are_as_described(described):
    statuses = ask_everything(described, GenerationMode.POSITIVE, 6)
    assert statuses[200] > 6
    assert max(statuses) < 500


@pytest.mark.slow
def test_answers_to_what_is_asked_wrongly_are_as_described(described):
    statuses = ask_everything(described, GenerationMode.NEGATIVE, 6)
    assert statuses[422] > 6
    assert max(statuses) < 500


@pytest.mark.slow
@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_answers_are_as_described_at_length(described, mode):
    statuses = ask_everything(described, mode, 150)
    assert sum(statuses.values()) > 200
    assert max(statuses) < 500
