"""`grade` and `evaluate`: a run's classifier at work, and what it is worth elsewhere."""

import math
from pathlib import Path

import click

from lib import tracking
from lib.atomic import atomic_path
from lib.cli.output import (
    ProgressLine,
    check_folder,
    json_option,
    note,
    print_facts,
    print_json,
    print_score,
    print_table,
)
from lib.errors import UserError

_FORMATS = (".csv", ".json", ".html")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH ...")
@click.option("--run", "run_id", required=True, metavar="ID|BUNDLE.zip", help="The classifier: a run or a bundle.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a report: FILE.csv, FILE.json or FILE.html.")
@click.option("--by-thresholds", is_flag=True, help="Grade by the expected grade and limits fitted in validation.")
@click.option("--patients", type=click.Path(path_type=Path), help="Whose eye each file shows: file,patient[,eye].")
@json_option
def grade(
    paths: tuple[Path, ...],
    run_id: str,
    out: Path | None,
    *,
    as_json: bool,
    by_thresholds: bool,
    patients: Path | None,
) -> None:
    """Grade images: files, folders and zip archives, one row a file.

    A file that cannot be read is refused with the reason, an image unlike the training images is marked and not
    graded; neither is an error. An image that the classifier was trained on is marked: its grade says nothing about new
    ones.
    """
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise UserError(f"A report ends in {', '.join(_FORMATS)}; received {str(out)!r}.")
    if out is not None:
        check_folder(out)
    from lib.grading import report
    from lib.grading.grader import Grader
    from lib.grading.grades import GradingOptions
    from lib.grading.patients import join_patients, read_patients
    from lib.grading.upload_session import expand_paths, skipped_grades

    table = read_patients(patients) if patients else None
    expansion = expand_paths(paths)
    grader = Grader.open(run_id, options=GradingOptions(by_thresholds=by_thresholds))
    with ProgressLine() as progress:
        with_cam = out is not None and out.suffix.lower() == ".html"
        grades = [*grader.grade(expansion.items, with_cam=with_cam, progress=progress)]
    grades += skipped_grades(expansion.skipped)
    if out is not None:
        with atomic_path(out) as temporary:
            content = getattr(report, f"to_{out.suffix[1:].lower()}")(grades, grader.header)
            temporary.write_text(content, encoding="utf-8")
        note(f"Report: {out}")
    if as_json:
        click.echo(report.to_json(grades, grader.header))
        return
    print_table([(one.name, one.status, one.class_name, one.confidence, one.explanation) for one in grades],
                ("file", "status", "class", "confidence", "reason"))  # fmt: skip
    if joined := join_patients(grades, table):
        click.echo("")
        print_table([(one.patient, one.action, one.class_name, one.sentence) for one in joined],
                    ("patient", "action", "worst class", "eyes"))  # fmt: skip
    if grader.header.seen_sentence:
        note(grader.header.seen_sentence)
    if grader.header.operating_point:
        note(f"Stored operating point: {grader.header.operating_point}")
    if grader.header.notice:
        click.echo(f"\n{grader.header.notice}")


@click.command()
@click.option("--run", "run_id", required=True, metavar="ID", help="The run, or a bundle's zip or folder.")
@click.option("--dataset", "dataset_name", required=True, metavar="NAME|PATH", help="The data set to evaluate on.")
@click.option(
    "--map", "mapping", metavar="MAP", help="Which classes theirs are: puppy=dog,bird=- or 0,1,1 or referable."
)
@click.option("--store", is_flag=True, help="Keep the result and every answer with the run: the board shows them.")
@json_option
def evaluate(run_id: str, dataset_name: str, mapping: str | None, *, store: bool, as_json: bool) -> None:
    """Evaluate a run's classifier on another data set that has the same classes.

    On the data set that it was trained on, only the test images count (of a run with folds: each image, as the fold
    that had not seen it answered); on any other one all images do. Images that the classifier has seen in its training
    are known by their content wherever they turn up, and never count; in another data set copies of them that were
    re-encoded, resized or mirrored are found and left out too.

    Other classes need --map: `their=ours` for each class that the classifier does not know ("-" leaves its images out),
    one number of the classifier's classes for each class in the data set's order, or a target map such as `referable`,
    which merges the grades of both.

    Beside each figure stands the difference to the run's own test images, where its predictions are here.
    """
    from lib.data.importing import resolve_dataset
    from lib.evaluation.headline import Score
    from lib.grading.evaluation import evaluate as evaluate_run
    from lib.grading.external import measure_external, store_external
    from lib.grading.grader import Grader

    with ProgressLine() as progress:
        # What is only evaluated on is not split, so a class may have one image, or none.
        dataset = resolve_dataset(dataset_name, check_splits=False, progress=progress)
        grader = Grader.open(run_id)
        if store and not grader.run:
            raise UserError("A bundle has no folder to keep a result in; give --store the id of a run.")
        found = evaluate_run(grader, dataset, progress, mapping=mapping)
    result, kept = found.figures, None
    if grader.run:
        kept = measure_external(tracking.get_run(grader.run), found, title=dataset.spec.title)
        if store:
            store_external(kept, found.answers)
    if as_json:
        print_json(
            {**result, **({"external": kept.to_dict(), "sentence": kept.sentence(_label(grader.run))} if kept else {})}
        )
        return
    print_score(Score.of(result, prefix=""))
    if kept is not None:
        click.echo(kept.sentence(_label(grader.run)))
    if missing := result["classes_without_images"]:
        click.echo(f"No images here of: {', '.join(missing)}; averages over classes leave them out.")
    recall = {f"recall of {name}": value for name, value in result["recall"].items()}
    apart = ("recall", "classes_without_images", "class_names", "is_ordinal", "merged")
    facts = {key: value for key, value in result.items() if key not in apart} | recall
    undefined = {key: "not defined" for key, value in facts.items() if isinstance(value, float) and math.isnan(value)}
    print_facts(facts | undefined)
    if store:
        note(f"Kept with the run {grader.run[:8]}; python -m lib runs show {grader.run[:8]} lists it.")


def _label(run_id: str) -> str:
    run = tracking.get_run(run_id)
    return f"{run.label} ({run.short_id})"
