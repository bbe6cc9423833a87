from pathlib import Path

from PIL import Image

from tests.make_contact_sheets import write_contact_sheets


def test_two_sheets_of_all_grades(tmp_path: Path):
    plain, outlined = (Image.open(path) for path in write_contact_sheets(tmp_path, columns=1, size_px=96))
    assert plain.width == outlined.width
    assert outlined.height > plain.height > 5 * 184
