"""The upload sessions of this server, each behind a random token: in memory only, for half an hour after its last use.

A token stands in the link of the page, so that a reload finds its images again; whoever has it has them.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from lib.grading.upload_session import MAX_KEPT_BYTES, UploadSession
from lib.out_of_memory import trim_memory

KEEP_S = 30 * 60
UNDO_S = 5 * 60  # so long a cleared session can be brought back
MAX_SESSIONS = 200
MAX_ALL_BYTES = 5 * MAX_KEPT_BYTES  # of all sessions together
_TOKEN_BYTES = 24  # 192 bits


@dataclass
class _Entry:
    session: UploadSession
    used_s: float


class SessionStore:
    """Upload sessions by their tokens. Only digests of the tokens are kept.

    Args:
        clock: seconds that never run backwards.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, keep_s: float = KEEP_S) -> None:
        self._entries: dict[str, _Entry] = {}
        self._aside: dict[str, _Entry] = {}  # cleared, and not yet gone
        self._clock, self._keep_s = clock, keep_s
        self._lock = threading.RLock()
        self._timer: threading.Timer | None = None

    def begin(self) -> tuple[str, UploadSession]:
        """A new, empty session and its token; with too many sessions the one that was not used for longest ends."""
        token, session = secrets.token_urlsafe(_TOKEN_BYTES), UploadSession(self._room)
        with self._lock:
            self.sweep()
            while len(self._entries) >= MAX_SESSIONS:
                self._end(min(self._entries, key=lambda key: self._entries[key].used_s))
            self._entries[_digest(token)] = _Entry(session, self._clock())
            self._sweep_later()
        return token, session

    def find(self, token: str | None) -> UploadSession | None:
        """The session of a token, used from now on; None where there is none (any more)."""
        with self._lock:
            self.sweep()
            entry = self._entries.get(_digest(token)) if token else None
            if entry is None:
                return None
            entry.used_s = self._clock()
            return entry.session

    def end(self, token: str | None) -> None:
        """Clear a session and forget its token."""
        with self._lock:
            if token and _digest(token) in self._entries:
                self._end(_digest(token))

    def put_aside(self, token: str | None) -> None:
        """Clear a session so that `restore` can bring it back for a few minutes; nobody else finds it meanwhile."""
        with self._lock:
            entry = self._entries.pop(_digest(token), None) if token else None
            if token and entry is not None:
                entry.used_s = self._clock()
                self._aside[_digest(token)] = entry
                timer = threading.Timer(UNDO_S + 1, self.sweep)
                timer.daemon = True
                timer.start()

    def restore(self, token: str) -> bool:
        """Bring back what was put aside; whether it was still there."""
        with self._lock:
            self.sweep()
            entry = self._aside.pop(_digest(token), None)
            if entry is not None:
                entry.used_s = self._clock()
                self._entries[_digest(token)] = entry
            return entry is not None

    def sweep(self) -> None:
        """End the sessions whose time is over; whoever still holds one holds no image any more."""
        with self._lock:
            gone = [key for key, entry in self._aside.items() if self._clock() - entry.used_s >= UNDO_S]
            for key in gone:
                self._aside.pop(key).session.clear()
            if gone:
                trim_memory()
            for key in [key for key, entry in self._entries.items() if self._clock() - entry.used_s >= self._keep_s]:
                self._end(key)

    def _end(self, key: str) -> None:
        self._entries.pop(key).session.clear()

    def _room(self) -> float:
        # Without the lock: who asks holds a session's, and `_end` takes the two in the other order.
        held = [*self._entries.values(), *self._aside.values()]
        return MAX_ALL_BYTES - sum(entry.session.num_bytes for entry in held)

    def _sweep_later(self) -> None:
        """Sessions end in time on a server that nobody visits, too."""
        if self._timer is None or not self._timer.is_alive():
            self._timer = threading.Timer(self._keep_s + 1, self._sweep_again)
            self._timer.daemon = True
            self._timer.start()

    def _sweep_again(self) -> None:
        with self._lock:
            self.sweep()
            self._timer = None
            if self._entries:
                self._sweep_later()


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()


STORE = SessionStore()  # of this process
