"""`grade` and `evaluate`: a run's classifier at work, and what it is worth elsewhere."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from lib.grading.grades import USUAL_OPTIONS, GradingOptions

if TYPE_CHECKING:
    from lib.grading.grader import Grader
    from lib.grading.grades import Grade, ReportHeader
    from lib.grading.patients import PatientGrade

INTERRUPTED_STATUS = 130
_FORMATS = (".csv", ".json", ".html", ".pdf")


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH ...")
@click.option("--run", "run_id", required=True, metavar="ID|BUNDLE.zip", help="The classifier: a run or a bundle.")
@click.option("--out", type=click.Path(path_type=Path), help="Write a report: FILE.csv, .json, .html or .pdf.")
@click.option("--by-thresholds", is_flag=True, help="Grade by the expected grade and limits fitted in validation.")
@click.option("--patients", type=click.Path(path_type=Path), help="Whose eye each file shows: file,patient[,eye].")
@click.option(
    "--coverage",
    type=float,
    default=USUAL_OPTIONS.coverage,
    show_default=True,
    help="How often the set of classes is to hold the right one (with folds: or more).",
)
@click.option("--largest-set", type=int, help="With more classes left in the set than this, or another, none is given.")
@click.option("--rotations", is_flag=True, help="Answer by the mean over rotations by 0, 90, 180 and 270 degrees.")
@click.option("--prevalence", type=float, help="Share of referable images among those graded, for PPV and NPV.")
@click.option("--drift", "with_drift", is_flag=True, help="Say how the folder differs from the validation images.")
@json_option
def grade(
    paths: tuple[Path, ...],
    run_id: str,
    out: Path | None,
    *,
    as_json: bool,
    with_drift: bool,
    patients: Path | None,
    **chosen: Any,
) -> int | None:
    """Grade images: files, folders and zip archives, one row a file.

    A file that cannot be read is refused with the reason, an image unlike the training images is marked and not
    graded; neither is an error. An image that the classifier was trained on is marked: its grade says nothing about new
    ones.
    """
    _check_report(out)
    from lib.grading import report
    from lib.grading.grader import Grader
    from lib.grading.patients import join_patients, read_patients, unmet_names
    from lib.grading.upload_session import expand_paths, skipped_grades

    table = read_patients(patients) if patients else None
    expansion = expand_paths(paths)
    with_maps = out is not None and out.suffix.lower() in (".html", ".pdf")
    grader = Grader.open(run_id, options=GradingOptions(**chosen, with_maps=with_maps))
    if not expansion.items and not expansion.skipped:
        raise UserError(
            f"There is no file in {', '.join(map(str, paths))}; give images, folders of images or zip archives."
        )
    grades, is_interrupted = [], False
    with ProgressLine() as progress:
        try:
            for one in grader.grade(expansion.items, progress=progress):
                grades.append(one)
        except KeyboardInterrupt:
            is_interrupted = True
    cut = f"Interrupted: {len(grades):,} of {len(expansion.items):,} files were graded." if is_interrupted else ""
    grades += skipped_grades(expansion.skipped)
    drift = _drift_sentences(grader, grades) if with_drift else []
    grades = grader.with_case_pictures(grades) if with_maps else grades
    joined = join_patients(grades, table)
    if unmet := unmet_names(grades, table):
        note(unmet)
    if out is not None:
        _write_report(out, grades, grader.header, said=[*filter(None, [cut]), *drift], patients=joined)
        note(f"Report: {out}")
    if as_json:
        content = json.loads(report.to_json(grades, grader.header, patients=joined))
        content |= {"drift": drift} if with_drift else {}
        print_json(content | ({"interrupted": cut} if cut else {}))
        return INTERRUPTED_STATUS if is_interrupted else None
    print_table([(one.name, one.status, one.class_name, one.confidence, one.explanation) for one in grades],
                ("file", "status", "class", "confidence", "reason"))  # fmt: skip
    if joined:
        click.echo("")
        print_table([(one.patient, one.action, one.class_name, one.sentence) for one in joined],
                    ("patient", "action", "worst class", "eyes"))  # fmt: skip
    for sentence in drift:
        click.echo(sentence)
    if cut:
        note(cut)
    if grader.header.seen_sentence:
        note(grader.header.seen_sentence)
    if grader.header.operating_point:
        note(f"Stored operating point: {grader.header.operating_point}")
    if grader.header.notice:
        click.echo(f"\n{grader.header.notice}")
    return INTERRUPTED_STATUS if is_interrupted else None


def _check_report(out: Path | None) -> None:
    """Raise UserError before anything is graded where the report could not be written."""
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise UserError(f"A report ends in {', '.join(_FORMATS)}; received {str(out)!r}.")
    if out is not None:
        check_folder(out)


def _drift_sentences(grader: "Grader", grades: "list[Grade]") -> list[str]:
    """What is said of the folder as a whole."""
    from lib.grading.batch import drift_report, validation_scores

    found = drift_report(
        grades,
        validation=validation_scores(grader.run) if grader.run else None,
        point=grader.operating_point,
        prevalence=grader.options.prevalence,
        class_names=grader.class_names,
    )
    return list(found.sentences)


def _write_report(
    out: Path, grades: "list[Grade]", header: "ReportHeader", *, said: list[str], patients: "list[PatientGrade]"
) -> None:
    """Write the kind of report that the file's ending names; `said` are sentences on all files."""
    from lib.grading import report
    from lib.grading.report_pdf import to_pdf

    with atomic_path(out) as temporary:
        if out.suffix.lower() == ".pdf":
            temporary.write_bytes(to_pdf(grades, header, folder=said, patients=patients))
        else:
            write = getattr(report, f"to_{out.suffix[1:].lower()}")
            content = write(grades, header, folder=said, patients=patients)
            temporary.write_text(content, encoding="utf-8", errors="backslashreplace")


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
