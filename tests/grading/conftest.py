"""One tiny trained classifier for all tests of grading."""

import pytest

from tests.grading.squares import train_on_squares


@pytest.fixture(scope="session")
def trained():
    return train_on_squares()


@pytest.fixture
def grader(trained):
    from lib.grading.grader import Grader

    classifier, manifest, gate = trained
    return Grader(classifier, manifest, gate=gate, run="0123456789abcdef")
