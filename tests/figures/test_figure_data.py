import numpy as np
import plotly.graph_objects as go

from lib.figures.confusion_charts import confusion_figure
from lib.figures.figure_data import figure_table
from lib.figures.result_charts import probability_figure


def test_points_of_lines_and_bars_are_rows():
    figure = go.Figure()
    figure.add_scatter(x=[1, 2], y=[0.5, 0.6], name="run")
    figure.add_scatter(x=[0, 1], y=[0, 1], hoverinfo="skip")  # a decoration
    table = figure_table(figure)
    assert table.to_dict("list") == {"trace": ["run", "run"], "x": [1, 2], "y": [0.5, 0.6]}
    bars = figure_table(probability_figure([0.2, 0.8], ["a", "b"], False))
    assert bars["x"].tolist() == [0.2, 0.8]


def test_cells_are_rows_with_the_names_of_their_classes():
    table = figure_table(confusion_figure(np.array([[3, 1], [0, 2]]), ["cat", "dog"], "t", False))
    cells = table[table["trace"].str.startswith("heatmap")]
    assert cells["value"].tolist() == [0.75, 0.25, 0.0, 1.0]
    assert cells["y"].tolist() == ["cat", "cat", "dog", "dog"]


def test_an_empty_figure_has_no_rows():
    assert figure_table(go.Figure()).empty
