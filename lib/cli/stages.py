"""`stages`: what each stage of a network is worth for a data set."""

from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, print_json, print_table
from lib.cli.storage import backbone_or_default
from lib.errors import UserError
from lib.settings import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from lib.explain.stage_probes import StageQuestion
    from lib.explain.stage_worth import StageWorth


@click.command()
@click.option("--dataset", required=True, help="A data set of the library.")
@click.option("--backbone", metavar="NAME", help=f"The network (default: {DEFAULT_BACKBONE}, or that of --run).")
@click.option("--run", "run_id", metavar="ID", help="A finished run, whose network is compared with its start.")
@click.option("--random-seed", type=int, default=0, show_default=True, help="Of the network with random weights.")
@click.option("--split-seed", type=int, help="Of the split (default: 0, or that of --run).")
@click.option("--target-map", metavar="MAP", help="Merge classes first, as trainings do (default: that of --run).")
@json_option
def stages(as_json: bool, **options: Any) -> None:
    """Say what each stage of a network is worth: a linear probe on its pooled output, scored on held-out images.

    Beside it the same network with random weights: what lies between the two is borrowed. Every image runs through each
    network once, and what was measured is kept.
    """
    from lib.explain.stage_probes import measure_stages
    from lib.explain.stage_reading import method, reading

    with ProgressLine() as progress:
        found = measure_stages(_question(progress=progress, **options), progress=progress)
    if as_json:
        print_json({**found.to_dict(), "reading": reading(found), "method": method(found)})
        return
    print_table(*_table(found))
    click.echo(f"\n{reading(found)}\n\n{method(found)}")


def _question(
    *,
    dataset: str,
    backbone: str | None,
    run_id: str | None,
    random_seed: int,
    split_seed: int | None,
    target_map: str | None,
    progress: ProgressLine,
) -> "StageQuestion":
    from lib.data.library import open_dataset
    from lib.explain.stage_probes import StageQuestion
    from lib.features.engine import FrozenPart, choose_engine
    from lib.grading.stage_source import as_taken_part, run_network
    from lib.models.backbones import BACKBONES
    from lib.models.weights import require_weights
    from lib.precision import choose_dtype
    from lib.runtime import pick_device, set_threads

    run, grader = None, None
    if run_id is not None:
        from lib.grading.grader import Grader

        grader = Grader.open(run_id)
        run = run_network(grader)
        if backbone not in (None, run.source.spec.name):
            raise UserError(
                f"The network of the run {run.run_id[:8]} is {run.source.spec.name}; leave --backbone out, or give "
                "that one."
            )
    name = run.source.spec.name if run else backbone_or_default(backbone)
    spec = BACKBONES.get(name)
    if spec.has_weights:
        require_weights(name)
    asked, seed, merged = as_taken_part(open_dataset(dataset), grader, split_seed=split_seed, target_map=target_map)
    set_threads()
    device = pick_device("auto")
    dtype = choose_dtype(device)[0]
    part = FrozenPart(
        name, "pretrained" if spec.has_weights else "random", 0, spec.feature_stage, spec.input_size_px, dtype
    )
    engine = choose_engine(part, device=device, num_images=len(asked.table), progress=progress)
    return StageQuestion(asked, spec, seed, random_seed, merged, run, dtype, device, engine)


def _table(found: "StageWorth") -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
    """Rows and headings: one row a stage, a column of scores and one of intervals for each curve."""
    text = found.headline.text
    headings = ["", "stage", "name", "features", "head", "right of the cut"]
    for curve in found.curves:
        headings += [curve, "95 %"]
    rows: list[tuple[Any, ...]] = []
    for number, row in enumerate(found.rows):
        mark = "best" if number == found.best else ""
        cells: list[Any] = [mark, f"{number + 1} {row.title}", row.stage, row.num_features]
        cells += [f"{row.head_parameters:,}", f"{row.right_parameters:,}"]
        for curve in found.curves:
            score = row.score(curve)
            cells += [text(score.value), f"{text(score.low)} to {text(score.high)}"] if score else ["-", "-"]
        rows.append(tuple(cells))
    return rows, tuple(headings)
