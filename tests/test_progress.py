import pytest

from lib.progress import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (47.6, "48 s"), (59.7, "1 min 00 s"),
        (200, "3 min 20 s"), (3661, "1 h 01 min"), (float("nan"), "unknown"),
    ],
)  # fmt: skip
def test_times_are_said_as_a_person_feels_them(seconds, words):
    assert duration(seconds) == words
