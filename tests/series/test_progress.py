import pytest

from lib.series.progress import StepPace


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def __call__(self):
        return self.now_s


def test_time_left_follows_the_pace_of_the_steps_done():
    clock = Clock()
    pace = StepPace([10.0, 20.0, 30.0], clock=clock)
    assert pace.seconds_left == 60.0
    pace.begin(0)
    clock.now_s = 20.0  # twice as long as the table says
    pace.begin(1)
    assert pace.seconds_left == pytest.approx(2 * (20 + 30))
    assert pace.share == pytest.approx(20 / 120)
    clock.now_s = 30.0
    assert pace.seconds_left == pytest.approx(2 * (20 + 30) - 10)
    pace.tell(5.0, is_last_phase=False)  # the phase ends, the step does not
    assert pace.seconds_left == pytest.approx(90)
    pace.tell(5.0, is_last_phase=True)
    assert pace.seconds_left == pytest.approx(5 + 60)


def test_what_is_there_already_costs_nothing_and_says_nothing_of_the_pace():
    clock = Clock()
    pace = StepPace([100.0, 20.0, 30.0], clock=clock)
    pace.begin(0)
    clock.now_s = 1.0
    pace.drop(1)
    pace.begin(2)
    assert pace.seconds_left == 30.0


def test_share_never_goes_back():
    clock = Clock()
    pace = StepPace([10.0, 10.0], clock=clock)
    pace.begin(0)
    clock.now_s = 9.0
    before = pace.share
    pace.tell(500.0, is_last_phase=True)
    assert pace.share == before
