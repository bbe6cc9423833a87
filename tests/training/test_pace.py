import pytest

from lib.training.pace import Pace


def test_speed_and_time_left_by_hand() -> None:
    now = [0.0]
    pace = Pace(100, clock=lambda: now[0])
    assert pace.seconds_left is None
    now[0] = 2.0
    pace.add(10, cost=3)
    assert pace.images_per_second == 5.0
    assert pace.seconds_left == pytest.approx(2.0 * 70 / 30)


def test_what_was_done_before_an_interruption_does_not_count_as_speed() -> None:
    now = [0.0]
    pace = Pace(100, done=50, clock=lambda: now[0])
    now[0] = 1.0
    pace.add(10)
    assert pace.seconds_left == pytest.approx(4.0)  # 40 left at 10 a second
    pace.add(100)
    assert pace.seconds_left == 0.0
