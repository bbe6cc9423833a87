"""A flipped bit is noticed where it is first read, and made good where that is possible."""

import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from lib.checked_rows import ROWS_PER_BLOCK, BlockSums, CheckedRows, block_sums
from lib.errors import UserError

NUM_ROWS = 3 * ROWS_PER_BLOCK + 7


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (NUM_ROWS, 4, 3), dtype=np.uint8)


@pytest.fixture
def path(tmp_path: Path, values: np.ndarray) -> Path:
    target = tmp_path / "rows.bin"
    target.write_bytes(values.tobytes())
    return target


def mapped(path: Path, values: np.ndarray, **options) -> CheckedRows:
    rows = np.memmap(path, dtype=np.uint8, mode="r", shape=values.shape)
    return CheckedRows(rows, block_sums(values), name="the test rows", path=path, **options)


def flip(path: Path, row: int, row_bytes: int = 12) -> None:
    with path.open("rb+") as opened:
        opened.seek(row * row_bytes + 5)
        byte = opened.read(1)[0]
        opened.seek(row * row_bytes + 5)
        opened.write(bytes([byte ^ 16]))


def test_sums_do_not_depend_on_the_batches(values):
    sums = BlockSums()
    for start, stop in ((0, 1), (1, 60), (60, 150), (150, NUM_ROWS)):
        sums.add(values[start:stop])
    assert sums.sums == block_sums(values)
    assert len(sums.sums) == 4
    with pytest.raises(UserError, match="do not belong to it: 4 for 6 rows"):
        CheckedRows(values[:6], sums.sums, name="six", path=Path("six"))


KEYS = [
    0, -1, np.int64(70), slice(None), slice(60, 130), slice(None, None, -50), slice(5, 5), [1, 100, 1],
    np.array([-1, 3]), np.arange(NUM_ROWS) % 90 == 0, np.array([[1, 2], [80, 198]]), (70, 2),
    (slice(0, 70), 1, slice(0, 2)), ([3, 150], ..., 0), ..., None, np.array([], dtype=np.int64),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
@pytest.mark.parametrize("damaged", [None, 100])
def test_indexing_gives_what_an_array_gives(path, values, key, damaged, monkeypatch):
    """Also where the damaged rows can be made anew in memory only."""
    rows = mapped(path, values, remake=lambda wanted: values[wanted.start : wanted.stop])
    if damaged is not None:
        flip(path, damaged)
        monkeypatch.setattr(CheckedRows, "_write", read_only)
    assert np.array_equal(rows[key], values[key])
    assert np.asarray(rows[key]).dtype == values.dtype


def read_only(*arguments) -> None:
    raise OSError(30, "Read-only file system")


def test_it_looks_like_an_array(path, values):
    rows = mapped(path, values)
    assert (rows.shape, rows.ndim, rows.dtype, rows.nbytes, len(rows)) == ((199, 4, 3), 3, np.uint8, 2388, 199)
    assert np.array_equal(np.asarray(rows), values)
    assert np.array_equal(np.array(rows, dtype=np.float32), values.astype(np.float32))
    assert np.array_equal(np.stack(list(rows)), values)
    assert "4 blocks checked" in repr(rows)
    for wrong in (NUM_ROWS, -NUM_ROWS - 1, [500]):
        with pytest.raises(IndexError):
            rows[wrong]
    with pytest.raises(ValueError, match="read-only"):
        rows[0][:] = 1


@pytest.mark.parametrize("key", [100, slice(90, 110), [100], np.arange(NUM_ROWS) == 100, ..., (100, 0)], ids=str)
def test_every_way_of_reading_notices_a_flipped_bit(path, values, key):
    flip(path, 100)
    rows = mapped(path, values)
    assert np.array_equal(rows[0], values[0])  # other blocks are as they were
    with pytest.raises(UserError, match=r"rows 64 to 127 of the test rows .* are damaged on the disk"):
        rows[key]
    with pytest.raises(UserError, match="damaged"):
        rows[127]  # asked again, it is still damaged


def test_a_block_is_made_anew_once_for_all(path, values, caplog):
    flip(path, 64)
    made = []

    def remake(rows: range) -> np.ndarray:
        made.append(rows)
        return values[rows.start : rows.stop]

    one, other = (mapped(path, values, remake=remake) for _ in range(2))
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(one[:], values)
    assert np.array_equal(other[:], values)
    assert made == [range(64, 128)]
    assert path.read_bytes() == values.tobytes()
    assert "rows 64 to 127 of the test rows" in caplog.text
    assert "made anew" in caplog.text


def test_what_comes_out_otherwise_is_refused(path, values):
    flip(path, 10)

    def wrong(rows: range) -> np.ndarray:
        return values[rows.start : rows.stop] + 1

    def gone(rows: range) -> np.ndarray:
        raise UserError("Its original a.png is no longer there.")

    with pytest.raises(UserError, match="cannot be made anew as they were"):
        mapped(path, values, remake=wrong)[0]
    with pytest.raises(UserError, match=r"damaged on the disk. Its original a.png is no longer there"):
        mapped(path, values, remake=gone)[0]


def test_a_disk_that_cannot_be_written_costs_only_the_next_reader(path, values, caplog, monkeypatch):
    flip(path, 10)
    monkeypatch.setattr(CheckedRows, "_write", read_only)
    rows = mapped(path, values, remake=lambda wanted: values[wanted.start : wanted.stop])
    assert np.array_equal(rows[:], values)
    assert "not on the disk" in caplog.text
    assert path.read_bytes() != values.tobytes()


def test_threads_share_one_check(path, values, monkeypatch):
    flip(path, 70)
    made, wrong = [], []

    def remake(rows: range) -> np.ndarray:
        made.append(rows)
        return values[rows.start : rows.stop]

    rows = mapped(path, values, remake=remake)

    def read(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(NUM_ROWS)
        wrong.extend(row for row in order if not np.array_equal(rows[row], values[row]))

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, wrong) == ([range(64, 128)], [])


def test_rows_without_checksums_are_read_as_they_are(path, values):
    flip(path, 0)
    rows = np.memmap(path, dtype=np.uint8, mode="r", shape=values.shape)
    assert len(CheckedRows(rows, None, name="old", path=path)[:]) == NUM_ROWS
