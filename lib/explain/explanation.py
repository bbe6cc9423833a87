"""One image, one network, one class: the maps of every stage, ready to be shown on a page or saved as a picture."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import atomic_path
from lib.data.input_transform import InputTransform
from lib.errors import UserError
from lib.evaluation.verdict import GRADED, Verdict
from lib.explain.attribution import CamResult, FloatArray, NoCam, NoGradient, trace_image
from lib.explain.attribution_map import AttributionMap, attribute, attribute_strip, maps_npz
from lib.explain.method_spec import MethodSpec
from lib.explain.methods import DEFAULT_METHOD, METHODS
from lib.explain.network import check_drawn_stage, make_batch
from lib.explain.pictures import TILE_PX, PixelArray, Tile, magnitude_picture, overlay, sheet_png
from lib.explain.side_by_side import map_tile
from lib.explain.targets import CLASS, PREDICTED, Target, TargetLike, as_target, target_scores
from lib.models.stages import StagedNetwork
from lib.progress import Progress, ignore_progress

CAM_NOTE = "Each map is scaled to its own largest value: yellow speaks most for the class, grey not at all."
ACTIVATION_NOTE = "Mean absolute activation over all channels; violet to yellow is the range under each map."


@dataclass(frozen=True)
class Explanation:
    """What a network sees in one image.

    `cams` is None where the head passes no gradient, where no stage has a map, and where no class is given and none was
    asked for; `notice` then says why. `verdict` is what a trained classifier says of the image: its class is the
    answer, and one that is turned away has none. A network as published has no verdict; its most probable class is the
    answer.
    """

    pixels: PixelArray  # (S, S, 3), the whole input
    class_names: tuple[str, ...]
    probabilities: FloatArray  # (K,)
    target: int  # the class explained; of a difference the first one
    activations: Mapping[str, FloatArray]  # stage -> (h, w) mean absolute activation
    cams: Mapping[str, CamResult] | None
    notice: str = ""
    verdict: Verdict | None = None
    stage_titles: Mapping[str, str] = field(default_factory=dict)  # by code name
    asked: Target | None = None  # what is explained where it is no class: a difference or a grade
    asked_score: float = float("nan")  # and the number that it comes to

    @property
    def answer(self) -> int | None:
        """The class that the network answers with; None where the image is turned away."""
        return int(self.probabilities.argmax()) if self.verdict is None else self.verdict.target

    @property
    def is_refused(self) -> bool:
        """Whether no class is given: the probabilities do not count."""
        return self.answer is None

    @property
    def target_name(self) -> str:
        """The name of the class that is explained, or what else is, in words."""
        return self.class_names[self.target] if self.asked is None else self.asked.describe(self.class_names)

    @property
    def score(self) -> float:
        """Its softmax probability; the difference of logits or the grade, where that is explained."""
        return float(self.probabilities[self.target]) if self.asked is None else self.asked_score

    @property
    def is_predicted(self) -> bool:
        """Whether the explained class is the network's own answer."""
        return self.asked is None and self.target == self.answer

    def top_classes(self, n: int = 5) -> list[tuple[str, float]]:
        """The `n` most probable classes, most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:n]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]

    def describe_target(self) -> str:
        """The class, whether it is the prediction, and its probability, in words."""
        if self.asked is not None:
            about = f"{self.target_name[:1].upper()}{self.target_name[1:]} ({self.asked_score:.3g}"
            return f"{about}, which does not count: the image is turned away)" if self.is_refused else f"{about})"
        kind = "predicted" if self.is_predicted else "chosen"
        if self.is_predicted and self.verdict is not None and self.verdict.expected_grade is not None:
            kind = f"given by the expected grade {self.verdict.expected_grade:.2f}"
        words = f'Class "{self.target_name}" ({kind}, probability {describe_probability(self.score)}'
        return f"{words}, which does not count: the image is turned away)" if self.is_refused else f"{words})"


def explain(
    pixels: PixelArray,
    network: StagedNetwork,
    *,
    preprocessing: Any,
    class_names: Sequence[str],
    target: TargetLike = None,
    verdict: Verdict | None = None,
    true_class: int | None = None,
    is_ordinal: bool | None = None,
) -> Explanation:
    """Explain one picture (S, S, 3) at every stage that can be drawn; `target` None explains the class that is given.

    Args:
        pixels: uint8, as decoded or stored.
        network: which runs in evaluation mode.
        preprocessing: a backbone's specification or a bundle's `preprocessing`, see `InputTransform.of`.
        class_names: in the order of the logits.
        target: another class to explain, by name or number, or whatever else `as_target` reads.
        verdict: what the trained classifier says of this picture (`Grader.answer`); its probabilities are shown.
        true_class: what the data set says that it is, for the target "true".
        is_ordinal: False where the classes have no order, so that no grade can be explained.
    """
    wanted = as_target(target, class_names, is_ordinal=is_ordinal)
    inputs = InputTransform.of(preprocessing)
    trace = trace_image(network, make_batch(pixels, network, inputs))
    # The verdict's probabilities are those of grading, in its number format; the maps are drawn in float32.
    probabilities = trace.probabilities if verdict is None else np.array(verdict.scores, dtype=np.float32)
    if len(probabilities) != len(class_names):
        raise UserError(f"The network answers with {len(probabilities)} classes, but {len(class_names)} are named.")
    best = int(np.nan_to_num(probabilities).argmax())
    given = verdict.target if verdict is not None else best
    is_asked = wanted.kind != PREDICTED
    cams, notice = None, ""
    if verdict is not None and given is None:  # turned away
        why = "so there is no map of one; name a class to see its map."
        if is_asked:
            why = "and this map does not say that the class is in the image."
        notice = f"{verdict.reason} No class is given, {why}"
    closed = Target(CLASS, best if given is None else given)
    if is_asked:
        closed = wanted.closed(closed.index, verdict=verdict, true_class=true_class).checked(len(class_names))
    if is_asked or given is not None:
        try:
            cams = trace.cams(closed)
        except NoCam as error:
            notice = f"{notice} {error}".strip()
    asked = None if closed.kind == CLASS else closed
    score = float(target_scores([closed], trace.logits.detach())[0])
    index = closed.index if closed.is_linear else best if given is None else given
    shown = inputs.framed(pixels)  # what the maps lie on
    activations = trace.activations()
    titles = {spec.name: spec.title for spec in network.stage_specs}
    return Explanation(
        shown, tuple(class_names), probabilities, index, activations, cams, notice, verdict, titles, asked, score
    )  # fmt: skip


def map_tiles(explanation: Explanation, *, is_cam: bool, stages: Sequence[str] | None = None) -> list[Tile]:
    """The input and one map for each of `stages` (by default all, in order): Grad-CAM overlays or mean activations."""
    if is_cam and explanation.cams is None:
        raise NoGradient
    height, width = explanation.pixels.shape[:2]
    tiles = [Tile("Input", f"{width} × {height} pixels", explanation.pixels)]
    cams = explanation.cams or {}
    for stage in (cams if is_cam else explanation.activations) if stages is None else stages:
        if is_cam:
            values, about = cams[stage].maps[0], "" if cams[stage].raw_max[0] > 0 else ", no evidence"
            picture = overlay(explanation.pixels, values)
        else:
            # Each map from its lowest to its highest value: a common scale would leave the weak stages black.
            values = explanation.activations[stage]
            about = f", {values.min():.2g} to {values.max():.2g}"
            picture = magnitude_picture(values, max(TILE_PX, *values.shape), low=float(values.min()))
        title = explanation.stage_titles.get(stage, stage)
        tiles.append(Tile(title, f"{stage}: {describe_cells(values.shape)}{about}", picture, stage))
    return tiles


def describe_maps(explanation: Explanation, *, is_cam: bool) -> str:
    """What a strip shows, in words: class and score for Grad-CAM, and how its colours are scaled."""
    return f"{explanation.describe_target()}. {CAM_NOTE}" if is_cam else ACTIVATION_NOTE


def describe_probability(value: float) -> str:
    """Two digits, and neither "0.00" nor "1.00" for what is not."""
    if 0.0 < value < 0.005:
        return "below 0.01"
    return "above 0.99" if 0.995 <= value < 1.0 else f"{value:.2f}"


def describe_cells(shape: Sequence[int]) -> str:
    """The resolution of a map in words: "7 x 7 cells"."""
    return f"{shape[0]} × {shape[1]} cells"


def explain_image(
    pixels: PixelArray,
    network: StagedNetwork,
    preprocessing: Any,
    class_names: Sequence[str],
    *,
    stage: str | None = None,
    target: TargetLike = None,
    method: str | None = None,
    options: Mapping[str, Any] | None = None,
    out: Path | str,
    raw: Path | str | None = None,
    network_title: str = "",
    notes: Sequence[str] = (),
    verdict: Verdict | None = None,
    is_ordinal: bool | None = None,
    progress: Progress = ignore_progress,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Explain a picture and save it as PNG: at one stage, or the strip through all map stages if `stage` is None.

    Without a `method` it is Grad-CAM; where the head then passes no gradient, or a `verdict` gives no class and none is
    asked for, the mean activations are saved instead and `notice` says why. A slow method without a stage looks at the
    network's own one. `notes` are written under the picture; `raw` is a file for the raw maps and their manifests
    (`maps_npz`).

    Returns:
        JSON-ready: out, raw, method, method_name, options, target, class_name, is_predicted, score, stages (name,
        height, width), top, notice, status, rule, reason, distance, limit. Where no class is given and none was asked
        for, target, class_name and score are None; where none is given, top is empty.

    Raises:
        UserError: unknown stage, method, option or class; a method that does not fit this network.
    """
    spec = METHODS.get(method or DEFAULT_METHOD)
    settings = spec.complete(options)
    if method is None and stage is not None:
        check_drawn_stage(network, stage)
    explanation = explain(
        pixels, network, preprocessing=preprocessing, class_names=class_names, target=target, verdict=verdict,
        is_ordinal=is_ordinal,
    )  # fmt: skip
    is_asked = as_target(target, class_names).kind != PREDICTED
    maps: dict[str, AttributionMap] = {}
    cams = explanation.cams or {}
    if (method is not None or stage in cams or (stage is None and cams)) and (is_asked or not explanation.is_refused):
        wanted = explanation.asked or Target(CLASS, explanation.target)
        batch = make_batch(pixels, network, preprocessing)
        asked: dict[str, Any] = {"method": spec.name, "target": wanted, "options": settings, "progress": progress}
        asked |= {"about": about, "class_names": class_names}
        if stage is None and not spec.is_slow:
            maps = attribute_strip(network, batch, **asked)
        else:
            (one,) = attribute(network, batch, stage=stage, **asked)
            maps = {one.stage: one}
    title = spec.title if maps else "Mean activation"
    tiles = map_tiles(explanation, is_cam=False, stages=[stage] if stage and not maps else None if not maps else [])
    tiles += [map_tile(explanation.pixels, one, explanation.stage_titles.get(at, title)) for at, one in maps.items()]
    words = f"{explanation.describe_target()}. {_describe_colours(spec)}" if maps else ACTIVATION_NOTE
    content = sheet_png(
        tiles, title=f"{title}, {network_title}" if network_title else title, notes=[words, explanation.notice, *notes]
    )
    _write(Path(out), content)
    if raw is not None:
        if not maps:
            raise UserError(f"There is no map to save as {str(raw)!r}. {explanation.notice}".strip())
        _write(Path(raw), maps_npz({at or "pixels": one for at, one in maps.items()}))
    is_named = is_asked or not explanation.is_refused
    said = verdict or Verdict(status=GRADED)
    activations = explanation.activations
    drawn = {at: one.raw for at, one in maps.items()} or ({stage: activations[stage]} if stage else activations)
    return {
        "out": str(out),
        "raw": None if raw is None else str(raw),
        "method": title,
        "method_name": spec.name if maps else "mean_activation",
        "options": settings if maps else {},
        "target": (explanation.asked.to_text() if explanation.asked else explanation.target) if is_named else None,
        "class_name": explanation.target_name if is_named else None,
        "is_predicted": explanation.is_predicted,
        "score": explanation.score if is_named else None,
        "has_evidence": any(one.has_evidence for one in maps.values()),
        "stages": [{"stage": at, "height": one.shape[0], "width": one.shape[1]} for at, one in drawn.items()],
        "top": [
            {"class_name": name, "probability": value}
            for name, value in explanation.top_classes(0 if explanation.is_refused else 5)
        ],
        "notice": explanation.notice,
        **{key: getattr(said, key) for key in ("status", "rule", "reason", "distance")},
        "limit": said.threshold,
    }


def _describe_colours(spec: MethodSpec) -> str:
    if spec.is_signed:
        return "Each map is scaled to itself: red speaks for the answer, blue against it."
    return CAM_NOTE if spec.name == DEFAULT_METHOD else "Each map is scaled to itself: yellow is most, grey nothing."


def _write(path: Path, content: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
