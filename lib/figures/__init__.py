"""Plotly figures: pure functions of tables, shared by pages, reports and notebooks."""

from lib.figures.confusion_charts import confusion_figure, most_confused
from lib.figures.data_charts import class_counts_figure, size_figure
from lib.figures.result_charts import difference_figure, interval_figure, probability_figure
from lib.figures.style import short_names, strategy_style
from lib.figures.training_charts import RunCurves, has_curves, learning_curves_figure

__all__ = [
    "RunCurves",
    "class_counts_figure",
    "confusion_figure",
    "difference_figure",
    "has_curves",
    "interval_figure",
    "learning_curves_figure",
    "most_confused",
    "probability_figure",
    "short_names",
    "size_figure",
    "strategy_style",
]
