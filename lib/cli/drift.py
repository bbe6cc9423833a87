"""`drift`: what fine-tuning moved, measured between a run's network and the one that it started from."""

import math
from typing import TYPE_CHECKING, Any

import click

from lib.cli.output import ProgressLine, json_option, print_json, print_table

if TYPE_CHECKING:
    from lib.evaluation.resampling import Estimate
    from lib.explain.concepts import ConceptTest
    from lib.explain.drift import Drift, ResetTable


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="A finished run that trained stages of its network.")
@click.option("--dataset", "dataset_name", metavar="NAME", help="Images to compare on (default: those of the run).")
@click.option("--reset-stages", is_flag=True, help="Put each trained stage back in turn, and evaluate.")
@click.option("--concepts", metavar="PATH|lesions|textures", help="Test concepts: a folder of images for each.")
@click.option("--target", metavar="CLASS", help="The class that concepts are tested for.")
@json_option
def drift(
    run_id: str, dataset_name: str | None, *, reset_stages: bool, concepts: str | None, target: str | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Compare a run's network with the one that it started from, stage by stage.

    How far weights and BatchNorm's statistics moved, how alike the answers to images are before and after (CKA), and
    what a linear probe reads from each stage. What was measured is kept.
    """
    from lib.explain.concepts import measure_concepts
    from lib.explain.drift_measurement import measure_drift
    from lib.explain.drift_reading import concept_method, concept_sentence, method, reading
    from lib.grading.fine_tuned import concept_question, drift_question, own_dataset, run_and_dataset
    from lib.grading.stage_resets import ResetQuestion, measure_resets

    grader, dataset, label = run_and_dataset(run_id, dataset_name)
    resets = test = None
    with ProgressLine() as progress:
        found = measure_drift(drift_question(grader, dataset, label=label), progress=progress)
        if reset_stages:
            asked = ResetQuestion(grader, own_dataset(grader), label)
            resets = measure_resets(asked, asked.each_in_turn(), progress=progress)
        if concepts is not None:
            question = concept_question(grader, dataset, concepts, label=label, target=target)
            test = measure_concepts(question, progress=progress)
    if as_json:
        content = {**found.to_dict(), "reading": reading(found, resets), "method": method(found)}
        content |= {"resets": resets.to_dict()} if resets else {}
        content |= {"concepts": {**test.to_dict(), "reading": concept_sentence(test)}} if test else {}
        print_json(content)
        return
    print_table(*_stage_table(found))
    if resets is not None:
        click.echo()
        print_table(*_reset_table(resets))
    if test is not None:
        click.echo()
        print_table(*_concept_table(test))
    click.echo(f"\n{reading(found, resets)}")
    if test is not None:
        click.echo(f"\n{concept_sentence(test)}\n{concept_method(test)}")
    click.echo(f"\n{method(found)}")


def _stage_table(found: "Drift") -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
    text = found.headline.text
    headings = ["stage", "name", "trained", "weights", "scales", "statistics", "CKA", "95 %", "channels alike"]
    has_probes = any(row.probe_before for row in found.rows)
    headings += ["probe before", "after", "difference, 95 %"] if has_probes else []
    rows = []
    for number, row in enumerate(found.rows):
        cells: list[Any] = [f"{number + 1} {row.title}", row.stage, row.is_trained]
        cells += [_percent(change) for change in (row.weights, row.normalization, row.statistics)]
        cells += [f"{row.cka.value:.3f}", _ends(row.cka, "{:.3f}"), f"{row.num_alike} of {row.num_channels}"]
        if row.probe_before and row.probe_after and row.gained:
            cells += [text(row.probe_before.value), text(row.probe_after.value), _ends(row.gained, "{:+.2f}")]
        rows.append(tuple(cells))
    return rows, tuple(headings)


def _reset_table(table: "ResetTable") -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
    from lib.explain.drift_reading import stages_words

    text = table.headline.text
    own = f"{text(table.score.low)} to {text(table.score.high)}"
    rows: list[tuple[Any, ...]] = [("nothing", text(table.score.value), own, "-", "-", "-", "-")]
    for row in table.rows:
        score = f"{text(row.score.low)} to {text(row.score.high)}"
        cost = f"{row.cost.value:+.3f}" if math.isfinite(row.cost.value) else "-"
        p_value = f"{row.p_value:.3f}" if math.isfinite(row.p_value) else "-"
        rows.append(
            (stages_words(table, row.stages), text(row.score.value), score, cost, _ends(row.cost, "{:+.3f}"), p_value,
             f"{row.num_changed} of {table.num_images}")
        )  # fmt: skip
    return rows, ("put back", table.headline.word, "95 %", "cost", "95 %", "p", "answers changed")


def _concept_table(test: "ConceptTest") -> tuple[list[tuple[Any, ...]], tuple[str, ...]]:
    rows = [
        (row.concept, row.stage, f"{row.score.value:.2f}", _ends(row.score, "{:.2f}"), f"{row.random.value:.2f}",
         f"{row.p_value:.3g}", f"{row.separation.value:.2f}", row.num_images, "shown" if row.is_shown else "")
        for row in test.rows
    ]  # fmt: skip
    return rows, ("concept", "stage", "score", "95 %", "random", "p", "told apart", "images", "")


def _percent(change: float) -> str:
    return f"{100 * change:.2f} %" if math.isfinite(change) else "-"


def _ends(estimate: "Estimate", form: str) -> str:
    if not math.isfinite(estimate.low):
        return "-"
    return f"{form.format(estimate.low)} to {form.format(estimate.high)}"
