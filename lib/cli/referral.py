"""`operating-point`: from which score on a run refers, what that is worth, and whether it is kept with the run."""

import click

from lib import tracking
from lib.cli.output import json_option, note, print_json, print_table


@click.command("operating-point")
@click.argument("run_id", metavar="RUN")
@click.option("--sensitivity", type=float, default=0.9, show_default=True, help="At least this share is to be found.")
@click.option("--grade", type=int, help="Refer from this grade on (default: moderate where it is named, else 1).")
@click.option("--prevalence", type=float, default=0.1, show_default=True, help="Of those who are to be examined.")
@click.option("--store", is_flag=True, help="Keep the point with the run: its exports carry it, grading reads it.")
@json_option
def operating_point(
    run_id: str, *, sensitivity: float, grade: int | None, prevalence: float, store: bool, as_json: bool
) -> None:
    """Choose the operating point of a run for referable disease.

    Says which sensitivity and specificity the test images show, PPV and NPV at the prevalence, with 95 % intervals, and
    the published points of other systems beside them.
    """
    from lib.grading.operating_point import (
        OTHER_DATA_SENTENCE,
        operating_point_of,
        published_table,
        store_operating_point,
    )

    run = tracking.get_run(run_id)
    point = operating_point_of(run, grade=grade, sensitivity=sensitivity, prevalence=prevalence)
    if store:
        store_operating_point(run, point)
    published = published_table()
    if as_json:
        facts = {"run_id": run.run_id, **point.to_dict(), "is_stored": store}
        print_json({**facts, "published": published.to_dict("records")})
        return
    reading = point.reading
    rows = [(key.upper() if key in ("ppv", "npv") else key, one.value, one.low, one.high)
            for key in ("sensitivity", "specificity", "ppv", "npv") for one in [getattr(reading, key)]]  # fmt: skip
    click.echo(f"{point.title}, referred from a probability of {point.threshold:.3f} on")
    print_table(rows, (f"at a prevalence of {prevalence:g}", "value", "low", "high"))
    over = f"{reading.num_groups} patients or groups" if reading.num_groups else "images"
    click.echo(f"On {reading.num_positive} such images and {reading.num_negative} others; intervals over {over}.")
    click.echo(point.chosen_sentence)
    click.echo()
    shown = ["point", "sensitivity", "specificity", "measured_on", "source"]
    print_table(published[shown].to_numpy().tolist(), ("published, of other data", *shown[1:]))
    click.echo(OTHER_DATA_SENTENCE)
    if store:
        note(f"Stored with the run {run.short_id}.")
