"""What the service allows: its token, how much it takes at once, and how often it may be asked."""

import secrets
from dataclasses import dataclass

from lib.errors import UserError
from lib.settings import MAX_FILE_BYTES, MAX_UPLOAD_FILES

TOKEN_VARIABLE = "TRANSFERSCOPE_SERVICE_TOKEN"  # noqa: S105  (the variable's name)
_MIN_TOKEN_LENGTH = 16
_FORM_BYTES = 2**16  # what a form adds to its files


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """Limits of one service.

    Attributes:
        token: whoever sends it may ask.
        max_file_bytes: of one image; `max_batch_bytes` of a batch or zip, as it is sent and as it unpacks.
        max_files: images of a batch.
        requests_per_minute: how many requests a minute, and how many at once after a rest.
        max_waiting: gradings that are received, wait or run; beyond that the service asks to try again later.
        upload_timeout_s: how long a request may take to arrive.
    """

    token: str
    max_file_bytes: int = MAX_FILE_BYTES
    max_batch_bytes: int = 4 * MAX_FILE_BYTES
    max_files: int = MAX_UPLOAD_FILES
    requests_per_minute: int = 300
    max_waiting: int = 8
    upload_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        is_sendable = self.token.isascii() and self.token.isprintable() and " " not in self.token
        if len(self.token) < _MIN_TOKEN_LENGTH or not is_sendable:
            raise UserError(
                f"A token has at least {_MIN_TOKEN_LENGTH} letters, digits or signs without blanks; give another one, "
                "or none, and one is made."
            )

    @property
    def max_image_request_bytes(self) -> int:
        """The largest body with one image."""
        return self.max_file_bytes + _FORM_BYTES

    @property
    def max_batch_request_bytes(self) -> int:
        """The largest body of a batch."""
        return self.max_batch_bytes + _FORM_BYTES


def new_token() -> str:
    """A token that nobody guesses: 256 random bits."""
    return secrets.token_urlsafe(32)
