"""What studies published for the rungs of a race, where a data set shows what a study shows."""

from lib.data.grades import known_grades
from lib.data.specs import DatasetSpec
from lib.race.plan import RacePlan
from lib.recipes import RECIPES
from lib.recipes.plan import fits_subject
from lib.recipes.published import PublishedLine, published_line
from lib.recipes.spec import Subject
from lib.recipes.subjects import FUNDUS


def published_lines(plan: RacePlan, spec: DatasetSpec, metric: str) -> dict[str, PublishedLine]:
    """Rung -> the published value of its recipe, for the rungs that have one.

    Args:
        plan: the race.
        spec: what its data set shows.
        metric: "accuracy" or "quadratic_weighted_kappa", of test images.
    """
    found = {}
    for entry in plan.entries:
        for name in entry.rung.recipes:
            line = published_line(name, f"test_{metric}")
            if line is not None and name in RECIPES and _fits(RECIPES.get(name).subject, spec):
                found[entry.key] = line
                break
    return found


def _fits(subject: Subject, spec: DatasetSpec) -> bool:
    """As recipes choose data sets; retinal photographs in the five grades also fit studies of fundus photographs."""
    is_graded = spec.is_ordinal and known_grades(spec.class_names) is not None
    is_graded_retina = is_graded and spec.crop_policy == "retina_box"
    return fits_subject(subject, spec) or (subject is FUNDUS and is_graded_retina)
