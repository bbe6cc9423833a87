"""A concept against random directions, judged and kept, on a network where it is known what raises the score."""

import dataclasses

import numpy as np
import pytest

from lib.errors import UserError
from lib.explain.concepts import ConceptQuestion, measure_concepts
from tests.explain.concept_request import direction_request
from tests.moved_run import tuned_grader

ABOUT = {"run_id": "r", "run_label": "R", "dataset": "tiny", "dataset_title": "Tiny", "class_name": "a"}


@pytest.mark.slow
def test_the_test_says_so_is_kept_and_the_same_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    question = ConceptQuestion(direction_request(), "digest", ABOUT)
    seen = []
    test = measure_concepts(question, progress=lambda *said: seen.append(said))
    rows = {(row.concept, row.stage): row for row in test.rows}
    assert rows["a/<b>", "block5"].is_shown
    assert rows["a/<b>", "block5"].score.value == 1.0
    # A set of images that show nothing in common has a direction of its own all the same: the t-test falls for it.
    assert rows["noise", "block5"].separation.low < 0.5
    assert not rows["noise", "block5"].is_shown
    assert rows["a/<b>", "block5"].p_value < 0.05
    assert (test.concepts, test.stages) == (("a/<b>", "noise"), ("block4", "block5"))
    assert all(done <= total for done, total, _ in seen)
    assert seen[-1][0] == seen[-1][1]
    question.path.unlink()
    assert measure_concepts(question).to_dict() == test.to_dict()
    monkeypatch.setattr("lib.explain.concepts.score_directions", None)  # would fail
    assert measure_concepts(question).to_dict() == test.to_dict()
    other = ConceptQuestion(dataclasses.replace(direction_request(), target=1), "digest", ABOUT)
    assert other.path != question.path


def test_what_cannot_be_tested_is_one_sentence() -> None:
    with pytest.raises(UserError, match="No image of that class is left to ask"):
        measure_concepts(ConceptQuestion(direction_request(images=np.empty((0, 32, 32, 3), np.uint8)), "digest", ABOUT))
    neighbours = tuned_grader().classifier
    neighbours.head_options = {**neighbours.head_options, "name": "nearest_neighbors"}
    with pytest.raises(UserError, match="passes no gradient to the image"):
        measure_concepts(ConceptQuestion(direction_request(classifier=neighbours), "digest", ABOUT))
