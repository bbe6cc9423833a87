"""The numbers of a figure as a table, for figures whose makers give none of their own."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

_COLUMNS = ("trace", "x", "y", "value")


def figure_table(figure: go.Figure) -> pd.DataFrame:
    """One row a point that can be pointed at: trace, x, y, and the value of a cell or the text at the point.

    Traces that only decorate (lines without words of their own) are left out.
    """
    rows: list[tuple[Any, ...]] = []
    for number, trace in enumerate(figure.data, start=1):
        name = trace.name or f"{trace.type} {number}"
        cells = getattr(trace, "z", None)
        if cells is None and getattr(trace, "hoverinfo", None) == "skip":
            continue
        if cells is not None:
            matrix = np.asarray(cells)
            across, down = _labels(figure.layout.xaxis, matrix.shape[1]), _labels(figure.layout.yaxis, matrix.shape[0])
            rows += [(name, across[j], down[i], matrix[i, j]) for i, j in np.ndindex(matrix.shape)]
            continue
        x, y = _values(trace, "x"), _values(trace, "y")
        length = max(len(x), len(y))
        words = _values(trace, "text") if len(_values(trace, "text")) == length else [""] * length
        x, y = x or list(range(length)), y or list(range(length))
        rows += [(name, *point) for point in zip(x, y, words, strict=False)]
    table = pd.DataFrame(rows, columns=list(_COLUMNS))
    return table.drop(columns="value") if (table["value"].astype(str) == "").all() else table


def _values(trace: Any, key: str) -> list[Any]:
    value = getattr(trace, key, None)
    return [] if value is None or isinstance(value, str) else list(value)


def _labels(axis: Any, number: int) -> list[Any]:
    labels = list(axis.ticktext or ())
    return labels if len(labels) == number else list(range(number))
