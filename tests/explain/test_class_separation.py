import numpy as np
import pytest

from lib.explain.class_separation import kept_neighbors, nearest_images, separation

LINE = np.array([[0.0], [1.0], [3.0], [7.0], [8.0]])


def test_the_nearest_come_first_and_nobody_is_its_own_neighbour():
    assert nearest_images(LINE, num=2).tolist() == [[1, 2], [0, 2], [1, 0], [4, 2], [3, 2]]
    assert nearest_images(LINE, num=10).shape == (5, 4)


def test_images_of_a_patient_are_no_neighbours():
    found = nearest_images(LINE, np.array(["a", "a", "", "b", "b"]), num=4)
    assert found[0].tolist() == [2, 3, 4, -1]
    assert found[3].tolist() == [2, 1, 0, -1]


@pytest.mark.parametrize("num_images", [0, 1])
def test_one_image_has_no_neighbours(num_images):
    neighbors = nearest_images(np.zeros((num_images, 3)))
    assert neighbors.shape == (num_images, 0)
    assert separation(neighbors, np.zeros(num_images, int), num_classes=2) is None


def test_images_that_are_all_alike_lie_as_by_chance_whatever_the_order_of_the_table():
    targets = np.repeat([0, 1], 200)
    found = separation(nearest_images(np.zeros((400, 2))), targets, num_classes=2)
    assert found.low < found.chance < found.high
    assert found.word == "mixed"


def test_purity_by_hand():
    # A class of two is asked for its one nearest: 0 and 1 have each other. Of two nearest, 2 has 1 and 0; 3 and 4 have
    # each other and 2.
    found = separation(nearest_images(LINE, num=2), np.array([0, 0, 1, 1, 1]), num_classes=2)
    assert found.by_class == (1.0, pytest.approx((0 + 1 + 1) / 3))
    assert found.purity == pytest.approx((1 + 1 + 0 + 1 + 1) / 5)
    assert found.chance == pytest.approx((2 * 1 / 4 + 3 * 2 / 4) / 5)
    assert found.apart == pytest.approx((0.8 - 0.4) / 0.6)
    assert found.num_neighbors == 2
    deviations = np.array([0.2, 0.2, -0.8, 0.2, 0.2])
    error = np.sqrt((deviations**2).sum() * 5 / 4) / 5
    assert found.low == pytest.approx(0.8 - 1.96 * error)


def test_classes_smaller_than_the_number_of_neighbours_can_be_pure():
    features = np.repeat([[0.0], [10.0], [20.0]], 4, axis=0) + np.tile([[0.0], [0.1], [0.2], [0.3]], (3, 1))
    found = separation(nearest_images(features), np.repeat([0, 1, 2], 4), num_classes=3)
    assert (found.purity, found.num_neighbors, found.word) == (1.0, 3, "apart")


def test_images_without_a_class_do_not_count():
    targets = np.array([0, 0, -1, 1, 1])
    found = separation(nearest_images(LINE, num=1), targets, num_classes=2, is_counted=targets >= 0)
    assert (found.purity, found.num_images) == (1.0, 4)


def test_patients_count_as_one_in_the_interval_and_not_in_the_chance():
    groups = np.array(["a", "a", "b", "b"])
    neighbors = nearest_images(np.array([[0.0], [0.1], [1.0], [1.1]]), groups, num=1)
    found = separation(neighbors, np.array([0, 1, 0, 1]), num_classes=2, groups=groups)
    assert found.chance == 0.5  # of the two images of the other patient, one is of its class
    # Rows 0 and 1 are next to 2 (class 0), rows 2 and 3 to 1 (class 1): right are 0 and 3, one of each patient.
    assert found.purity == 0.5
    assert (found.low, found.high) == (0.5, 0.5)


def test_excluded_images_count_neither_as_images_nor_as_neighbours():
    neighbors, targets = nearest_images(LINE, num=1), np.array([0, 1, 0, 1, 1])
    counted = np.array([True, False, True, True, True])
    found = separation(neighbors, targets, num_classes=2, is_counted=counted)
    assert found.num_images == 2  # rows 3 and 4: the nearest of 0 and 2 is excluded
    assert found.purity == 1
    assert separation(neighbors, targets, num_classes=2, is_counted=targets == 1) is None  # one class is left


def test_how_many_neighbours_a_picture_keeps():
    neighbors = nearest_images(LINE, num=1)
    assert kept_neighbors(neighbors, np.hstack([LINE, LINE])) == 1.0
    assert kept_neighbors(neighbors, np.zeros((5, 2))) is None
    turned = np.array([[0.0, 0], [5, 0], [9, 0], [0.1, 0], [4.9, 0]])
    assert kept_neighbors(neighbors, turned) == 0.2  # row 2 alone still has row 1 next to it
