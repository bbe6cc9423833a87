"""The honest card beside a map: the same method on controls and twins, in numbers, and what it comes to in words."""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lib.explain.faithfulness import (
    Faithfulness,
    FloatArray,
    Localisation,
    control_maps,
    enlarge,
    faithfulness,
    localisation,
    mean_faithfulness,
    rank_correlation,
    structural_similarity,
)
from lib.explain.randomised import cascade, is_untrained, stages_with_weights
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

MapOf = Callable[[Any, Tensor], FloatArray]  # network and one image (1, 3, H, W) to a map (h, w)
ScoreOf = Callable[[Tensor], Tensor]  # logits (N, K) to the explained probability (N,)

TWIN, RANDOM = "twin", "random"
CONTROL_TITLES = {
    TWIN: "Same method, random weights", "edges": "Edges of the image", "middle": "The middle", RANDOM: "Random map",
}  # fmt: skip
DEPENDS, WEAKLY, NOT_AT_ALL = "yes", "weakly", "no"
GOOD, CAREFUL, DO_NOT_USE, NO_EVIDENCE = "good", "careful", "do not use", "no evidence"
_WEAK, _SAME = 0.3, 0.5  # rank correlations with maps of random weights, the mean over the curve
_ONE_CLASS = 0.9  # above, two classes have one map
_STEADY = 0.5  # below, a mirrored image has another map
_BATCH = 16
_NUM_RANDOM = 3


@dataclass(frozen=True)
class RandomisationStep:
    """How like the map still is after the stages from `stage` on were drawn anew."""

    stage: str
    spearman: float
    ssim: float


@dataclass(frozen=True, kw_only=True)
class HonestCard:
    """What was measured of one map. NaN and None where a check does not apply.

    Attributes:
        has_evidence: whether the map is anything but zeros; without it nothing else is measured.
        own: what removing and inserting by the map does.
        controls: the same for each control.
        randomisation: the map as more and more stages are drawn anew, from the last one down.
        is_untrained: whether the network still has the weights of its initialisation.
        other_class: rank correlation with the map of `other_class_name`, the runner-up.
        flip: rank correlation with the map of the mirrored image, mirrored back.
        outside: share of the relevance outside the retina, and that part's area.
        lesions: mask -> how well the map lies on it.
        picture: the map itself, to be drawn.
        control_pictures: the controls' maps.
    """

    has_evidence: bool
    own: Faithfulness | None = None
    controls: Mapping[str, Faithfulness] = field(default_factory=dict)
    randomisation: tuple[RandomisationStep, ...] = ()
    is_untrained: bool = False
    other_class: float = math.nan
    other_class_name: str = ""
    flip: float = math.nan
    outside: tuple[float, float] | None = None
    lesions: Mapping[str, Localisation] = field(default_factory=dict)
    picture: FloatArray | None = field(default=None, repr=False, compare=False)
    control_pictures: Mapping[str, FloatArray] = field(default_factory=dict, repr=False, compare=False)

    @property
    def gained(self) -> Faithfulness | None:
        """Faithfulness less the mean of the controls."""
        return self.own.less(mean_faithfulness(list(self.controls.values()))) if self.own and self.controls else None

    @property
    def unbeaten(self) -> list[str]:
        """The controls that are at least as faithful as the map."""
        return [name for name, control in self.controls.items() if self.own and control.gain >= self.own.gain]

    @property
    def depends_on_training(self) -> str:
        """Whether the map changes as weights are drawn anew: "yes", "weakly" or "no".

        By the mean over the curve: a map that only changes when the first layers go shows the image's edges. Where
        nothing is left of a map, its correlation counts as zero.
        """
        if self.is_untrained:
            return NOT_AT_ALL
        return DEPENDS if self.likeness < _WEAK else WEAKLY if self.likeness < _SAME else NOT_AT_ALL

    @property
    def likeness(self) -> float:
        """The mean magnitude of the rank correlations over the randomisation curve."""
        values = np.abs(np.nan_to_num([step.spearman for step in self.randomisation]))
        return float(values.mean()) if len(values) else 0.0

    @property
    def level(self) -> str:
        """One word: "good", "careful", "do not use", "no evidence"."""
        if not self.has_evidence:
            return NO_EVIDENCE
        if self.depends_on_training == NOT_AT_ALL or {TWIN, RANDOM} & set(self.unbeaten):
            return DO_NOT_USE
        is_doubtful = (
            self.depends_on_training == WEAKLY or self.unbeaten or self.other_class > _ONE_CLASS or self.flip < _STEADY
        )
        return CAREFUL if is_doubtful else GOOD

    def sentences(self) -> list[str]:
        """The verdict in words, the most important first."""
        if not self.has_evidence:
            return ["No evidence: at this stage nothing speaks for the answer."]
        said = {
            DO_NOT_USE: ["Do not use this map."],
            CAREFUL: ["Read this map with care."],
            GOOD: ["This map passes its checks: it says where the answer leaned, not that the answer is right."],
        }[self.level]
        depends = self.depends_on_training
        if depends == NOT_AT_ALL:
            why = "the network has not been trained" if self.is_untrained else "random weights give nearly the same"
            said.append(f"It does not depend on training: {why}.")
        elif depends == WEAKLY:
            said.append("It depends only weakly on training: random weights give a similar one.")
        if self.unbeaten:
            names = ", ".join(CONTROL_TITLES[name].lower() for name in self.unbeaten)
            said.append(f"No better than a control: {names}.")
        if self.other_class > _ONE_CLASS:
            said.append(f"Not specific to the class: the map of {self.other_class_name} is nearly the same.")
        if self.flip < _STEADY:
            said.append("Not steady: the mirrored image gets another map.")
        if self.outside and self.outside[0] > self.outside[1]:
            said.append(
                f"More of it lies outside the retina ({self.outside[0]:.0%}) than its area would get by chance "
                f"({self.outside[1]:.0%})."
            )
        return said

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, the verdict included."""
        found = asdict(replace(self, picture=None, control_pictures={}))
        for pictures in ("picture", "control_pictures"):
            found.pop(pictures)
        gained = self.gained
        return found | {
            "level": self.level,
            "likeness": self.likeness,
            "sentences": self.sentences(),
            "depends_on_training": self.depends_on_training,
            "gained": asdict(gained) if gained else None,
        }


def honest_card(
    network: StagedNetwork,
    batch: Tensor,
    map_of: MapOf,
    score_of: ScoreOf,
    *,
    brightness: FloatArray,
    runner_up: tuple[str, MapOf] | None = None,
    retina: np.ndarray | None = None,
    masks: Mapping[str, np.ndarray] | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> HonestCard:
    """Measure one map.

    Args:
        network: in evaluation mode; it is left as it is.
        batch: the image as the network takes it (1, 3, H, W).
        map_of: the method, its target already chosen: the twins are asked for the same class.
        score_of: the explained probability of logits.
        brightness: of the image (H, W), for the edge map.
        runner_up: the name of the next class, and the method asked for it.
        retina: where the retina is (H, W), for photographs of it.
        masks: name -> lesions (H, W).
        seed: of twins, ties, noise and the random map.
        progress: told after each check; may raise `Stopped`.
    """
    size = int(batch.shape[-1])
    own_map = np.asarray(map_of(network, batch), dtype=np.float64)
    if not np.abs(own_map).max() > 0:
        return HonestCard(has_evidence=False)
    total, done = len(stages_with_weights(network)) + 6, 0  # a twin each, the map, four controls, the comparisons

    def tell(what: str) -> None:
        nonlocal done
        done += 1
        progress(min(done, total), total, what)

    steps, twin_map = [], own_map
    for stage, twin in cascade(network, input_size_px=size, seed=seed):
        twin_map = np.asarray(map_of(twin, batch), dtype=np.float64)
        steps.append(RandomisationStep(stage, rank_correlation(own_map, twin_map), _ssim(own_map, twin_map)))
        tell("Drawing weights anew")
    maps = {TWIN: twin_map, **control_maps(brightness, (int(own_map.shape[0]), int(own_map.shape[1])), seed=seed)}
    image = batch[0].float().cpu().numpy()

    def answers(images: FloatArray) -> FloatArray:
        rows = torch.from_numpy(np.asarray(images, dtype=np.float32)).to(batch)
        with torch.no_grad():
            parts = [score_of(network(part)) for part in rows.split(_BATCH)]
        return torch.cat(parts).double().cpu().numpy()

    own = faithfulness(image, own_map, answers, seed=seed)
    tell("Removing pixels")
    controls = {}
    for name, values in maps.items():
        drawn = [values]
        if name == RANDOM:  # a single random map can be lucky
            generator = np.random.default_rng(seed + 1)
            drawn += [generator.random(values.shape) for _ in range(_NUM_RANDOM - 1)]
        controls[name] = mean_faithfulness([faithfulness(image, one, answers, seed=seed) for one in drawn])
        tell("Removing pixels by controls")
    mirrored = np.asarray(map_of(network, batch.flip(3)), dtype=np.float64)[:, ::-1]
    other = math.nan if runner_up is None else rank_correlation(own_map, runner_up[1](network, batch))
    tell("Comparing maps")
    found = {name: localisation(own_map, mask, seed=seed) for name, mask in (masks or {}).items()}
    return HonestCard(
        has_evidence=True,
        own=own,
        controls=controls,
        randomisation=tuple(steps),
        is_untrained=is_untrained(network),
        other_class=other,
        other_class_name=runner_up[0] if runner_up else "",
        flip=rank_correlation(own_map, mirrored),
        outside=_outside(own_map, retina) if retina is not None else None,
        lesions={name: one for name, one in found.items() if one is not None},
        picture=own_map,
        control_pictures=maps,
    )


def _ssim(first: FloatArray, second: FloatArray) -> float:
    return structural_similarity(first, second) if first.shape == second.shape else math.nan


def _outside(values: FloatArray, retina: np.ndarray) -> tuple[float, float] | None:
    positive = np.maximum(enlarge(np.maximum(values, 0.0), (retina.shape[0], retina.shape[1])), 0.0)
    if positive.sum() <= 0:
        return None
    return float(positive[~retina].sum() / positive.sum()), float((~retina).mean())
