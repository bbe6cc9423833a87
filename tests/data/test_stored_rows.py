"""Rows of an import that was ended from outside: which are kept, which are not believed, and in which order they go on.

tests/data/test_interrupted.py has the same by way of whole imports.
"""

import hashlib
import zlib
from pathlib import Path

import numpy as np
import pytest

from lib.checked_rows import ROWS_PER_BLOCK
from lib.data.images import DecodedImage
from lib.data.stored_rows import RowSums, StoredFile, StoredRows, kept_in, stamp_of
from lib.errors import BadImage

SHAPE = (2, 2, 3)
SETTINGS = {"side_px": 2, "crop": ("a", 1)}
NUM = 3 * ROWS_PER_BLOCK + 6


def keys(number: int = NUM) -> list[str]:
    return [f"{place:03d}.png" for place in range(number)]


def row_of(key: str) -> np.ndarray:
    return np.random.default_rng(list(key.encode())).integers(0, 256, SHAPE, dtype=np.uint8)


def file_of(key: str, bad: str = "") -> StoredFile:
    return StoredFile(key, (1, 2, 3), "" if bad else hashlib.sha256(key.encode()).hexdigest(), 4, 5, bad=bad)


def write(
    folder: Path, order: list[str], *, stop_at: int | None = None, bad: tuple[str, ...] = ()
) -> tuple[list[str], RowSums | None]:
    """Store the rows of an order as an import does, up to the file `stop_at`; which had to be decoded, and the sums."""
    decoded: list[str] = []
    with StoredRows(folder, SETTINGS, SHAPE) as rows:
        rows.begin(order)
        for key in order[rows.num_in_place : stop_at]:
            if (kept := rows.stored(key)) is None:
                decoded.append(key)
                kept = file_of(key, "torn" if key in bad else ""), None if key in bad else row_of(key)
            rows.put(*kept)
        return decoded, None if stop_at else rows.finish()


def content(folder: Path) -> np.ndarray:
    (path,) = folder.glob("part-*.bin")
    return np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, *SHAPE)


def test_sums_are_those_of_the_file_and_of_its_blocks(tmp_path: Path):
    decoded, sums = write(tmp_path, keys())
    data = np.stack([row_of(key) for key in keys()])
    assert decoded == keys()
    assert np.array_equal(content(tmp_path), data)
    blocks = [data[first : first + ROWS_PER_BLOCK].tobytes() for first in range(0, NUM, ROWS_PER_BLOCK)]
    assert sums == RowSums(hashlib.sha256(data.tobytes()).hexdigest(), [zlib.crc32(block) for block in blocks])
    assert write(tmp_path, keys()) == ([], sums)  # as after an import that ended behind its last image


def test_bad_files_count_without_a_row_also_as_the_last_of_all(tmp_path: Path):
    order, bad = keys(2 * ROWS_PER_BLOCK + 3), ("005.png", *keys(2 * ROWS_PER_BLOCK + 3)[-2:])
    _, sums = write(tmp_path, order, bad=bad)
    assert sums and len(sums.block_sums) == 2
    assert len(content(tmp_path)) == len(order) - 3 == 2 * ROWS_PER_BLOCK
    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        rows.begin(order)
        assert (rows.num_in_place, rows.num_rows) == (len(order), 2 * ROWS_PER_BLOCK)
        assert rows.kept["005.png"] == file_of("005.png", "torn")
        assert rows.finish() == sums
    assert kept_in(tmp_path) == len(order)


def test_whole_blocks_are_in_place_and_a_begun_one_is_not(tmp_path: Path):
    write(tmp_path, keys(), stop_at=NUM - 1)
    said: list[tuple[int, int]] = []
    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        rows.begin(keys(), progress=lambda done, total, what: said.append((done, total)))
        assert rows.num_in_place == 3 * ROWS_PER_BLOCK
    assert said == [(count * ROWS_PER_BLOCK, NUM) for count in (1, 2, 3)]
    assert write(tmp_path, keys())[0] == keys()[3 * ROWS_PER_BLOCK :]


def test_another_order_copies_the_rows_into_a_part_of_their_own(tmp_path: Path):
    write(tmp_path, keys())
    order = ["new.png", *reversed(keys())]
    decoded, sums = write(tmp_path, order)
    assert decoded == ["new.png"]
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["part-001.bin", "part-001.journal"]
    data = np.stack([row_of(key) for key in order])
    assert np.array_equal(content(tmp_path), data)
    assert sums and sums.sha256 == hashlib.sha256(data.tobytes()).hexdigest()


def test_what_the_caller_no_longer_keeps_is_decoded_again(tmp_path: Path):
    write(tmp_path, keys())
    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        del rows.kept["070.png"]  # as of a file that changed
        rows.begin(keys())
        assert rows.num_in_place == 0  # the blocks behind are worth a copy
        assert rows.stored("070.png") is None
        file, row = rows.stored("150.png") or (None, None)
        assert file == file_of("150.png")
        assert np.array_equal(row, row_of("150.png"))
        rows.drop_others()  # as where there is no room for two parts
        assert (rows.kept, rows.stored("150.png")) == ({}, None)
    assert not (tmp_path / "part-000.bin").exists()


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ("first row", slice(0, 64)),
        ("a row", slice(64, 128)),
        ("end of rows", slice(64, None)),
        ("line", slice(192, None)),
    ],
)
def test_what_a_failing_disk_tore_costs_its_blocks_alone(tmp_path: Path, damage: str, lost: slice):
    write(tmp_path, keys())
    path = tmp_path / ("part-000.journal" if damage == "line" else "part-000.bin")
    data = bytearray(path.read_bytes())
    if damage in ("first row", "a row"):
        data[5 if damage == "first row" else 70 * 12] ^= 1
    path.write_bytes(data[: 100 * 12] if damage == "end of rows" else data[:-20] if damage == "line" else data)
    decoded, _ = write(tmp_path, keys())
    assert decoded == keys()[lost]
    assert np.array_equal(content(tmp_path), np.stack([row_of(key) for key in keys()]))


@pytest.mark.parametrize("damage", ["settings", "no journal", "no line"])
def test_a_part_of_something_else_is_let_go(tmp_path: Path, damage: str):
    write(tmp_path, keys())
    journal = tmp_path / "part-000.journal"
    if damage == "no journal":
        journal.unlink()
    elif damage == "no line":
        journal.write_bytes(journal.read_bytes()[:30])
    settings = {**SETTINGS, "side_px": 3} if damage == "settings" else SETTINGS
    with StoredRows(tmp_path, settings, SHAPE) as rows:
        assert rows.kept == {}
    assert [*tmp_path.iterdir()] == []


def test_a_disk_that_fails_in_the_background_is_told_at_a_later_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        rows.begin(keys())
        monkeypatch.setattr("lib.data.stored_rows.os.fsync", full)
        with pytest.raises(OSError, match="No space left"):
            for key in keys():
                rows.put(file_of(key), row_of(key))
            rows.finish()
    assert kept_in(tmp_path) == 0  # no line was written before its pixels were safe


def test_what_is_kept_of_a_file_outlives_the_journal(tmp_path: Path):
    image = DecodedImage(np.zeros(SHAPE, np.uint8), 40, 30, (-1, 0, 39, 30), ("a notice",), "ab" * 32, "left")
    files = [StoredFile.of("x", (1, 2, 3), image), StoredFile.of("y", (0, 0, 0), BadImage("It is cut off."))]
    assert (files[1].bad, files[1].sha256) == ("It is cut off.", "")
    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        rows.begin(["x", "y"])
        rows.put(files[0], image.pixels)
        rows.put(files[1], None)
        rows.finish()
    with StoredRows(tmp_path, SETTINGS, SHAPE) as rows:
        assert list(rows.kept.values()) == files


def test_a_stamp_tells_a_changed_file_and_one_that_is_gone(tmp_path: Path):
    path = tmp_path / "a.png"
    path.write_bytes(b"one")
    before = stamp_of(path)
    assert before[0] == 3
    assert stamp_of(path) == before
    path.write_bytes(b"three")
    assert stamp_of(path) != before
    assert stamp_of(tmp_path / "gone.png") == (0, 0, 0)
