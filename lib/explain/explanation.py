"""One image, one network, one class: the maps of every stage, ready to be shown on a page or saved as a picture."""

import difflib
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
from lib.explain.network import check_drawn_stage, make_batch
from lib.explain.pictures import TILE_PX, PixelArray, Tile, magnitude_picture, overlay, sheet_png
from lib.models.stages import StagedNetwork

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
    target: int
    activations: Mapping[str, FloatArray]  # stage -> (h, w) mean absolute activation
    cams: Mapping[str, CamResult] | None
    notice: str = ""
    verdict: Verdict | None = None
    stage_titles: Mapping[str, str] = field(default_factory=dict)  # by code name

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
        """The name of the class that is explained."""
        return self.class_names[self.target]

    @property
    def score(self) -> float:
        """Its softmax probability."""
        return float(self.probabilities[self.target])

    @property
    def is_predicted(self) -> bool:
        """Whether the explained class is the network's own answer."""
        return self.target == self.answer

    def top_classes(self, n: int = 5) -> list[tuple[str, float]]:
        """The `n` most probable classes, most probable first."""
        order = np.argsort(-self.probabilities, kind="stable")[:n]
        return [(self.class_names[index], float(self.probabilities[index])) for index in order]

    def describe_target(self) -> str:
        """The class, whether it is the prediction, and its probability, in words."""
        kind = "predicted" if self.is_predicted else "chosen"
        if self.is_predicted and self.verdict is not None and self.verdict.expected_grade is not None:
            kind = f"given by the expected grade {self.verdict.expected_grade:.2f}"
        words = f'Class "{self.target_name}" ({kind}, probability {describe_probability(self.score)}'
        return f"{words}, which does not count: the image is turned away)" if self.is_refused else f"{words})"


def resolve_target(target: str | int | None, class_names: Sequence[str]) -> int | None:
    """Turn a class name or number into its number; None stays None (the predicted class).

    Raises:
        UserError: no such class; the nearest name is suggested.
    """
    if target is None:
        return None
    if isinstance(target, str):
        if target in class_names:
            return list(class_names).index(target)
        folded = {name.casefold(): index for index, name in reversed(list(enumerate(class_names)))}
        if target.casefold() in folded:
            return folded[target.casefold()]
        if not target.isdigit():
            near = difflib.get_close_matches(target.casefold(), folded, n=1)
            hint = f" Did you mean {class_names[folded[near[0]]]!r}?" if near else ""
            raise UserError(f"There is no class {target!r} among the {len(class_names)} classes.{hint}")
    index = int(target)
    if not 0 <= index < len(class_names):
        raise UserError(f"There is no class number {index}: choose 0 to {len(class_names) - 1}, or a class name.")
    return index


def explain(
    pixels: PixelArray,
    network: StagedNetwork,
    *,
    preprocessing: Any,
    class_names: Sequence[str],
    target: str | int | None = None,
    verdict: Verdict | None = None,
) -> Explanation:
    """Explain one picture (S, S, 3) at every stage that can be drawn; `target` None explains the class that is given.

    Args:
        pixels: uint8, as decoded or stored.
        network: which runs in evaluation mode.
        preprocessing: a backbone's specification or a bundle's `preprocessing`, see `InputTransform.of`.
        class_names: in the order of the logits.
        target: another class to explain, by name or number.
        verdict: what the trained classifier says of this picture (`Grader.answer`); its probabilities are shown.
    """
    wanted = resolve_target(target, class_names)
    inputs = InputTransform.of(preprocessing)
    trace = trace_image(network, make_batch(pixels, network, inputs))
    # The verdict's probabilities are those of grading, in its number format; the maps are drawn in float32.
    probabilities = trace.probabilities if verdict is None else np.array(verdict.scores, dtype=np.float32)
    if len(probabilities) != len(class_names):
        raise UserError(f"The network answers with {len(probabilities)} classes, but {len(class_names)} are named.")
    given = verdict.target if verdict is not None else int(probabilities.argmax())
    cams, notice = None, ""
    if verdict is not None and given is None:  # turned away
        why = "so there is no map of one; name a class to see its map."
        if wanted is not None:
            why = "and this map does not say that the class is in the image."
        notice = f"{verdict.reason} No class is given, {why}"
    index = next((one for one in (wanted, given) if one is not None), int(np.nan_to_num(probabilities).argmax()))
    if wanted is not None or given is not None:
        try:
            cams = trace.cams(index)
        except NoCam as error:
            notice = f"{notice} {error}".strip()
    shown = inputs.framed(pixels)  # what the maps lie on
    activations = trace.activations()
    titles = {spec.name: spec.title for spec in network.stage_specs}
    return Explanation(shown, tuple(class_names), probabilities, index, activations, cams, notice, verdict, titles)


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
    target: str | int | None = None,
    out: Path | str,
    network_title: str = "",
    notes: Sequence[str] = (),
    verdict: Verdict | None = None,
) -> dict[str, Any]:
    """Explain a picture and save it as PNG: one stage, or the strip through all map stages if `stage` is None.

    Where the head passes no gradient, or a `verdict` gives no class and none is asked for, the mean activations are
    saved instead and `notice` says why. `notes` are written under the picture.

    Returns:
        JSON-ready: out, method, target, class_name, is_predicted, score, stages (name, height, width), top, notice,
        status, rule, reason, distance, limit. Where no class is given and none was asked for, target, class_name and
        score are None; where none is given, top is empty.
    """
    if stage is not None:
        check_drawn_stage(network, stage)
    explanation = explain(
        pixels, network, preprocessing=preprocessing, class_names=class_names, target=target, verdict=verdict
    )
    cams = explanation.cams or {}
    is_cam = stage in cams if stage else bool(cams)
    method = "Grad-CAM" if is_cam else "Mean activation"
    stages = [stage] if stage else list(cams or explanation.activations)
    content = sheet_png(
        map_tiles(explanation, is_cam=is_cam, stages=stages),
        title=f"{method}, {network_title}" if network_title else method,
        notes=[describe_maps(explanation, is_cam=is_cam), explanation.notice, *notes],
    )
    with atomic_path(Path(out)) as temporary:
        temporary.write_bytes(content)
    is_named = target is not None or not explanation.is_refused
    said = verdict or Verdict(status=GRADED)
    shapes = {name: values.shape for name, values in explanation.activations.items()}
    return {
        "out": str(out),
        "method": method,
        "target": explanation.target if is_named else None,
        "class_name": explanation.target_name if is_named else None,
        "is_predicted": explanation.is_predicted,
        "score": explanation.score if is_named else None,
        "stages": [{"stage": name, "height": shapes[name][0], "width": shapes[name][1]} for name in stages],
        "top": [
            {"class_name": name, "probability": value}
            for name, value in explanation.top_classes(0 if explanation.is_refused else 5)
        ],
        "notice": explanation.notice,
        **{key: getattr(said, key) for key in ("status", "rule", "reason", "distance")},
        "limit": said.threshold,
    }
