"""`calibrate`: fits what grading asks before it answers, for runs that were made before there was such a thing."""

from typing import Any

import click

from lib.cli.output import ProgressLine, json_option, note, print_json, print_table
from lib.errors import UserError


@click.command()
@click.option("--run", "run_id", metavar="ID", help="The finished run.")
@click.option("--all", "is_all", is_flag=True, help="Every finished run whose data set is here.")
@json_option
def calibrate(run_id: str | None, *, is_all: bool, as_json: bool) -> None:
    """Fit gate and calibration of finished runs anew: which images are like the training's, and how sure answers are.

    A training does this at its end; this is for runs from before, and for a program that has learned more since. It
    needs the data set as it was. The network stays as it is.
    """
    if bool(run_id) == is_all:
        raise UserError("Say which run: --run ID, or --all for every finished run.")
    from lib import tracking
    from lib.grading.calibrating import calibrate_run

    runs = [tracking.get_run(run_id)] if run_id else [one for one in tracking.list_runs() if one.state == "finished"]
    done: list[dict[str, Any]] = []
    for run in runs:
        try:
            with ProgressLine() as progress:
                gate = calibrate_run(run, progress=progress)
        except UserError as error:
            if run_id:
                raise
            note(f"{run.short_id}: {error}")
            continue
        comparisons = [one.title for one in gate.stages] + (["Energy"] if gate.energy else [])
        facts = {"run_id": run.run_id, "comparisons": comparisons, "num_calibration": gate.num_calibration}
        done.append({**facts, "false_alarm_rate": gate.false_alarm_rate, "num_reference": len(gate.reference)})
    if as_json:
        print_json({"runs": done})
        return
    keys = ("num_reference", "num_calibration", "false_alarm_rate")
    rows = [(one["run_id"][:8], ", ".join(one["comparisons"]), *(one[key] for key in keys)) for one in done]
    print_table(rows, ("run", "compared by", "images", "held out", "false alarms promised"))
