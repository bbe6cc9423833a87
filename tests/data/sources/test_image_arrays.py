import numpy as np
import pytest
from PIL import Image

from lib.data.sources.files import SourceEntry
from lib.data.sources.image_arrays import image_file, npz_rows, write_images
from lib.errors import Stopped


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_rows_of_an_archive_are_its_arrays(save, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"a_images": rng.integers(0, 255, (5, 7, 6, 3), dtype=np.uint8), "b": rng.random((2, 3))}
    save(tmp_path / "arrays.npz", **arrays)
    for name, expected in arrays.items():
        assert np.array_equal(np.stack(list(npz_rows(tmp_path / "arrays.npz", name))), expected)


def entries_of(folder, numbers):
    return [
        SourceEntry(image_file(folder, "train", n), ("train", f"{n:06d}.png"), class_name="a", split="train")
        for n in numbers
    ]


def test_pieces_hold_every_wanted_image_once(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.data.sources.image_arrays._PIECE", 2)
    pixels = np.random.default_rng(1).integers(0, 255, (9, 4, 4, 3), dtype=np.uint8)
    num_read = []

    def read(part):
        for row in pixels:
            num_read.append(part)
            yield row

    wanted = entries_of(tmp_path, [6, 0, 3, 4, 1])
    write_images(wanted, read, lambda *told: None)
    assert len(num_read) == 7  # none behind the last that is wanted
    for entry in wanted:
        assert np.array_equal(np.asarray(Image.open(entry.path)), pixels[int(entry.path.stem)])
    assert len(list(tmp_path.rglob("*.png"))) == 5
    assert list(tmp_path.rglob("*.half")) == []


def test_cancelled_writing_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr("lib.data.sources.image_arrays._PIECE", 1)
    pixels = np.zeros((4, 4, 4, 3), np.uint8)

    def stop(done, total, what):
        if done == 2:
            raise Stopped

    wanted = entries_of(tmp_path, range(4))
    with pytest.raises(Stopped):
        write_images(wanted, lambda part: iter(pixels), stop)
    assert len(list(tmp_path.rglob("*.png"))) == 2
    told = []
    write_images(wanted, lambda part: iter(pixels), lambda *facts: told.append(facts[:2]))
    assert told == [(1, 2), (2, 2)]
