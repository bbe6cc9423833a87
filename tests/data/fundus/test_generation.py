import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.fundus.generation import CLASS_FOLDERS, generate, plan_files
from lib.errors import Stopped


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metadata.csv").open(encoding="utf-8") as opened:
        return list(csv.DictReader(opened))


def test_grades_are_balanced_and_two_eyes_belong_to_a_patient():
    files = plan_files(per_class=200, seed=0)
    assert Counter(file.case.grade for file in files) == dict.fromkeys(range(5), 200)
    patients: dict[int, list] = {}
    for file in files:
        patients.setdefault(file.case.patient, []).append(file.case)
    assert len(patients) == 500
    assert all({case.is_right for case in eyes} == {True, False} for eyes in patients.values())
    differences = Counter(abs(first.grade - second.grade) for first, second in patients.values())
    assert differences == {0: 420, 1: 80}
    assert len({file.path for file in files}) == 1000
    assert Counter(file.case.grade for file in plan_files(per_class=5, seed=0)) == dict.fromkeys(range(5), 5)


def test_generate_writes_images_masks_and_a_table(tmp_path: Path):
    seen = []
    generate(tmp_path, per_class=4, size_px=64, seed=3, progress=lambda *facts: seen.append(facts))
    assert seen[-1] == (20, 20, "drawing fundus photographs")
    rows = _rows(tmp_path)
    assert list(rows[0]) == ["path", "patient", "laterality", "mask_path", "flags"]
    assert len(rows) == 20
    assert len({row["patient"] for row in rows}) == 10
    assert Counter(row["path"].split("/")[0] for row in rows) == dict.fromkeys(CLASS_FOLDERS, 4)
    for row in rows:
        image, mask = Image.open(tmp_path / row["path"]), Image.open(tmp_path / row["mask_path"])
        assert image.size == mask.size
        assert min(64, *image.size) <= 64
        assert row["laterality"] in row["path"]
        assert np.asarray(mask).any() == (row["path"][0] != "0")


def test_the_number_of_processes_does_not_change_the_files(tmp_path: Path):
    for name, num_children in (("alone", 0), ("two", 2)):
        generate(tmp_path / name, per_class=1, size_px=64, seed=3, num_children=num_children)
    written = sorted(path for path in (tmp_path / "alone").rglob("*") if path.is_file())
    assert len(written) == 11
    for path in written:
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "alone")).read_bytes()


@pytest.mark.parametrize("num_children", [0, 1])
def test_stopping_ends_the_drawing(tmp_path: Path, num_children: int):
    def stop(done: int, total: int, what: str) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        generate(tmp_path, per_class=4, size_px=64, num_children=num_children, progress=stop)
    assert not (tmp_path / "metadata.csv").exists()


def test_ungradable_images_are_flagged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from lib.data.fundus import generation

    draw = generation.draw_photograph
    monkeypatch.setattr(generation, "draw_photograph", lambda *a, **k: draw(*a, **k, is_ungradable=True))
    generate(tmp_path, per_class=1, size_px=64)
    assert all(row["flags"].startswith("ungradable: ") for row in _rows(tmp_path))
