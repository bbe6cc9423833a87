"""What the service's description promises: every status that an answer may have, and how a refusal looks."""

from typing import get_args

import pytest
from pydantic import ValidationError

from lib.evaluation.verdict import GRADED
from lib.grading.grades import STATUS_WORDS
from lib.service.answers import ImageAnswer, Problem, form_of_files, responses

IMAGE = {
    "name": "a.png", "status": GRADED, "reason": "", "class_name": "red", "target": 0, "confidence": 0.9,
    "probabilities": {"red": 0.9, "blue": 0.1}, "prediction_set": ["red"], "coverage": None,
    "is_coverage_out_of_fold": False, "set_caveats": [], "distance": None, "threshold": None, "notices": [],
    "rule": "most probable", "is_close_call": False, "seen": "", "sha256": "0" * 64,
}  # fmt: skip


def test_every_verdict_can_be_said_and_nothing_else():
    assert set(get_args(ImageAnswer.model_fields["status"].annotation)) == set(STATUS_WORDS)
    with pytest.raises(ValidationError, match="status"):
        ImageAnswer(**IMAGE | {"status": "fine"})


def test_an_image_keeps_fields_that_the_reports_add_and_has_no_map_unasked():
    said = ImageAnswer(**IMAGE, expected_grade=1.5).model_dump()
    assert said == {**IMAGE, "map_png": None, "expected_grade": 1.5}
    with pytest.raises(ValidationError, match="sha256"):
        ImageAnswer(**{name: value for name, value in IMAGE.items() if name != "sha256"})


def test_only_who_asks_too_often_is_told_when_to_come_again():
    found = responses(401, 429)
    assert {status: one["model"] for status, one in found.items()} == {401: Problem, 429: Problem}
    assert ["headers" in one for one in found.values()] == [False, True]
    assert found[429]["headers"]["Retry-After"]["schema"] == {"type": "integer", "minimum": 1}


@pytest.mark.parametrize("is_list", [False, True])
def test_a_form_has_the_files_and_nothing_beside_them(is_list):
    body = form_of_files("files", is_list=is_list)["requestBody"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert body["required"]
    assert (schema["required"], schema["additionalProperties"]) == (["files"], False)
    file = {"type": "string", "format": "binary"}
    assert schema["properties"] == {"files": {"type": "array", "items": file, "minItems": 1} if is_list else file}
