"""The committed samples are those that the code draws, and each is what its name says."""

import pytest

from lib.data.builtin import CAT, SAMPLES_FOLDER, drawn_samples, photographs
from lib.data.images import decode_bytes
from tests.make_samples import write_samples


def test_a_dozen_samples_of_every_kind_are_small():
    names = sorted(path.name for path in SAMPLES_FOLDER.iterdir())
    assert len(names) == 12
    assert [name[10] for name in names if name[10].isdigit()] == list("01234")
    assert sum(path.stat().st_size for path in SAMPLES_FOLDER.iterdir()) < 600_000


@pytest.mark.slow
def test_they_are_made_deterministically(tmp_path):
    write_samples(tmp_path / "one")
    write_samples(tmp_path / "two")
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert made.keys() == {path.name for path in SAMPLES_FOLDER.iterdir()}


def test_the_photographs_say_whose_they_are_and_all_can_be_read():
    found = photographs()
    assert (found[0].name, found[0].label) == (CAT, "Cat (Stefan van der Walt, CC0)")
    assert len(found) == 9
    assert all(sample.credit.endswith((", CC0", ", public domain")) for sample in found)
    for sample in found:
        pixels = decode_bytes(sample.path.read_bytes(), side_px=64, crop_policy="center_square").pixels
        assert pixels.shape == (64, 64, 3)
    assert not {sample.name for sample in found} & {sample.name for sample in drawn_samples()}
