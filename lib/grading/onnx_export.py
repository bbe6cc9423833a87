"""A whole classifier as one ONNX file, from normalised input to probabilities, compared with torch before it is kept.

The file can be run without this program and without torch. What it does not hold: decoding, the square that is cut from
a photograph, resizing and normalisation (said in its properties), and the gates.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.atomic import atomic_path
from lib.errors import UserError
from lib.features.onnx_session import EngineUnavailable, export_module, load_session, why_missing
from lib.grading.grader import Grader
from lib.models.backbones import BACKBONES
from lib.progress import Progress, ignore_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_DIFFERENCE = 1e-4  # of a probability, between ONNX Runtime and torch
_OUTPUT = "probabilities"
_NUM_RANDOM, _NUM_REAL = 4, 8


def why_no_onnx(manifest: dict[str, Any]) -> str:
    """Why a classifier cannot become an ONNX file, as a sentence; "" if nothing is known against it. Without torch."""
    if why := why_missing():
        return f"An ONNX file cannot be written: {why}."
    if str(manifest.get("backbone")) == "handcrafted":
        return (
            "Hand-made measures of the retina are computed by image processing (vessel filters, morphology), not by a "
            "network, so there is nothing that ONNX could hold; take the zip, which this program grades with."
        )
    return ""


def write_onnx(grader: Grader, target: Path, *, progress: Progress = ignore_progress) -> float:
    """Write the classifier as one ONNX file; returns the largest difference of a probability that was found.

    Input `images` (n, 3, S, S) float32, normalised; output `probabilities` (n, K): the network's own, before any
    calibration. The number of images is open. It is compared with torch on random inputs and on images that come with
    the program, one alone and several at once.

    Raises:
        UserError: it cannot be exported, or gives other probabilities; no file is written then.
    """
    import torch

    if why := why_no_onnx({"backbone": grader.classifier.spec.name}):
        raise UserError(why)
    progress(0, 3, "Exporting the network")
    module = _with_probabilities(grader.classifier)
    size_px = grader.inputs.size_px
    try:
        content = _with_properties(export_module(module, (3, size_px, size_px), output=_OUTPUT), _properties(grader))
        progress(1, 3, "Comparing with torch")
        session = load_session(content)
    except EngineUnavailable as error:
        raise UserError(f"This classifier cannot be written as an ONNX file: {error}.") from error

    def computed(batch: "Tensor") -> np.ndarray:
        found: np.ndarray = session.run([_OUTPUT], {"images": batch.cpu().contiguous().numpy()})[0]
        return found

    with torch.inference_mode():
        largest = max(_difference(computed, grader.classifier, batch) for batch in _batches(grader))
    if not largest <= MAX_DIFFERENCE:
        raise UserError(
            f"The ONNX file gives other probabilities than torch (they differ by up to {largest:.2g}, at most "
            f"{MAX_DIFFERENCE:g} is allowed), so it was not kept; take the zip, which holds the network itself."
        )
    progress(2, 3, "Writing the file")
    with atomic_path(target) as temporary:
        temporary.write_bytes(content)
    progress(3, 3, "Written")
    return largest


def _with_probabilities(classifier: Any) -> "nn.Module":
    from torch import nn

    from lib.models.head_layers import NearestNeighborsHead

    head = _Votes(classifier.head) if isinstance(classifier.head, NearestNeighborsHead) else classifier.head

    class Probabilities(nn.Module):
        """Stages, pooling, head and softmax."""

        def __init__(self) -> None:
            super().__init__()
            self.stages, self.head = classifier.stages, head

        def forward(self, images: "Tensor") -> "Tensor":
            hidden = images
            for stage in self.stages.values():
                hidden = stage(hidden)
            found: Tensor = self.head(classifier.pooled(hidden)).float().softmax(1)
            return found

    return Probabilities().eval()


def _Votes(head: Any) -> "nn.Module":  # noqa: N802  (a class whose base is imported late)
    import torch.nn.functional as F
    from torch import nn

    from lib.models.head_layers import neighbor_votes

    class Votes(nn.Module):
        """Nearest neighbours without the loop over blocks, whose number a trace would fix."""

        features: "Tensor"
        classes: "Tensor"

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("features", head.features)
            self.register_buffer("classes", F.one_hot(head.targets, head.num_classes).float())

        def forward(self, features: "Tensor") -> "Tensor":
            return neighbor_votes(features, self.features, self.classes, num_neighbors=head.num_neighbors)

    return Votes()


def _batches(grader: Grader) -> list["Tensor"]:
    """Random inputs and real ones, several at once and one alone: a trace might have fixed their number."""
    import torch

    side = grader.inputs.size_px
    drawn = torch.randn(_NUM_RANDOM, 3, side, side, generator=torch.Generator().manual_seed(0))
    real = _real_inputs(grader)
    return [drawn, drawn[:1], *([real, real[:1]] if len(real) else [])]


def _real_inputs(grader: Grader) -> "Tensor":
    """Images that come with the program, as the network reads them; none where this copy has none."""
    import torch

    from lib.data.builtin import drawn_samples, photographs
    from lib.data.images import DecodedImage

    paths = [sample.path for sample in (*photographs(), *drawn_samples())][: 2 * _NUM_REAL]
    with grader.inputs.decoder_pool(1) as pool:
        decoded = [image for _, image in pool.decode_many(paths) if isinstance(image, DecodedImage)]
    if not decoded:
        return torch.empty(0)
    return grader.inputs.batch(np.stack([image.pixels for image in decoded[:_NUM_REAL]]), device="cpu").float()


def _difference(computed: Callable[["Tensor"], np.ndarray], classifier: Any, batch: "Tensor") -> float:
    """The largest difference of a probability; NaN counts as one, and so does a wrong shape."""
    device = next((tensor.device for tensor in classifier.state_dict().values()), batch.device)
    expected = classifier(batch.to(device)).float().softmax(1).cpu().numpy()
    try:
        found = computed(batch)
    except Exception:  # noqa: BLE001  (ONNX Runtime's own; what cannot be computed is no file to keep)
        return float("inf")
    if found.shape != expected.shape:
        return float("inf")
    return float(np.max(np.abs(found - expected), initial=0.0))


def _properties(grader: Grader) -> dict[str, str]:
    manifest = grader.manifest
    facts = {
        "classes": list(grader.class_names),
        "preprocessing": grader.preprocessing,
        "input": f"images (n, 3, {grader.inputs.size_px}, {grader.inputs.size_px}), float32, RGB, (value - mean) / std",
        "output": "probabilities (n, K), not calibrated",
        "backbone": BACKBONES.get(grader.classifier.spec.name).title,
        "strategy": str(manifest.get("strategy") or ""),
        "dataset": manifest.get("dataset"),
        "run_id": str(manifest.get("run_id") or grader.run),
        "thresholds": manifest.get("thresholds"),
        "licences": manifest.get("licences"),
        "notice": grader.header.notice,
    }
    return {key: value if isinstance(value, str) else json.dumps(value) for key, value in facts.items() if value}


def _with_properties(content: bytes, properties: dict[str, str]) -> bytes:
    import onnx

    model = onnx.load_from_string(content)
    onnx.helper.set_model_props(model, properties)
    model.producer_name, model.doc_string = (
        "Transferscope",
        "An image classifier, from normalised input to probabilities",
    )
    found: bytes = model.SerializeToString()
    return found
