"""Fits what says whether an image looks like those of a classifier's training; at the end of that, or later.

The features are always those of a pretrained network: the classifier's own stages where training left them as they
were, else those of the default judge (lib/features/judge.py).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.dataset import can_be_graded
from lib.data.input_transform import InputTransform
from lib.data.splits import group_numbers
from lib.errors import Stopped
from lib.features.frozen_stages import FrozenStages, frozen_backbone
from lib.features.judge import JUDGE, Judge, default_judge, stage_titles
from lib.models.gate import MAX_REFERENCE_ROWS, OWN_STAGES, Gate, ReferenceImages, fit_gate
from lib.progress import Progress, ignore_progress
from lib.training.strategies import keeps_stages

if TYPE_CHECKING:
    from lib.models.classifier import Classifier

MAX_LIMIT_ROWS = 2000
_AT_ONCE = 32
_WHAT = "Learning the look of the images"


def judges_itself(classifier: "Classifier", manifest: dict[str, Any]) -> bool:
    """Whether a classifier's own stages are a pretrained network that the training left as it was."""
    is_frozen = keeps_stages(str(manifest.get("strategy")))
    return is_frozen and classifier.weights == "pretrained" and bool(classifier.spec.num_parameters)


def judge_of(classifier: "Classifier", manifest: dict[str, Any], *, device: str = "cpu") -> tuple[str, Judge]:
    """What a gate of this classifier is fitted by, and its name in the gate."""
    if not judges_itself(classifier, manifest):
        return JUDGE, default_judge(device)
    spec, last, preprocessing = classifier.spec, classifier.feature_stage, manifest["preprocessing"]
    inputs = InputTransform.of(preprocessing)
    stages = classifier.stages
    if classifier.is_head_alone:
        stages = frozen_backbone(spec.name, weights="pretrained", seed=0).stages.to(device)
    network = FrozenStages(stages, size_px=inputs.size_px)
    dtype = str(preprocessing.get("dtype", "float32"))
    return OWN_STAGES, Judge(network, spec, last, inputs, device=device, dtype=dtype)


def gradable_of(dataset: Any, rows: np.ndarray) -> np.ndarray:
    """Those of some rows (n,) that can be graded, as bool (n,); all of them where none can."""
    is_good = can_be_graded(dataset)[rows]
    return is_good if is_good.any() else np.ones(len(rows), dtype=bool)


def gradable_ids(dataset: Any) -> set[str]:
    """The ids of the images of a data set that can be graded."""
    return set(dataset.table["image_id"][can_be_graded(dataset)])


def fit_domain(
    classifier: "Classifier",
    manifest: dict[str, Any],
    dataset: Any,
    *,
    fit_rows: np.ndarray,
    val_rows: np.ndarray,
    probabilities: np.ndarray,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> Gate:
    """The gate of a classifier.

    Images that the data set calls ungradable are neither compared with nor set a limit: they would use up the share of
    new images that is turned away, and a new one like them would pass.

    Args:
        classifier: as it is kept.
        manifest: of its bundle.
        dataset: the images as stored, as they took part in the training.
        fit_rows: of the images that it was trained on; at most 2,000 are compared with, drawn by `seed`.
        val_rows: of the images that set the limits; they may be among the former.
        probabilities: (n, K) of `val_rows`, by what had not seen them.
        seed: of the draw.
        device: where the judge computes.
        progress: told how many images were read.
        should_stop: asked between batches. Raises Stopped.
    """
    random = np.random.default_rng(seed)
    fit_rows, is_good = fit_rows[gradable_of(dataset, fit_rows)], gradable_of(dataset, val_rows)
    val_rows, probabilities = val_rows[is_good], probabilities[is_good]
    chosen = random.permutation(fit_rows)[:MAX_REFERENCE_ROWS]
    places = random.permutation(len(val_rows))[:MAX_LIMIT_ROWS]
    limiting = val_rows[places]
    name, judge = judge_of(classifier, manifest, device=device)
    rows, place_of = np.unique(np.concatenate([chosen, limiting]), return_inverse=True)
    parts = []
    for start in range(0, len(rows), _AT_ONCE):
        if should_stop():
            raise Stopped("Stopped while learning the look of the images.")
        some = rows[start : start + _AT_ONCE]
        parts.append(judge.read(np.stack([np.asarray(dataset.pixels[int(row)]) for row in some])))
        progress(start + len(some), len(rows), _WHAT)
    read = {stage: np.concatenate([part[stage] for part in parts]) for stage in judge.stages}
    units = group_numbers(dataset.table["group_id"].to_numpy(), len(dataset.table))
    ids, targets = dataset.table["image_id"].to_numpy(), dataset.table["target"].to_numpy().astype(np.int64)
    images = ReferenceImages(
        tuple(map(str, ids[chosen])), targets[chosen], units[chosen], tuple(map(str, dataset.spec.class_names))
    )
    return fit_gate(
        {stage: one[place_of[: len(chosen)]] for stage, one in read.items()},
        {stage: one[place_of[len(chosen) :]] for stage, one in read.items()},
        seed=seed, train_units=units[chosen], val_units=units[limiting],
        titles=stage_titles(judge.spec, judge.stages, is_own=name == OWN_STAGES),
        probabilities=probabilities[places], judge=name, images=images,
    )  # fmt: skip
