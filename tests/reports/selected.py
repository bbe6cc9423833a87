"""The selection that reports are made of, with names as strangers may give them."""

from lib.evaluation.metric_table import KAPPA, Metric
from lib.reports.selection import Selection, select
from lib.tracking import list_runs
from lib.tracking.tested import read_tested

HOSTILE = "=HYPERLINK(1) | </script><script>alert(1)</script> \\input{x} & 50% $x_1^2$ #\n*b*"


def selected(*, metric: Metric = KAPPA, hostile: bool = False) -> Selection:
    """Three single runs, in no order; perhaps the worst of them with a hostile name."""
    runs = [run for run in list_runs() if "group_id" not in run.tags]
    runs = sorted(runs, key=lambda run: run.run_id)[:3]
    labels = {run.run_id: f"run {number}" for number, run in enumerate(runs)}
    if hostile:
        labels[runs[0].run_id] = HOSTILE
    return select(runs, metric, labels, lambda run: read_tested(run, labels[run.run_id]))
