"""Each way through the three gates."""

from lib.grading.grades import (
    CAUTION,
    NOT_CHECKED,
    NOT_REACHED,
    PASSED,
    SIGNS,
    STOPPED,
    Grade,
    QualityReading,
    check_all_gates,
    check_gates,
)


def graded(**changes):
    probabilities = changes.pop("probabilities", {"cat": 0.96, "dog": 0.04})
    known = {"distance": 0.2, "threshold": 0.3, "class_name": "cat", "target": 0, **changes}
    return Grade("a.jpg", status="graded", confidence=probabilities["cat"], probabilities=probabilities, **known)


def levels(grade):
    return [reading.level for reading in check_gates(grade)]


def test_a_good_image_passes_all_gates():
    readings = check_gates(graded())
    assert [reading.level for reading in readings] == [PASSED] * 3
    assert [reading.title for reading in readings] == ["Readable", "Looks like the training images", "Graded: cat"]
    assert readings[1].reason == "Feature distance 0.200, limit 0.300."
    assert readings[2].reason == "Probability 96.0 %."


def test_no_certainty_is_claimed():
    reading = check_gates(graded(probabilities={"cat": 0.99999, "dog": 0.00001}))[2]
    assert reading.reason == "Probability above 99.9 %."


def test_each_gate_can_ask_for_care():
    reading = check_gates(graded(notices=("first of 3 frames",)))[0]
    assert (reading.level, reading.reason) == (CAUTION, "First of 3 frames.")
    assert levels(graded(distance=0.28)) == [PASSED, CAUTION, PASSED]
    close = check_gates(graded(probabilities={"cat": 0.55, "dog": 0.45}))[2]
    assert (close.level, close.title, close.reason) == (CAUTION, "Graded: cat?", "A close call: 55 %, and dog 45 %.")


def test_without_a_gate_nothing_is_green_in_the_middle():
    grade = graded(distance=None, threshold=None, notices=(NOT_CHECKED,))
    assert levels(grade) == [PASSED, CAUTION, PASSED]
    assert "keeps no training images" in check_gates(grade)[1].reason


def test_an_unlike_image_stops_at_the_second_gate():
    grade = Grade("a.jpg", status="unlike", distance=0.5, threshold=0.3, reason="Unlike ...")
    assert levels(grade) == [PASSED, STOPPED, NOT_REACHED]
    assert check_gates(grade)[1].reason == "Feature distance 0.500, limit 0.300."
    blank = Grade("a.jpg", status="unlike", distance=0.1, threshold=0.3, reason="The image is blank.")
    assert check_gates(blank)[1].reason == "The image is blank."
    assert levels(Grade("a.jpg", status="unlike", reason="The image is blank.")) == [PASSED, STOPPED, NOT_REACHED]


def test_an_unreadable_file_stops_at_the_first_gate():
    grade = Grade("a.jpg", status="refused", reason="The file is empty.")
    assert levels(grade) == [STOPPED, NOT_REACHED, NOT_REACHED]
    assert check_gates(grade)[0].reason == "The file is empty."


def test_a_diverged_network_stops_at_the_last_gate():
    assert levels(Grade("a.jpg", status="refused", distance=0.1, threshold=0.3, reason="No number.")) == [
        PASSED,
        PASSED,
        STOPPED,
    ]


def test_every_level_has_a_sign_of_its_own():
    assert len(set(SIGNS.values())) == 4


def test_the_picture_is_judged_between_likeness_and_class_and_never_of_what_is_unlike():
    good, poor = (
        QualityReading(score=0.1, limit=0.5),
        QualityReading(score=0.9, limit=0.5, reason="Blurred.", hint="Focus."),
    )
    assert [gate.level for gate in check_all_gates(graded(quality=good))] == [PASSED] * 4
    assert len(check_all_gates(graded())) == 3
    spoiled = check_all_gates(Grade("a.jpg", status="ungradable", distance=0.1, threshold=0.3, quality=poor))
    assert [gate.level for gate in spoiled] == [PASSED, PASSED, STOPPED, NOT_REACHED]
    assert spoiled[2].reason == "Blurred. Focus."
    assert len(check_all_gates(Grade("cat.jpg", status="unlike", distance=0.9, threshold=0.3, quality=poor))) == 3
