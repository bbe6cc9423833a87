"""Hand-made measures answer to what they are named after, on drawn retinas."""

import numpy as np
import pytest

from lib.data.retina_measures import MEASURE_NAMES, retina_mask, retina_measures

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


def _counts(measures: dict[str, float], kind: str) -> float:
    return sum(np.expm1(value) for name, value in measures.items() if name.startswith(f"{kind}_count"))


@pytest.fixture(scope="module")
def plain() -> dict[str, float]:
    return retina_measures(_retina())


def test_measures_have_their_names_in_order_and_repeat(plain: dict[str, float]) -> None:
    assert tuple(plain) == MEASURE_NAMES
    assert retina_measures(_retina()) == plain
    assert np.isfinite(list(plain.values())).all()


def test_dark_dots_are_counted_as_red_lesions_alone(plain: dict[str, float]) -> None:
    dotted = retina_measures(_with_dots(_retina(), (0.35, 0.12, 0.1)))
    assert _counts(plain, "red") < 3
    assert _counts(dotted, "red") == pytest.approx(12, abs=2)
    assert dotted["red_strongest"] > 2 * plain["red_strongest"]
    assert _counts(dotted, "bright") <= _counts(plain, "bright") + 2


def test_bright_dots_are_counted_as_bright_lesions_alone(plain: dict[str, float]) -> None:
    dotted = retina_measures(_with_dots(_retina(), (0.95, 0.85, 0.4)))
    assert _counts(dotted, "bright") >= _counts(plain, "bright") + 9
    assert _counts(dotted, "red") <= _counts(plain, "red") + 2


def test_a_vessel_raises_the_vessel_share_and_is_no_lesion(plain: dict[str, float]) -> None:
    image = _retina()
    image[78:81, 20:140] *= np.array([0.6, 0.45, 0.6], np.float32)
    with_vessel = retina_measures(image)
    assert with_vessel["vessel_share"] > plain["vessel_share"] + 0.01
    assert _counts(with_vessel, "red") <= _counts(plain, "red") + 5  # pieces at its ends; the 12 dots above count


def test_a_black_image_is_measured_like_any_other() -> None:
    assert retina_mask(np.zeros((64, 64, 3), np.float32)).all()
    assert np.isfinite(list(retina_measures(np.zeros((64, 64, 3), np.float32)).values())).all()
