import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data.fundus.generation import CLASS_FOLDERS, Spoiling, generate, plan_files
from lib.data.fundus.geometry import choose_eye
from lib.data.fundus.photograph import UNGRADABLE_KINDS
from lib.data.fundus.vessels import grow_vessels
from lib.errors import Stopped, UserError


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
    generate(tmp_path, per_class=2, size_px=64, seed=3, progress=lambda *facts: seen.append(facts))
    assert seen[-1] == (10, 10, "drawing fundus photographs")
    rows = _rows(tmp_path)
    assert list(rows[0]) == ["path", "patient", "laterality", "mask_path", "flags"]
    assert len(rows) == 10
    assert len({row["patient"] for row in rows}) == 5
    assert Counter(row["path"].split("/")[0] for row in rows) == dict.fromkeys(CLASS_FOLDERS, 2)
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


@pytest.mark.parametrize("num_children", [0, 2])
def test_ungradable_images_are_flagged(tmp_path: Path, num_children: int):
    spoiling = Spoiling(1.0, ("blurred", "covered by haze"))
    generate(tmp_path, per_class=2, size_px=64, spoiling=spoiling, num_children=num_children)
    flags = Counter(row["flags"] for row in _rows(tmp_path))
    assert flags == {"ungradable: blurred": 5, "ungradable: covered by haze": 5}


def test_the_share_of_ungradable_images_is_exact_and_tells_nothing_of_the_grade():
    files = plan_files(per_class=200, seed=0)
    assert Counter(file.ungradable for file in files) == {"": 960, **dict.fromkeys(UNGRADABLE_KINDS, 10)}
    spoiled = Counter(file.case.grade for file in files if file.ungradable)
    assert len(spoiled) == 5
    assert max(spoiled.values()) <= 16  # of 40 over five grades: 8 expected, deviation 2.5
    hundred_each = plan_files(per_class=80, seed=0, spoiling=Spoiling(share=1.0))
    assert Counter(file.ungradable for file in hundred_each) == dict.fromkeys(UNGRADABLE_KINDS, 100)
    assert not any(file.ungradable for file in plan_files(per_class=5, seed=0, spoiling=Spoiling(share=0.0)))


def test_the_gradable_images_do_not_depend_on_the_ungradable_ones(tmp_path: Path):
    for name, share in (("none", 0.0), ("some", 0.4)):
        generate(tmp_path / name, per_class=1, size_px=64, seed=3, spoiling=Spoiling(share))
    rows = _rows(tmp_path / "some")
    assert sum(bool(row["flags"]) for row in rows) == 2
    for row in rows:
        same = (tmp_path / "none" / row["path"]).read_bytes() == (tmp_path / "some" / row["path"]).read_bytes()
        assert same != bool(row["flags"])
        assert (tmp_path / "none" / row["mask_path"]).read_bytes() == (
            tmp_path / "some" / row["mask_path"]
        ).read_bytes()


@pytest.mark.parametrize(
    ("share", "kinds"), [(1.2, UNGRADABLE_KINDS), (-0.1, UNGRADABLE_KINDS), (0.5, ("foggy",)), (0.5, ())]
)
def test_a_share_or_kind_that_cannot_be_is_refused(share: float, kinds: tuple[str, ...]):
    with pytest.raises(UserError, match=r"must be 0 to 1, not|covered by haze, not"):
        Spoiling(share, kinds)


def test_sets_of_different_seeds_share_no_eye():
    """Vessels tell eyes apart: no two eyes of three sets have a trunk, disc and fovea in common."""
    seen = set()
    for seed in (0, 1, 2**32):
        for file in plan_files(per_class=4, seed=seed):
            case = file.case
            eye = choose_eye(case.shared_rng("anatomy"), case.rng("view"), is_right=case.is_right)
            trunk = grow_vessels(eye, case.rng("vessels"))[0]
            seen |= {(eye.disc_radius, case.is_right), eye.fovea, trunk.points.tobytes()}
    assert len(seen) == 3 * 3 * 20


def test_the_same_patient_of_another_seed_is_another_picture(tmp_path: Path):
    for seed in (0, 1):
        generate(tmp_path / str(seed), per_class=2, size_px=64, seed=seed)
    first, second = ({path.read_bytes() for path in (tmp_path / seed).glob("[0-9]_*/*.jpg")} for seed in ("0", "1"))
    assert len(first) == len(second) == 10
    assert not first & second
