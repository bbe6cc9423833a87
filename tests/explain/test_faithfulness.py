"""Removal curves, controls and agreement of maps: counts are exact, ties are random, a planted cause is found."""

import numpy as np
import pytest

from lib.explain.faithfulness import (
    SHARES,
    Faithfulness,
    control_maps,
    enlarge,
    faithfulness,
    imputed,
    localisation,
    mean_faithfulness,
    rank_correlation,
    ranked,
    removed,
    structural_similarity,
)

SIDE = 32


def blob(row: int = 8, column: int = 20, radius: float = 4.0) -> np.ndarray:
    rows, columns = np.mgrid[:SIDE, :SIDE]
    return (np.hypot(rows - row, columns - column) < radius).astype(float)


def planted() -> np.ndarray:
    """A grey image with one bright blob."""
    return np.repeat(0.2 + 0.8 * blob()[None], 3, axis=0)


def brightness_there(images: np.ndarray) -> np.ndarray:
    """A network that answers to the blob's place alone."""
    return images[:, 0][:, blob() > 0].mean(axis=1)


def test_a_map_with_many_zeros_loses_exactly_the_asked_share() -> None:
    values = np.zeros((10, 10))
    values.ravel()[:40] = np.arange(40) + 1  # 60 % are zero
    for share in (0.0, 0.1, 0.25, 0.4, 0.7, 1.0):
        assert removed(values, share).sum() == round(share * 100)
    assert removed(values, 0.4).ravel()[:40].all()
    # Ties go in random order: the zeros' first half is no block of rows, and the seed decides.
    extra = removed(values, 0.7).ravel()[40:]
    assert extra.sum() == 30
    assert not extra[:30].all()
    assert np.array_equal(removed(values, 0.7, seed=3), removed(values, 0.7, seed=3))
    assert not np.array_equal(removed(values, 0.7, seed=3), removed(values, 0.7, seed=4))
    assert ranked(values)[0] == 39


def test_the_cause_is_more_faithful_than_every_control() -> None:
    image = planted()
    found = faithfulness(image, blob(), brightness_there)
    controls = control_maps(image[0], (8, 8))
    assert set(controls) == {"edges", "middle", "random"}
    others = [faithfulness(image, values, brightness_there) for values in controls.values()]
    assert found.gain > max(other.gain for other in others)
    less = found.less(mean_faithfulness(others))
    assert less.deletion < 0 < less.insertion
    assert less.road > 0
    # An answer that never changes has flat curves: their areas are the answer itself.
    flat = faithfulness(image, blob(), lambda images: np.full(len(images), 0.3))
    assert (flat.deletion, flat.insertion, flat.road) == pytest.approx((0.3, 0.3, 0.0))
    assert Faithfulness(0.2, 0.8, 0.4).gain == pytest.approx(0.5)


def test_curves_begin_and_end_at_the_image_and_its_blur() -> None:
    seen: list[np.ndarray] = []

    def answers(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.zeros(len(images))

    image = planted().astype(np.float32)
    faithfulness(image, blob(), answers)
    (images,) = seen
    np.testing.assert_array_equal(images[0], image)
    np.testing.assert_array_equal(images[2 * len(SHARES) - 1], image)
    np.testing.assert_array_equal(images[len(SHARES) - 1], images[len(SHARES)])  # all blurred


def test_removed_cells_become_the_mean_of_their_neighbours() -> None:
    image = np.full((3, 20, 20), 0.5)
    mask = np.zeros((5, 5), dtype=bool)
    mask[1:3, 1:4] = True
    np.testing.assert_allclose(imputed(image, mask), image, atol=1e-9)  # an even image has nothing to lose
    stripes = np.repeat(np.linspace(0, 1, 5).repeat(4)[None, None], 20, axis=1).repeat(3, axis=0)
    alone = np.zeros((5, 5), dtype=bool)
    alone[2, 2] = True
    filled = imputed(stripes, alone)[:, 8:12, 8:12]
    np.testing.assert_allclose(filled, 0.5, atol=0.05)  # its neighbours' mean, with the noise
    assert np.array_equal(imputed(stripes, alone)[:, :8], stripes[:, :8])
    everything = imputed(stripes, np.ones((5, 5), dtype=bool))
    assert np.isfinite(everything).all()


def test_agreement_of_maps() -> None:
    first = np.random.default_rng(0).random((7, 7))
    assert rank_correlation(first, first**3) == pytest.approx(1.0)  # ranks alone count
    assert rank_correlation(first, -first) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(first, np.zeros((7, 7))))
    assert rank_correlation(first, enlarge(first, (28, 28))) > 0.8
    assert structural_similarity(first, 2 * first + 1) == pytest.approx(1.0)
    assert structural_similarity(first, np.random.default_rng(1).random((7, 7))) < 0.5
    assert np.isnan(structural_similarity(first[:2, :2], first[:2, :2]))


def test_a_planted_blob_is_pointed_at_and_chance_is_the_area() -> None:
    mask = blob() > 0
    found = localisation(blob(), mask)
    assert found is not None
    assert found.pointing
    assert (found.mass, found.iou) == pytest.approx((1.0, 1.0))
    assert found.area == pytest.approx(mask.mean())
    assert found.pointing_chance > found.area  # a hit counts within one cell
    assert found.iou_chance == pytest.approx(found.area / (2 - found.area))
    elsewhere = localisation(blob(row=26, column=6), mask)
    assert elsewhere is not None
    assert not elsewhere.pointing
    assert elsewhere.mass == 0
    even = localisation(np.ones((8, 8)), mask)
    assert even is not None
    assert even.mass == pytest.approx(found.area)
    assert localisation(np.zeros((4, 4)), mask) is None
    assert localisation(-blob(), mask) is None
    assert localisation(blob(), np.zeros((SIDE, SIDE), dtype=bool)) is None
