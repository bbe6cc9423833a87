import pytest

from lib.advisor.guide import DIFFERENT_DISTANCE, SMALL_PER_CLASS, Advice, Readings, StageReading, recommend
from lib.figures.guide_chart import guide_figure, guide_position, guide_text


def advice(least: int, distance: float | None, accuracy: float | None = None) -> Advice:
    stages = (StageReading("block1", distance, None),)
    return recommend(Readings(least_per_class=least, num_classes=2, stages=stages, nearest_centroid=accuracy))


def test_thresholds_are_the_middle_and_all_places_lie_inside() -> None:
    assert guide_position(advice(SMALL_PER_CLASS, DIFFERENT_DISTANCE)) == pytest.approx((0, 0))
    for far in (advice(0, 0.0), advice(10**7, 1e9)):
        assert all(abs(value) < 2 for value in guide_position(far))


@pytest.mark.parametrize(("accuracy", "side"), [(0.99, -1), (0.5, 1)])
def test_without_a_distance_the_scores_choose_the_side(accuracy: float, side: int) -> None:
    assert guide_position(advice(10, None, accuracy))[0] * side > 0


@pytest.mark.parametrize("is_dark", [True, False])
def test_one_field_of_four_is_tinted(is_dark: bool) -> None:
    figure = guide_figure(advice(400, 0.1), name="<b>mine</b>", is_dark=is_dark)
    strengths = [shape.opacity for shape in figure.layout.shapes]
    assert len(strengths) == 4
    tinted = figure.layout.shapes[strengths.index(max(strengths))]
    assert strengths.count(max(strengths)) == 1
    assert (tinted.x1, tinted.y0) == (0, 0)  # left and top: similar and large
    assert "&lt;b&gt;mine" in figure.layout.annotations[-1].text
    assert "large and similar" in guide_text(advice(400, 0.1))


def test_the_field_of_separated_classes_says_linear_classifier() -> None:
    stages = (StageReading("block1", 0.1, None),)
    found = recommend(Readings(least_per_class=400, num_classes=2, stages=stages, nearest_centroid=1.0, num_scored=100))
    texts = [note.text for note in guide_figure(found, name="mine", is_dark=False).layout.annotations]
    assert sum("frozen features separate" in text for text in texts) == 1
    assert not any("fine-tune<br>the whole network" in text for text in texts)  # of the field that applies
    assert guide_text(found).endswith("large and similar; frozen features already separate the classes.")
