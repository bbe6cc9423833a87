"""Generated images: deterministic, varied, and told apart by class."""

import numpy as np
import pytest

from lib.pretraining.families import FAMILIES, class_table, draw_image


def test_there_are_at_least_two_hundred_classes() -> None:
    assert len(class_table()) == sum(FAMILIES.get(name).num_classes for name in FAMILIES.names) >= 200


def test_a_share_keeps_every_family() -> None:
    assert {family for family, _ in class_table(0.05)} == set(FAMILIES.names)


@pytest.mark.parametrize("family", FAMILIES.names)
def test_an_image_depends_on_its_arguments_alone(family: str) -> None:
    image = draw_image(family, 1, 0, side=48)
    assert image.shape == (48, 48, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, draw_image(family, 1, 0, side=48))
    assert not np.array_equal(image, draw_image(family, 1, 1, side=48))
    assert not np.array_equal(image, draw_image(family, 1, 0, side=48, seed=1))


@pytest.mark.parametrize("family", FAMILIES.names)
def test_no_class_is_blank(family: str) -> None:
    spread = [draw_image(family, number, 3, side=48).std() for number in range(6)]
    assert np.median(spread) > 8
