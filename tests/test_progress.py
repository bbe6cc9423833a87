import pytest

from lib.progress import InBytes, amount_words, duration, size_words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"), (9.94, "9.9 s"), (9.96, "10 s"), (47.6, "48 s"), (59.7, "1 min 00 s"),
        (200, "3 min 20 s"), (3661, "1 h 01 min"), (float("nan"), "unknown"),
    ],
)  # fmt: skip
def test_times_are_said_as_a_person_feels_them(seconds, words):
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("num_bytes", "words"),
    [(12, "12 bytes"), (1536, "1.5 KiB"), (340 * 2**20, "340 MiB"), (4_996_278_331, "4.7 GiB"), (2**31, "2.0 GiB")],
)
def test_sizes_are_said_as_a_person_reads_them(num_bytes, words):
    assert size_words(num_bytes) == words


def test_bytes_are_told_as_sizes_and_all_else_as_numbers():
    assert amount_words(344_862_509, InBytes("Downloading a.tgz")) == "329 MiB"
    assert amount_words(4_000, "decoding") == "4,000"
    assert InBytes("x") == "x"
