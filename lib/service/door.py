"""The door of the service: who may ask and how often, before anything of a request's body is read.

An ASGI layer: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import hmac
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lib.service.metrics import ServiceMetrics
from lib.service.settings import ServiceSettings

# What a watchdog asks, which tells nothing of the classifier.
OPEN_PATHS = ("/health", "/ready")
SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
NO_TOKEN = "This service asks for a token: send the header Authorization: Bearer TOKEN."  # noqa: S105
OUR_FAULT = "The service failed on this request; it goes on with the next one, and its log says more."

logger = logging.getLogger("transferscope.service")


def problem(status: int, sentence: str, notice: str, headers: Mapping[str, str] | None = None) -> Response:
    """An answer that says in one sentence what is wrong."""
    content = json.dumps({"detail": sentence, "notice": notice})
    return Response(content, status, headers, media_type="application/json")


class TokenBucket:
    """`per_minute` requests a minute, and as many at once after a rest. Thread-safe."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._most, self._clock = per_minute / 60, float(per_minute), clock
        self._left, self._at_s, self._lock = self._most, clock(), threading.Lock()

    def take(self) -> int:
        """Take one; returns 0, or after how many whole seconds there is one."""
        with self._lock:
            now = self._clock()
            self._left = min(self._most, self._left + (now - self._at_s) * self._per_s)
            self._at_s = now
            if self._left < 1:
                return max(1, math.ceil((1 - self._left) / self._per_s))
            self._left -= 1
            return 0


class Door:
    """Turns away who has no token or asks too often; counts, and puts the same headers on every answer."""

    def __init__(self, app: ASGIApp, *, settings: ServiceSettings, metrics: ServiceMetrics, notice: str) -> None:
        self._app, self._metrics, self._notice = app, metrics, notice
        self._expected = settings.token.encode()
        self._bucket = TokenBucket(settings.requests_per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started_s, status = time.perf_counter(), 0

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            turned_away = self._turn_away(scope)
            await (turned_away or self._app)(scope, receive, send_with_headers)
        except ClientDisconnect:
            status = status or 499  # nobody is there to be answered
        except Exception:
            logger.exception("A request to %s failed.", scope["path"].split("/")[1][:20])
            if status:
                raise  # half an answer is sent: only the connection can end
            await problem(500, OUR_FAULT, self._notice)(scope, receive, send_with_headers)
        finally:
            self._metrics.count_request(scope["path"], status or 499, time.perf_counter() - started_s)

    def _turn_away(self, scope: Scope) -> Response | None:
        if scope["path"] in OPEN_PATHS:
            return None
        kind, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        is_known = hmac.compare_digest(token.strip().encode(), self._expected) and kind.lower() == "bearer"
        if not is_known:
            return problem(401, NO_TOKEN, self._notice, {"WWW-Authenticate": "Bearer"})
        if wait_s := self._bucket.take():
            sentence = f"Too many requests with this token; try again in {wait_s} s."
            return problem(429, sentence, self._notice, {"Retry-After": str(wait_s)})
        return None
