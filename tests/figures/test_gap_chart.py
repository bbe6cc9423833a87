import pytest

from lib.figures.gap_chart import gap_figure
from tests.advisor.test_gap import make_gap


@pytest.mark.parametrize("is_dark", [False, True])
def test_the_data_set_between_its_anchors_named_at_their_ends(is_dark):
    figure = gap_figure(make_gap(0.3, None, 0.5), is_dark=is_dark)
    assert [trace.name for trace in figure.data] == ["noise", "generated eyes", "photographs", "Tiny"]
    assert list(figure.data[-1].x) == [1, 3]  # the stage without BatchNorm is left out
    assert list(figure.data[-1].y) == [0.3, 0.5]
    texts = [annotation.text for annotation in figure.layout.annotations]
    assert texts == ["noise", "generated eyes", "photographs", "Tiny"]


def test_a_network_of_which_nothing_is_known_is_an_empty_picture():
    assert not gap_figure(make_gap(None), is_dark=False).data[0].x
