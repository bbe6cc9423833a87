"""What was published, as pictures and tables read it: the line beside a run, and boards of results by protocol.

`assets/published_results.json` holds all of it for other programs. It is written from the tables of recipes and of
protocols: `python -m lib recipes list --write-published`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from lib.atomic import write_json
from lib.data.grades import GRADE_NAMES, NUM_GRADES, known_grades
from lib.data.specs import DatasetSpec
from lib.evaluation.metrics import class_report
from lib.recipes.plan import fits_subject
from lib.recipes.protocols import FINDINGS, PROTOCOLS
from lib.recipes.spec import Protocol, PublishedResult, RecipeSpec
from lib.recipes.table import RECIPES
from lib.settings import ASSETS_DIR

PUBLISHED_FILE = ASSETS_DIR / "published_results.json"
_FORMAT = 2
# Metrics of published results: title, and whether less is better.
PUBLISHED_METRICS = {
    "accuracy": ("Accuracy", False),
    "quadratic_weighted_kappa": ("Quadratic weighted kappa", False),
    "auroc": ("AUROC", False),
    "sensitivity": ("Sensitivity, referable", False),
    "specificity": ("Specificity, referable", False),
    "validation_accuracy": ("Best accuracy in validation", False),
    "log_loss": ("Log loss", True),
}
# Which runs stand beside the results of a protocol.
TASKS = {
    "grades": "five grades of diabetic retinopathy",
    "referable": "five grades of diabetic retinopathy, read as referable or not",
    "cats_dogs": "cats against dogs",
    "food": "classes of food",
}


@dataclass(frozen=True)
class PublishedLine:
    """What a picture draws beside a run: the published figure of its recipe, and where it comes from."""

    recipe: str
    value: float
    source: str
    measured_on: str
    published_data: str


def published_line(name: str, metric: str) -> PublishedLine | None:
    """The published value of "test_accuracy" or "test_quadratic_weighted_kappa"; None where there is none."""
    key = metric.removeprefix("test_")
    if name not in RECIPES or key not in ("accuracy", "quadratic_weighted_kappa"):
        return None
    recipe = RECIPES.get(name)
    value, measured_on = getattr(recipe.published, key), recipe.published.measured_on
    about = (recipe.study.line, measured_on, recipe.subject.published_data)
    return None if value is None else PublishedLine(name, value, *about)


def published_protocols() -> list[Protocol]:
    """All protocols with their lines, those of a study from its recipes; a study without figures has none."""
    found = []
    for protocol in PROTOCOLS:
        own = [_line(recipe) for recipe in RECIPES if recipe.study.title == protocol.study]
        lines = (*(line for line in own if line.values), *protocol.lines)
        if lines:
            found.append(replace(protocol, lines=lines))
    return list(found)


def published_matrices(num_classes: int, *, are_grades: bool) -> list[PublishedResult]:
    """The published confusion matrices of as many classes of the same kind: five grades have those of study 1."""
    if not are_grades:
        return []
    lines = [line for protocol in published_protocols() for line in protocol.lines if line.confusion]
    return [line for line in lines if len(line.confusion) == num_classes]


def are_five_grades(class_names: Sequence[str], *, is_ordinal: bool) -> bool:
    """Whether classes are the five grades of diabetic retinopathy in their order."""
    return is_ordinal and known_grades(class_names) == tuple(range(NUM_GRADES))


def stands_beside(
    protocol: Protocol,
    config: Mapping[str, Any],
    class_names: Sequence[str],
    *,
    is_ordinal: bool,
    spec: DatasetSpec | None,
) -> str | None:
    """Whether a run belongs to the kind that a protocol is of: "same data", "other data", or None where it does not.

    Args:
        protocol: the protocol.
        config: the run's.
        class_names: of the run's classifier.
        is_ordinal: whether they are grades in their order.
        spec: of the run's data set; None where it is gone.
    """
    recipe = str(config.get("recipe") or "")
    is_repeated = recipe in RECIPES and RECIPES.get(recipe).study.title == protocol.study
    fits = spec is not None and fits_subject(protocol.subject, spec)
    is_of_kind = fits
    if protocol.task in ("grades", "referable"):
        is_of_kind = are_five_grades(class_names, is_ordinal=is_ordinal)
    if not is_of_kind and not is_repeated:
        return None
    return "same data" if fits else "other data"


def published_results() -> dict[str, Any]:
    """Every recipe with its study and figures, every protocol with its lines, and findings, as the file holds them."""
    return {
        "format_version": _FORMAT,
        "results": [_entry(recipe) for recipe in RECIPES],
        "protocols": [_protocol_entry(protocol) for protocol in published_protocols()],
        "findings": [{"finding": words, "source": source, "url": url} for words, source, url in FINDINGS],
    }


def write_published() -> None:
    """Write the file afresh from the tables (`python -m lib recipes list --write-published`)."""
    write_json(PUBLISHED_FILE, published_results())


def _line(recipe: RecipeSpec) -> PublishedResult:
    own = recipe.published
    figures = {key: getattr(own, key, None) for key in PUBLISHED_METRICS}
    return PublishedResult(
        title=recipe.title,
        values={key: float(value) for key, value in figures.items() if value is not None},
        source=recipe.study.line,
        read_in="the study; recomputed from its matrix" if own.confusion else "the study",
        year=recipe.study.year,
        note=own.note,
        places=own.leaderboard_places,
        recipe=recipe.name,
        confusion=own.confusion,
        seconds=own.seconds,
    )


def _entry(recipe: RecipeSpec) -> dict[str, Any]:
    figures = asdict(recipe.published)
    return {
        "recipe": recipe.name, "title": recipe.title, "study": recipe.study.title, "source": recipe.study.line,
        "year": recipe.study.year, "published_data": recipe.subject.published_data, **figures,
        "confusion": [list(row) for row in figures["confusion"]], "class_report": _report(recipe.published.confusion),
    }  # fmt: skip


def _report(confusion: tuple[tuple[int, ...], ...]) -> list[dict[str, Any]]:
    """Precision, recall, F1 and support of each class, as they follow from the matrix."""
    if not confusion:
        return []
    matrix = np.array(confusion)
    names = GRADE_NAMES if len(matrix) == NUM_GRADES else [f"class {number}" for number in range(len(matrix))]
    found: Any = class_report(matrix, list(names)).round(4).to_dict("records")
    return list(found)


def _protocol_entry(protocol: Protocol) -> dict[str, Any]:
    about = ("name", "title", "data", "split", "num_images", "definition", "comparable", "task", "is_ranked")
    lines = []
    for line in protocol.lines:
        entry = asdict(line)
        del entry["confusion"]  # with its recipe, above
        entry["intervals"] = {key: list(ends) for key, ends in line.intervals.items()}
        lines.append(entry)
    return {**{key: getattr(protocol, key) for key in about}, "published_data": protocol.subject.published_data,
            "lines": lines}  # fmt: skip
