import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from lib.errors import Stopped
from lib.figures.training_charts import loss_range, rate_range_figure, rate_range_text, save_rate_range_png
from lib.training.network import Compute
from lib.training.rate_range import (
    HIGHEST_RATE,
    LOWEST_RATE,
    RateRange,
    find_rate,
    is_diverged,
    rounded,
    smooth,
    suggest_rate,
)
from tests.training.tiny import TinyNetwork, tiny_config, tiny_data


def test_smoothing_by_hand() -> None:
    # (0.95 * 0.05 * 2 + 0.05 * 4) / (1 - 0.95 ** 2)
    assert smooth([2.0, 4.0]) == pytest.approx([2.0, (0.095 + 0.2) / 0.0975])
    assert smooth([3.0] * 5) == pytest.approx([3.0] * 5)


def test_the_steepest_descent_is_suggested_and_the_diverged_part_is_cut() -> None:
    rates = np.geomspace(LOWEST_RATE, HIGHEST_RATE, 81)
    place = np.arange(81)
    smoothed = 2.0 - 1.5 / (1 + np.exp(-(place - 40) / 3))  # falls fastest at step 40
    smoothed[60:] = 0.6 + 0.1 * np.arange(21)  # then it rises
    smoothed[75:] = -np.arange(6) + 0.5  # nothing behind the lowest value of the good part would count ...
    smoothed[75:] = 9.0
    assert suggest_rate(rates, smoothed.tolist()) == pytest.approx(rates[40])
    assert suggest_rate(rates, [1.0 + 0.01 * step for step in range(81)]) is None  # it only rises
    assert suggest_rate(rates, [1.0 + 0.01 * math.cos(step) for step in range(81)]) is None  # up and down by chance
    assert suggest_rate(rates, [0.1, *smoothed.tolist()[1:]]) == pytest.approx(rates[40])  # a first batch by luck
    assert suggest_rate([], []) is None


def test_divergence_is_four_times_the_lowest_loss() -> None:
    assert not is_diverged([1.0] * 20)
    assert is_diverged([1.0] * 20 + [200.0])


def test_a_real_network_learns_at_the_suggested_rate() -> None:
    config, data = tiny_config(batch_size=4), tiny_data(8, flips=False)
    told: list[int] = []
    found = find_rate(
        TinyNetwork(dropout=0.0), data, config, Compute(), num_steps=60, progress=lambda done, *_: told.append(done)
    )
    assert told == list(range(1, len(found.losses) + 1))
    assert len(found.learning_rates) == len(found.smoothed) == len(found.losses) > 20
    assert found.suggested_rate is not None
    assert 1e-5 < found.suggested_rate < 1.0
    again = find_rate(TinyNetwork(dropout=0.0), data, config, Compute(), num_steps=60)
    assert again == found
    assert RateRange.from_dict({**asdict(found), "picture": None}) == found


def test_infinite_losses_end_the_test_and_a_stop_is_heard() -> None:
    data = tiny_data(8)
    with pytest.raises(Stopped):
        find_rate(TinyNetwork(), data, tiny_config(), Compute(), should_stop=lambda: True)
    poisoned = TinyNetwork()
    poisoned.head[1].weight.data.fill_(math.inf)
    found = find_rate(poisoned, data, tiny_config(), Compute())
    assert (found.has_diverged, found.suggested_rate, found.losses) == (True, None, [])


@pytest.mark.parametrize("is_dark", [True, False])
def test_the_picture_shows_both_lines_and_the_suggestion(is_dark, tmp_path) -> None:
    losses = [2.0, 1.9, 1.2, 1.0, 9.0]
    found = RateRange([1e-5, 1e-4, 1e-3, 1e-2, 1e-1], losses, losses, 1.04e-3, True)
    figure = rate_range_figure(found, strategy="full_finetuning", is_dark=is_dark)
    assert [len(trace.x) for trace in figure.data] == [5, 5]
    assert figure.layout.shapes[0].x0 == pytest.approx(1.04e-3)
    assert "0.001" in rate_range_text(found)
    assert "diverged" in rate_range_text(found)
    assert loss_range(found)[1] == pytest.approx(3.2)
    nothing = replace(found, suggested_rate=None, has_diverged=False)
    assert "no rate is suggested" in rate_range_text(nothing)
    save_rate_range_png(found, tmp_path / "a.png", strategy="full_finetuning", title="x")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert rounded(1.04e-3) == 0.001
