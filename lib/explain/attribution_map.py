"""One map of one method for one image, as it is computed, shown, compared and taken away; and how to ask for it."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
from torch import Tensor

from lib.errors import UserError
from lib.evaluation.verdict import Verdict
from lib.explain.attribution import FloatArray, score_gradients, trace_image
from lib.explain.method_spec import MethodSpec
from lib.explain.methods import DEFAULT_METHOD, METHODS
from lib.explain.network import (
    check_map_stage,
    default_map_stage,
    evaluation_view,
    make_batch,
    map_stage_names,
    normal_tensor,
)
from lib.explain.pictures import PixelArray
from lib.explain.question import Question
from lib.explain.targets import CLASS, Target, TargetLike, as_target, closed_targets
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

FORMAT_VERSION = 1
NO_EVIDENCE = "no evidence"
_PACKAGES = ("torch", "captum", "numpy")


@dataclass(frozen=True, eq=False, kw_only=True)
class AttributionMap:
    """What one method says of one image.

    Attributes:
        raw: (h, w) float32 as computed, in units of the explained number; its own resolution.
        method: its entry in the table.
        stage: where it was taken; "" for a map of pixels.
        target: what was explained; closed, so never "the predicted class".
        target_text: the same in words.
        score: the explained number, such as the logit of a class.
        probabilities: (K,) softmax of the network's answer.
        options: all options of the method.
        seed: of methods that draw numbers.
        facts: what the method says beside its map, such as how many channels it took.
        network: what made it, such as name, weights, run; given by the caller.
        input_px: height and width of what the network was given.
    """

    raw: FloatArray
    method: MethodSpec
    target: Target
    target_text: str
    score: float
    probabilities: FloatArray
    stage: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    network: Mapping[str, Any] = field(default_factory=dict)
    input_px: tuple[int, int] = (0, 0)

    @property
    def is_signed(self) -> bool:
        """Whether places can speak against the answer."""
        return self.method.is_signed

    @property
    def scale(self) -> float:
        """The largest magnitude: what 1 means in `scaled`; 0 where there is no evidence."""
        return float(np.abs(self.raw).max())

    @property
    def full_colour(self) -> float:
        """The magnitude from which on a picture has its full colour: the scale, or, for pixels, all but 1 % of them.

        A few pixels of a map of gradients stand out so far that all others would be grey beside them.
        """
        is_of_pixels = self.raw.shape == tuple(self.input_px)
        common = float(np.quantile(np.abs(self.raw), 0.99)) if is_of_pixels else 0.0
        return common or self.scale

    @property
    def has_evidence(self) -> bool:
        """Whether any place speaks for the answer, or against it."""
        return self.scale > 0

    @property
    def scaled(self) -> FloatArray:
        """The map divided by its own scale, in 0..1, or -1..1 if it is signed; zeros where there is no evidence."""
        return self.raw / np.float32(self.scale) if self.has_evidence else np.zeros_like(self.raw)

    @property
    def words(self) -> str:
        """What is drawn and how strong it is: method, stage, target, values; or "no evidence" and nothing else."""
        if not self.has_evidence:
            return NO_EVIDENCE
        asked = "whatever the class" if self.method.ignores_target else f"for {self.target_text}"
        where = f" at {self.stage}" if self.stage else ""
        channels = f", {self.facts['channels']} channels" if "channels" in self.facts else ""
        low = f"{self.raw.min():.2g} to " if self.is_signed else "up to "
        return f"{self.method.title}{where}{channels}, {asked}; values {low}{self.raw.max():.2g}."

    def manifest(self) -> dict[str, Any]:
        """All that it takes to read the map, or to make it again; JSON-ready."""
        probability = self.probabilities[self.target.index] if self.target.kind == CLASS else None
        return {
            "format_version": FORMAT_VERSION,
            "method": self.method.name,
            "reference": self.method.reference,
            "stage": self.stage,
            "target": self.target.to_text(),
            "target_text": self.target_text,
            "limits": list(self.target.limits),
            "score": self.score,
            "probability": None if probability is None else float(probability),
            "options": dict(self.options),
            "seed": self.seed,
            "is_signed": self.is_signed,
            "shape": list(self.raw.shape),
            "input_px": list(self.input_px),
            "scale": self.scale,
            "full_colour": self.full_colour,
            "smallest": float(self.raw.min()),
            "largest": float(self.raw.max()),
            "has_evidence": self.has_evidence,
            "facts": dict(self.facts),
            "network": dict(self.network),
            "versions": _versions(),
        }

    def npy(self) -> bytes:
        """The raw map as a `.npy` file."""
        buffer = io.BytesIO()
        np.save(buffer, self.raw, allow_pickle=False)
        return buffer.getvalue()

    def manifest_json(self) -> str:
        """The manifest as a file."""
        return json.dumps(self.manifest(), indent=2, ensure_ascii=False) + "\n"


def maps_npz(maps: Mapping[str, AttributionMap]) -> bytes:
    """Raw maps under names of the caller's in one `.npz` file, their manifests as JSON text under "manifest"."""
    buffer = io.BytesIO()
    manifests = {name: one.manifest() for name, one in maps.items()}
    arrays: dict[str, Any] = {name: one.raw for name, one in maps.items()}
    np.savez_compressed(buffer, manifest=np.array(json.dumps(manifests, ensure_ascii=False)), **arrays)
    return buffer.getvalue()


def attribute(
    network: StagedNetwork,
    batch: Tensor,
    *,
    method: str = DEFAULT_METHOD,
    stage: str | None = None,
    target: TargetLike | Sequence[Any] = None,
    options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
    verdicts: Sequence[Verdict] | None = None,
    true_classes: Sequence[int | None] | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
    about: Mapping[str, Any] | None = None,
) -> list[AttributionMap]:
    """One map for each image of a batch (N, 3, H, W); the network is left as it is, and other threads may use it.

    Args:
        method: a name in the table.
        stage: where a method of stages looks; None for the network's own choice. Nothing for methods of pixels.
        target: one for all images or one for each, see `as_target`; by default the predicted class.
        options: of the method; those left out have their defaults.
        class_names: in the order of the logits, for words and for targets given as words.
        verdicts: what the trained classifier says of each image, which gives the predicted class.
        true_classes: for the target "true".
        seed: of methods that draw numbers.
        progress: told about methods of many passes; may raise `Stopped`.
        about: of the network, for the manifest.

    Raises:
        UserError: unknown method, stage, option or class; a method that does not fit the network.
    """
    spec = METHODS.get(method)
    chosen = _stage_of(spec, network, stage)
    with evaluation_view(network) as view:
        question = _question(
            view, batch, spec, chosen, target=target, options=options, class_names=class_names, verdicts=verdicts,
            true_classes=true_classes, seed=seed, progress=progress,
        )  # fmt: skip
        return _answered(question, spec, class_names, about)


def attribute_strip(
    network: StagedNetwork,
    batch: Tensor,
    *,
    method: str = DEFAULT_METHOD,
    class_names: Sequence[str] = (),
    about: Mapping[str, Any] | None = None,
    **asked: Any,
) -> dict[str, AttributionMap]:
    """Stage -> map of one image (1, 3, H, W) at every stage with a map, by one pass there and back for all of them.

    Takes what `attribute` takes, except the stage; a method of pixels has one map, under "".
    """
    spec = METHODS.get(method)
    if not spec.is_at_stage or spec.is_slow:
        stages = map_stage_names(network) if spec.is_at_stage else ("",)
        each = partial(attribute, network, batch, method=method, class_names=class_names, about=about, **asked)
        return {stage: each(stage=stage or None)[0] for stage in stages}
    _stage_of(spec, network, None)
    trace = trace_image(network, batch)
    found = {}
    with evaluation_view(network) as view:
        stages = map_stage_names(view)
        questions = {
            stage: _question(view, normal_tensor(batch), spec, stage, class_names=class_names, **asked)
            for stage in stages
        }
        targets = questions[stages[0]].close(trace.logits.detach())
        outputs = [trace.outputs[stage] for stage in stages]
        gradients: Sequence[Any] = [None] * len(stages)
        if not spec.ignores_target:
            gradients = score_gradients(targets, trace.logits, outputs)[1]
        for (stage, question), output, gradient in zip(questions.items(), outputs, gradients, strict=True):
            kept = {"logits": trace.logits.detach(), "activation": output.detach(), "gradient": gradient}
            question.__dict__.update(targets=targets, **kept)  # in the place of what it would compute itself
            found[stage] = _answered(question, spec, class_names, about)[0]
    return found


def attribute_image(
    pixels: PixelArray,
    network: StagedNetwork,
    *,
    preprocessing: Any,
    class_names: Sequence[str],
    verdict: Verdict | None = None,
    true_class: int | None = None,
    is_ordinal: bool | None = None,
    target: TargetLike = None,
    **asked: Any,
) -> AttributionMap:
    """One map of one picture (S, S, 3); `preprocessing` is whatever `InputTransform.of` reads.

    The map lies on `InputTransform.framed(pixels)`. Takes what `attribute` takes besides.
    """
    batch = make_batch(pixels, network, preprocessing)
    return attribute(
        network, batch, class_names=class_names, target=as_target(target, class_names, is_ordinal=is_ordinal),
        verdicts=None if verdict is None else [verdict], true_classes=[true_class], **asked,
    )[0]  # fmt: skip


def _stage_of(spec: MethodSpec, network: StagedNetwork, stage: str | None) -> str:
    reason = spec.misfit(network)
    if reason:
        raise UserError(f"{spec.title} does not fit this network. {reason}")
    if not spec.is_at_stage:
        if stage:
            raise UserError(f"{spec.title} is a map of the image's pixels and takes no stage; leave {stage!r} out.")
        return ""
    if stage is None or stage == "":
        return default_map_stage(network)
    check_map_stage(network, stage)
    return stage


def _question(
    view: StagedNetwork,
    batch: Tensor,
    spec: MethodSpec,
    stage: str,
    *,
    target: TargetLike | Sequence[Any] = None,
    options: Mapping[str, Any] | None = None,
    class_names: Sequence[str] = (),
    verdicts: Sequence[Verdict] | None = None,
    true_classes: Sequence[int | None] | None = None,
    seed: int = 0,
    progress: Progress = ignore_progress,
) -> Question:
    asked = as_target(target, class_names) if isinstance(target, str) else target
    close = partial(closed_targets, asked, verdicts=verdicts, true_classes=true_classes)
    return Question(view, normal_tensor(batch), close, stage, spec.complete(options), seed, progress, spec.title)


def _answered(
    question: Question, spec: MethodSpec, class_names: Sequence[str], about: Mapping[str, Any] | None
) -> list[AttributionMap]:
    maps = spec.explain(question).detach().float().cpu().numpy()
    logits = question.logits.float().cpu()
    if not np.isfinite(maps).all() or not np.isfinite(logits.numpy()).all():
        raise UserError(
            "The network answers with no number, so nothing can be said of its answer; train the run again."
        )
    scores, probabilities = question.scores.tolist(), logits.softmax(dim=1).numpy()
    names = class_names or [str(number) for number in range(logits.shape[1])]
    height, width = question.images.shape[2:]
    return [
        AttributionMap(
            raw=np.ascontiguousarray(raw), method=spec, target=target, target_text=target.describe(names),
            score=scores[row], probabilities=probabilities[row], stage=question.stage, options=question.options,
            seed=question.seed, input_px=(height, width), network=dict(about or _describe(question.network)),
            facts={key: value[row] if isinstance(value, list) else value for key, value in question.facts.items()},
        )
        for row, (raw, target) in enumerate(zip(maps, question.targets, strict=True))
    ]  # fmt: skip


def _describe(network: Any) -> dict[str, Any]:
    """What a network says of itself."""
    spec = getattr(network, "spec", None)
    known = {"backbone": spec.name} if spec is not None else {}
    return known | {name: getattr(network, name) for name in ("weights", "seed") if hasattr(network, name)}


def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "unknown"
    return found
