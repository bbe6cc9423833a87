"""The bench of kernels: hand-computed answers, one window after the other, and what a person may type."""

import numpy as np
import pytest

from lib.errors import UserError
from lib.explain.kernels import KERNELS, PatchSteps, busiest_patch, filter_image, grey, parse_kernel


def test_an_edge_gives_the_answer_of_its_own_sobel_kernel() -> None:
    image = np.zeros((5, 6))
    image[:, :3] = 1.0  # lighter on the left
    answers = {name: filter_image(image, kernel)[2, 2] for name, kernel in KERNELS.items() if kernel.is_signed}
    assert (answers["sobel_left"], answers["sobel_right"]) == (4.0, -4.0)  # 1 + 2 + 1
    assert (answers["sobel_top"], answers["sobel_bottom"]) == (0.0, 0.0)
    assert answers["outline"] == 8 - 5  # five of the eight neighbours are light
    np.testing.assert_allclose(filter_image(image, KERNELS["blur"])[2], [1, 1, 2 / 3, 1 / 3, 0, 0])


def test_even_areas_stay_as_they_are_or_vanish() -> None:
    for kernel in KERNELS.values():
        answer = filter_image(np.full((4, 4), 0.5), kernel)
        np.testing.assert_allclose(answer, 0.0 if kernel.is_signed else 0.5, atol=1e-12)


def test_a_patch_step_by_step() -> None:
    patch = np.arange(25.0).reshape(5, 5)
    steps = PatchSteps(patch, parse_kernel("0 0 0 0 1 0 0 0 -1"))
    assert steps.side == 3
    row, column, products = steps.window(4)
    assert (row, column) == (1, 1)
    assert (products[1, 1], products[2, 2]) == (12.0, -18.0)
    np.testing.assert_array_equal(steps.convolved, np.full((3, 3), -6.0))
    np.testing.assert_array_equal(steps.rectified, np.zeros((3, 3)))
    assert PatchSteps(patch, parse_kernel("0 0 0 0 1 0 0 0 0")).pooled.tolist() == [[12.0]]  # of 6, 7, 11, 12


def test_what_a_person_types() -> None:
    assert parse_kernel("blur") is KERNELS["blur"]
    own = parse_kernel("0, -1,0; -1 5 -1; 0 -1 0")
    assert own.weights == KERNELS["sharpen"].weights
    assert parse_kernel(own.text) == own
    for text in ("", "1 2 3", "a b c d e f g h i", "nan 0 0 0 0 0 0 0 0", "1e9 0 0 0 0 0 0 0 0"):
        with pytest.raises(UserError, match="nine numbers"):
            parse_kernel(text)


def test_the_busiest_patch_is_where_something_is() -> None:
    image = np.zeros((20, 20))
    image[10:14, 6:10] = np.indices((4, 4)).sum(0) % 2
    row, column = busiest_patch(image, 4)
    assert (row, column) == (10, 6)


def test_brightness_weighs_green_most() -> None:
    picture = np.zeros((1, 3, 3), dtype=np.uint8)
    picture[0, range(3), range(3)] = 255
    np.testing.assert_allclose(grey(picture)[0], [0.299, 0.587, 0.114])
