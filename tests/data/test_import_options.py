from pathlib import Path

import pytest

from lib.data.import_options import estimate_import
from tests.data.folders import write_classes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_classes(tmp_path / "my pets", {"cat": 5, "dog": 4})


def test_estimate_is_an_upper_bound_for_the_disk(folder: Path):
    estimate = estimate_import(folder)
    assert estimate.num_files == 9
    assert estimate.store_mib == pytest.approx(9 * 384 * 384 * 3 / 2**20)
    assert 0 < estimate.seconds < 60
