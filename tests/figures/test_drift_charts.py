import itertools
import math

import pytest

from lib.evaluation.resampling import Estimate
from lib.figures.drift_charts import drift_figure, drift_text
from tests.explain.test_drift import make_drift, make_reset, make_resets, make_row

NAN = math.nan


def figure_of(*rows, resets=None, **options):
    return drift_figure(make_drift(*rows), resets, is_dark=options.pop("is_dark", False), **options)


def test_panels_share_the_stages_and_hold_the_table_s_numbers() -> None:
    rows = (
        make_row("stem", weights=0.0, cka=Estimate(1.0, 1.0, 1.0, 0.0), gained=Estimate(0.0, 0.0, 0.0, 0.0)),
        make_row("low", weights=0.25, cka=Estimate(0.6, 0.5, 0.7, 0.05), gained=Estimate(0.1, 0.0, 0.2, 0.05)),
        make_row("pool", weights=NAN, cka=Estimate(NAN, NAN, NAN), num_parameters=0, gained=Estimate(0.0, -1, 1, 0.1)),
    )
    figure = figure_of(*rows, resets=make_resets(make_reset("low", cost=(0.12, 0.04, 0.2))), chosen="low")
    bars, cka, before, after, cost = figure.data
    assert list(bars.y) == [0.0, 25.0, 0.0]
    assert list(bars.text) == ["0", "25", "–"]  # not moved, moved, nothing there
    assert list(cka.x) == [0, 1]
    assert list(cka.y) == [1.0, 0.6]
    assert list(cka.error_y.array) == pytest.approx([0.0, 0.1])
    assert list(before.y) == [0.5] * 3
    assert list(after.y) == [0.6] * 3
    assert list(before.x) < list(after.x)
    assert (list(cost.x), list(cost.y)) == ([1], [0.12])
    assert {trace.yaxis for trace in figure.data} == {"y", "y2", "y3", "y4"}
    domains = [figure.layout[f"yaxis{number}"].domain for number in ("", 2, 3, 4)]
    assert all(upper[0] > lower[1] for upper, lower in itertools.pairwise(domains))
    assert list(figure.layout.xaxis.ticktext) == ["stem", "low", "pool"]
    assert any(shape.fillcolor for shape in figure.layout.shapes)


def test_without_probes_and_resets_there_are_two_panels() -> None:
    figure = figure_of(make_row("stem"))
    assert [annotation.text for annotation in figure.layout.annotations] == [
        "Change of weights, %", "Likeness of answers (CKA), 1 = as before"
    ]  # fmt: skip
    assert figure_of(make_row("stem", gained=Estimate(0, 0, 0, 0))).layout.height > figure.layout.height


def test_names_are_safe_and_upright_where_there_are_many() -> None:
    rows = [make_row(f"<b>{number}</b>") for number in range(20)]
    figure = figure_of(*rows, is_dark=True)
    assert figure.layout.xaxis.tickangle == -60
    assert "<b>" not in figure.layout.xaxis.ticktext[0]
    assert "20 stages before and after" in drift_text(make_drift(*rows))
    assert "weights not moved, CKA 0.90" in drift_text(make_drift(make_row("stem", weights=0.0)))
