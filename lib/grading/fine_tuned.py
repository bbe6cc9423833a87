"""A fine-tuned run and the network that it started from: what can be asked of the two."""

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.explain.concept_directions import DirectionRequest
from lib.explain.concept_images import concept_source
from lib.explain.concepts import MAX_TARGET_IMAGES, ConceptQuestion
from lib.explain.drift_measurement import DriftQuestion
from lib.explain.targets import find_class
from lib.features.stage_outputs import StagedSource
from lib.grading.grader import Grader
from lib.grading.manifest import has_grades, is_medical
from lib.grading.new_images import new_test_images
from lib.grading.stage_source import as_taken_part, run_network
from lib.models.freezing import stage_plan
from lib.models.weights import weights_digest
from lib.tracking import get_run
from lib.training.network import trained_part
from lib.training.preparation import trained_config
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from torch import nn


NUM_CONCEPT_STAGES = 4
_FORMAT = 1


class NothingMoved(UserError):
    """The run trained a head alone: its network is its start, by design."""


def moved_stages(grader: Grader) -> tuple[str, ...]:
    """The stages that the training of a run could change, in order.

    Raises:
        NothingMoved: a probe or another head on a frozen network.
        UserError: a run without a network, or of a strategy that this program does not know.
    """
    spec, manifest = grader.classifier.spec, grader.manifest
    strategy = str(manifest.get("strategy"))
    who = f"The run {grader.run[:8]}" if grader.run else "This classifier"
    if not spec.num_parameters:
        raise UserError(f"{who} uses no network (hand-made measures), so no stage could move. Choose a fine-tuned run.")
    if strategy not in STRATEGIES:
        raise UserError(f"{who} was trained by {strategy!r}, which this program does not know; what it froze is open.")
    config = SimpleNamespace(**{"unfreeze_from": None, **vars(trained_config(manifest)), "strategy": strategy})
    part: Any = trained_part(config)  # type: ignore[arg-type]
    if part == "none":
        raise NothingMoved(
            f"Nothing moved, by design: {who[:1].lower()}{who[1:]} ({STRATEGIES.get(strategy).title}) trained a head "
            f"on the frozen {spec.title}, whose stages are still those that it started from. Choose a fine-tuned run."
        )
    start = config.unfreeze_from or spec.unfreeze_from if part == "partial" else None
    plan = stage_plan(spec.name, part, start, feature_stage=grader.classifier.feature_stage)
    return tuple(one.stage for one in plan if one.is_trainable and one.num_parameters and one.stage != "head")


def start_of(grader: Grader) -> StagedSource:
    """The network that a run started from, reading images as the run does.

    A random start has no statistics of BatchNorm yet: those of generated pictures stand in for them.

    Raises:
        UserError: the published weights at hand are not those that the run started from.
        WeightsUnavailable: they are not at hand.
    """
    classifier = grader.classifier
    spec, weights, seed = classifier.spec, classifier.weights, classifier.seed
    network = grader.manifest.get("network")
    expected = network.get("base_digest") if isinstance(network, dict) else ""
    if expected and weights_digest(spec.name, weights, seed) != expected:
        raise UserError(
            f"The run started from other weights of {spec.title} than those at hand; put that file back to see what "
            "moved."
        )
    source = StagedSource.published(spec, weights, seed=seed)

    def build() -> "nn.ModuleDict":
        from torch import nn

        stages = source.build()
        return nn.ModuleDict({name: stages[name] for name in classifier.stages})

    return dataclasses.replace(source, inputs=grader.inputs, build=build, last=classifier.feature_stage)


def run_and_dataset(run_id: str, dataset_name: str | None = None, *, device: str = "auto") -> "tuple[Grader, Any, str]":
    """A run's network that has moved, the data set to compare on (by default that of the run), and the run's label.

    Raises:
        UserError: as `moved_stages`, no such run or data set, or a data set of the run that is gone.
    """
    grader = Grader.open(run_id, device=device)
    moved_stages(grader)
    label = get_run(run_id).label if grader.run else str(run_id)
    return grader, open_dataset(dataset_name) if dataset_name else own_dataset(grader), label


def own_dataset(grader: Grader) -> Any:
    """The data set that a run was trained on, at that version.

    Raises:
        UserError: it is gone, or its images were changed since.
    """
    about = grader.manifest.get("dataset")
    name, version = (about.get("name"), about.get("version")) if isinstance(about, dict) else (about, None)
    try:
        return open_dataset(str(name), version=None if version is None else str(version))
    except UserError:
        raise UserError(
            f"The data set {name!r} that the run {grader.run[:8]} was trained on is gone or was imported anew. Import "
            "it again as it was, or compare on another one of the same classes (--dataset NAME)."
        ) from None


def drift_question(grader: Grader, dataset: Any, *, label: str = "") -> DriftQuestion:
    """What is asked of a run and a data set, by default as its training took it.

    Raises:
        UserError: as `moved_stages`, `start_of`, or classes that cannot be merged as in the training.
    """
    trained, spec = moved_stages(grader), grader.classifier.spec
    taken, seed, _ = as_taken_part(dataset, grader)
    is_pretrained = grader.classifier.weights == "pretrained"
    return DriftQuestion(
        taken, run_network(grader, label=label), start_of(grader),
        f"pretrained on {spec.pretrained_on}" if is_pretrained else "random weights",
        trained, str(grader.manifest.get("strategy")), is_medical=is_medical(grader.manifest), split_seed=seed,
        device=grader.device,
    )  # fmt: skip


def concept_question(
    grader: Grader,
    dataset: Any,
    asked: str,
    *,
    label: str = "",
    target: str | None = None,
    stages: Sequence[str] = (),
    seed: int = 0,
) -> ConceptQuestion:
    """What is asked of a run about concepts ("lesions", "textures" or a folder), on the new images of one class.

    Args:
        grader: of the run.
        dataset: the images to ask, and the counterparts of concepts.
        asked: see `concept_source`.
        label: of the run.
        target: the class, by default the last one of ordered grades and the first one otherwise.
        stages: to test, by default the last four that are read.
        seed: of all draws.

    Raises:
        UserError: as `concept_source`, an unknown class, a run without a network, or no new image.
    """
    taken, rows, targets = new_test_images(grader, dataset)
    names = grader.class_names
    index = None if target is None else find_class(target, names)
    if index is None:
        index = len(names) - 1 if has_grades(grader.manifest, taken) else 0
    rows = rows[targets == index][:MAX_TARGET_IMAGES]
    if not len(rows):
        raise UserError(f"No test image of {dataset.name!r} shows {names[index]!r}; name another class (--target).")
    network = run_network(grader)
    read = [stage.name for stage in network.source.stages]
    source = concept_source(asked, _at_version_of(dataset, taken), grader.inputs, seed=seed)
    about = {
        "run_id": grader.run, "run_label": label or grader.run[:8], "dataset": taken.name,
        "dataset_title": taken.spec.title, "class_name": names[index],
    }  # fmt: skip
    request = DirectionRequest(
        grader.classifier, grader.inputs, source, np.stack([np.asarray(taken.pixels[row]) for row in rows]), index,
        tuple(stages) or tuple(read[-NUM_CONCEPT_STAGES:]), seed=seed,
    )  # fmt: skip
    return ConceptQuestion(request, network.source.digest, about)


def _at_version_of(dataset: Any, taken: Any) -> Any:
    """The whole data set behind what takes part: masks are its own."""
    versions = getattr(dataset, "versions", ())
    return dataset.at_version(taken.version) if taken.version in versions else dataset
