"""The committed samples are those that the code draws, and each is what its name says."""

from tests.make_samples import SAMPLES_FOLDER, write_samples


def test_a_dozen_samples_of_every_kind_are_small():
    names = sorted(path.name for path in SAMPLES_FOLDER.iterdir())
    assert len(names) == 12
    assert [name[10] for name in names if name[10].isdigit()] == list("01234")
    assert sum(path.stat().st_size for path in SAMPLES_FOLDER.iterdir()) < 600_000


def test_they_are_made_deterministically(tmp_path):
    write_samples(tmp_path / "one")
    write_samples(tmp_path / "two")
    made = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert made == {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()}
    assert made.keys() == {path.name for path in SAMPLES_FOLDER.iterdir()}
