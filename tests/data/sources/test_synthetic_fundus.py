import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from lib.data.sources.synthetic_fundus import CLASS_FOLDERS, draw_fundus, generate


def _draw(grade: int, seed: int = 0) -> np.ndarray:
    return draw_fundus(grade, size_px=96, is_right=True, rng=np.random.default_rng(seed))


def test_draw_fundus_is_a_bright_disc_on_black():
    picture = _draw(0)
    assert picture.shape == (96, 96, 3)
    assert picture.dtype == np.uint8
    assert picture[0, 0].max() < 5
    assert picture[40:56, 30:60].mean() > 40


def test_same_seed_draws_the_same_pixels_and_another_seed_does_not():
    assert np.array_equal(_draw(3, seed=1), _draw(3, seed=1))
    assert not np.array_equal(_draw(3, seed=1), _draw(3, seed=2))


@pytest.mark.parametrize("grade", [1, 2, 3, 4])
def test_each_grade_shows_more_dark_red_or_bright_spots_than_none(grade: int):
    # Contrast of single pixels against their neighbourhood, the mean over eight eyes: lesions are small and sharp.
    def spots(of_grade: int) -> float:
        scores = []
        for seed in range(8):
            green = _draw(of_grade, seed)[..., 1].astype(float)
            inside = green[24:72, 24:60]
            smooth = gaussian_filter(inside, 4)
            scores.append(np.quantile(np.abs(inside - smooth) / (smooth + 5), 0.995))
        return float(np.mean(scores))

    assert spots(grade) > spots(0)


def test_generate_writes_balanced_grades_and_two_eyes_a_patient(tmp_path: Path):
    generate(tmp_path, per_class=4, size_px=64, seed=3)
    for folder in CLASS_FOLDERS:
        assert len(list((tmp_path / folder).glob("*.jpg"))) == 4
    with (tmp_path / "metadata.csv").open(encoding="utf-8") as opened:
        rows = list(csv.DictReader(opened))
    assert len(rows) == 20
    assert len({row["patient"] for row in rows}) == 10
    assert {row["laterality"] for row in rows} == {"left", "right"}
    assert Image.open(tmp_path / rows[0]["path"]).size == (64, 64)


def test_generate_twice_gives_the_same_bytes(tmp_path: Path):
    generate(tmp_path / "a", per_class=1, size_px=64, seed=3)
    generate(tmp_path / "b", per_class=1, size_px=64, seed=3)
    for path in sorted((tmp_path / "a").rglob("*.jpg")):
        assert path.read_bytes() == (tmp_path / "b" / path.relative_to(tmp_path / "a")).read_bytes()
