"""Which of a classifier's classes those of another data set are, in whatever order its folders stand."""

import numpy as np
import pytest

from lib.errors import UserError
from lib.grading.class_mapping import map_classes, mapping_text
from tests.features.tiny_dataset import TinyDataset

GRADES = ("No DR", "Mild", "Moderate", "Severe", "Proliferative")
ALPHABET = ("mild", "moderate", "no_dr", "proliferative", "severe")


def test_grades_are_matched_by_grade_whatever_they_are_called():
    dataset = TinyDataset(num_images=5, num_classes=5, names=ALPHABET)
    assert map_classes("eyes", ALPHABET, GRADES).targets(dataset).tolist() == [1, 2, 0, 4, 3]
    with pytest.raises(UserError, match=r"the class 'mild', which the classifier does not know \(it knows a, b\)"):
        map_classes("eyes", ALPHABET, ("a", "b"))


def test_a_mapping_goes_by_name_and_never_by_the_place_of_a_folder():
    # Folders stand in alphabetical order, the classifier's classes do not.
    found = map_classes("pets", ("bird", "kitten", "puppy"), ("dog", "cat"), "puppy=dog, kitten=cat ,bird=-")
    assert found.numbers == (-1, 1, 0)
    assert (found.class_names, found.merged) == (("dog", "cat"), ())
    # Classes that match by themselves need not be said.
    assert map_classes("pets", ("cat", "puppy"), ("dog", "cat"), "puppy=dog").numbers == (1, 0)
    assert mapping_text({"puppy": "dog", "bird": "-"}) == "puppy=dog,bird=-"


def test_numbers_are_those_of_the_classifier():
    assert map_classes("five", tuple("abcde"), ("no", "yes"), "0,0,1,1,-").numbers == (0, 0, 1, 1, -1)


def test_a_comma_or_an_equals_sign_in_the_name_of_a_class_is_part_of_it():
    theirs = ("grade = 0", "a, b")
    assert map_classes("odd", theirs, ("x", "y"), "grade = 0=x,a, b=y").numbers == (0, 1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("puppy=dog", "leaves out the class 'kitten'"),
        ("puppy=wolf,kitten=cat", "gives 'puppy' the class 'wolf', which the classifier does not know"),
        ("wolf=dog,kitten=cat", "names the class 'wolf'; the data set has kitten, puppy"),
        ("puppy=dog,puppy=cat,kitten=cat", "names the class 'puppy' twice"),
        ("puppy=-,kitten=-", "leaves out every class"),
        ("0,2", "one number from 0 to 1 for each of the 2 classes"),
        ("0", "one number from 0 to 1 for each of the 2 classes"),
        ("nonsense", "or one of any_dr, referable, four_classes; received 'nonsense'"),
        ("referable", "for a classifier of the five grades or of Not referable, Referable"),
    ],
)
def test_a_mapping_that_does_not_fit_is_one_sentence(text, said):
    with pytest.raises(UserError, match=said) as caught:
        map_classes("pets", ("kitten", "puppy"), ("dog", "cat"), text)
    assert "\n" not in str(caught.value)


def test_a_target_map_merges_both_sides_and_adds_probabilities():
    found = map_classes("eyes", ALPHABET, GRADES, "referable", is_ordinal=True)
    assert found.class_names == ("Not referable", "Referable")
    assert found.numbers == (0, 1, 0, 1, 1)  # mild, moderate, no_dr, proliferative, severe
    assert (found.merged, found.is_ordinal) == ((0, 0, 1, 1, 1), False)
    shares = np.array([[0.3, 0.25, 0.2, 0.15, 0.1]])
    np.testing.assert_allclose(found.probabilities(shares), [[0.55, 0.45]])
    assert found.own_targets(np.array([0, 2, 4])).tolist() == [0, 1, 1]


def test_a_side_that_has_the_merged_classes_keeps_them():
    binary = ("Referable", "Not referable")
    found = map_classes("eyes", binary, GRADES, "referable", is_ordinal=True)
    assert (found.numbers, found.merged) == ((1, 0), (0, 0, 1, 1, 1))
    # The classifier was trained on merged classes, in another order than the table has.
    found = map_classes("eyes", ALPHABET, binary, "referable")
    assert (found.numbers, found.merged) == ((0, 1, 0, 1, 1), (1, 0))
    found = map_classes("eyes", ALPHABET, ("Not referable", "Referable"), "referable")
    assert found.merged == ()
    four = map_classes("messidor", ("R0", "R1", "R2", "R3"), GRADES, "four_classes", is_ordinal=True)
    assert (four.numbers, four.merged, four.is_ordinal) == ((0, 1, 2, 3), (0, 1, 2, 3, 3), True)
    with pytest.raises(UserError, match="not for the classes of 'pets'"):
        map_classes("pets", ("kitten", "puppy"), GRADES, "referable", is_ordinal=True)
