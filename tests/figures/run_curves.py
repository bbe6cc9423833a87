"""Learning curves as a finished run leaves them, for the tests of several figures."""

import pandas as pd

from lib.figures.training_charts import RunCurves


def curves(label="probe", strategy="full_finetuning", epochs=3):
    rows = [
        (key, step, 1.0 / step, 1000 * step)
        for key in ("train_loss", "val_loss", "val_accuracy")
        for step in range(1, epochs + 1)
    ]
    return RunCurves(label, strategy, pd.DataFrame(rows, columns=["key", "step", "value", "timestamp_ms"]))


def annotations(figure):
    return [annotation.text for annotation in figure.layout.annotations]
