"""Hand-made measures answer to what they are named after, on drawn retinas."""

import numpy as np
import pytest

from lib.data.retina_measures import FEATURE_NAMES, measure_fundus, trace_fundus

SIDE = 160


def _retina(seed: int = 0) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = np.hypot(rows - SIDE / 2, columns - SIDE / 2) < SIDE * 0.48
    image = np.array([0.7, 0.4, 0.2]) + np.random.default_rng(seed).normal(0, 0.004, (SIDE, SIDE, 1))
    image = image * inside[..., None]
    disc = np.hypot(rows - SIDE / 2, columns - 40) < 10
    image[disc] = (0.95, 0.85, 0.6)
    return image.astype(np.float32)


def _with_dots(image: np.ndarray, colour: tuple[float, float, float], radius: float = 2.0) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    changed = image.copy()
    for row in (50, 70, 100, 115):
        for column in (70, 90, 110):
            changed[np.hypot(rows - row, columns - column) < radius] = colour
    return changed


def _measures(image: np.ndarray) -> dict[str, float]:
    return dict(zip(FEATURE_NAMES, measure_fundus(image).tolist(), strict=True))


def _count(measures: dict[str, float], kind: str) -> float:
    return float(np.expm1(measures[f"{kind}_dots_count"]) + np.expm1(measures[f"{kind}_blots_count"]))


@pytest.fixture(scope="module")
def plain() -> dict[str, float]:
    return _measures(_retina())


def test_measures_are_finite_and_repeat(plain: dict[str, float]) -> None:
    assert _measures(_retina()) == plain
    assert np.isfinite(list(plain.values())).all()


def test_dark_dots_are_counted_as_red_lesions_alone(plain: dict[str, float]) -> None:
    dotted = _measures(_with_dots(_retina(), (0.35, 0.12, 0.1)))
    assert _count(plain, "red") < 3
    assert _count(dotted, "red") == pytest.approx(12, abs=2)
    assert dotted["red_medium_total"] > 2 * plain["red_medium_total"]
    assert _count(dotted, "bright") <= _count(plain, "bright") + 2


def test_bright_dots_are_counted_as_bright_lesions_alone(plain: dict[str, float]) -> None:
    dotted = _measures(_with_dots(_retina(), (0.95, 0.85, 0.4)))
    assert _count(dotted, "bright") >= _count(plain, "bright") + 9
    assert _count(dotted, "red") <= _count(plain, "red") + 2


def test_a_vessel_raises_the_vessel_area_and_is_no_dots(plain: dict[str, float]) -> None:
    image = _retina()
    image[78:81, 20:140] *= np.array([0.6, 0.45, 0.6], np.float32)
    with_vessel = _measures(image)
    assert with_vessel["vessel_area"] > plain["vessel_area"] + 10
    assert _count(with_vessel, "red") <= _count(plain, "red") + 5  # pieces at its ends; the 12 dots above count


def test_a_black_image_is_measured_like_any_other() -> None:
    assert np.isfinite(measure_fundus(np.zeros((64, 64, 3), np.float32))).all()


def test_the_pictures_on_the_way_show_what_was_drawn() -> None:
    image = _with_dots(_retina(), (0.35, 0.12, 0.1))
    trace = trace_fundus(image)
    assert trace.measures.tolist() == measure_fundus(image).tolist()
    assert trace.red[50, 70]
    assert not trace.red[60, 70]
    assert not trace.bright[50, 70]
    assert trace.disc[80, 40]
    assert not trace.disc[80, 120]
    assert trace.retina[80, 80]
    assert not trace.retina[2, 2]
    assert {part.shape for part in (trace.vessels, trace.enhanced, trace.relative)} == {(SIDE, SIDE)}
