"""What a person chose on the board for all times to come: columns and order, in a small file of the home."""

from contextlib import suppress

from lib.atomic import read_json_or_empty, write_json
from lib.settings import home

CHOICES_FILE = "board.json"
KEYS = ("columns", "sort")


def read_choices() -> dict[str, str]:
    """The kept choices by key; nothing where there are none, or none that can be read."""
    content = read_json_or_empty(home() / CHOICES_FILE)
    return {key: value for key in KEYS if isinstance(value := content.get(key), str) and value}


def keep_choice(key: str, value: str | None) -> None:
    """Keep a choice, or forget it; a home that cannot be written to keeps none, and the link still has it."""
    content = {**read_choices(), key: value or ""}
    with suppress(OSError):
        write_json(home() / CHOICES_FILE, {key: text for key, text in content.items() if text})
