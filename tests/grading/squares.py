"""A tiny trained classifier, its gate and images it knows: red-ish squares against blue-ish ones."""

import io

import numpy as np
from PIL import Image

from lib.evaluation.operating_point import Reading
from lib.evaluation.resampling import Estimate
from lib.grading import operating_point
from lib.models.bundles import save_bundle
from lib.tracking import create_run
from tests.run_store import make_run_store

SIZE_PX = 32
CLASS_NAMES = ("red", "blue")
FIRST_STAGE = "stem"


def make_pixels(kind, seed):
    generator = np.random.default_rng(seed)
    pixels = generator.integers(0, 70, (SIZE_PX, SIZE_PX, 3)).astype(np.uint8)
    pixels[..., 0 if kind == "red" else 2] += 150
    return pixels


def encode(pixels, kind="PNG"):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def png(kind, seed=0):
    return encode(make_pixels(kind, seed))


def train_on_squares():
    """(classifier, manifest, gate) of a linear probe fitted in closed form on 40 squares."""
    import torch

    from lib.data.input_transform import to_batch
    from lib.models.classifier import build_classifier
    from lib.models.gate import fit_gate
    from lib.models.stages import build_backbone, set_batchnorm_statistics

    preprocessing = {
        "input_size_px": SIZE_PX, "store_side_px": SIZE_PX, "crop_policy": "center_square",
        "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25],
    }  # fmt: skip
    kinds = ["red", "blue"] * 30
    pixels = np.stack([make_pixels(kind, 100 + row) for row, kind in enumerate(kinds)])
    form = {"size_px": SIZE_PX, "mean": preprocessing["mean"], "std": preprocessing["std"]}
    batch = to_batch(pixels, **form)
    backbone = build_backbone("mobilenet_v3_small", weights="random", seed=0)
    set_batchnorm_statistics(backbone, batch)
    # The first stage alone: of a random network it is the one that surely keeps colours apart.
    classifier = build_classifier(backbone.eval(), head="linear", num_classes=2, feature_stage=FIRST_STAGE).eval()
    with torch.no_grad():
        features = classifier.features(batch)
        middle = features.mean(0)
        signs = torch.tensor([1.0 if kind == "red" else -1.0 for kind in kinds])
        direction = (signs[:, None] * (features - middle)).mean(0)
        direction = direction / direction.norm() ** 2
        classifier.head.weight.copy_(torch.stack([direction, -direction]))
        classifier.head.bias.copy_(torch.stack([-(direction @ middle), direction @ middle]))
    gate = fit_gate(features[:40].numpy(), features[40:].numpy())
    manifest = {
        "class_names": list(CLASS_NAMES), "preprocessing": preprocessing, "strategy": "linear_probe",
        "dataset": {"name": "squares", "title": "Coloured squares", "is_medical": False},
    }  # fmt: skip
    return classifier, manifest, gate


def stored_point():
    """An operating point as it is kept with a run."""
    shares = [Estimate(0.9, 0.8, 1.0)] * 4
    return operating_point.OperatingPoint(
        title="Referable: Moderate and above", grade=2, positive=("Moderate", "Severe"), threshold=0.3,
        wanted_sensitivity=0.9, chosen_on="validation", num_chosen=80, reading=Reading(0.3, 0.1, *shares, 20, 30),
    )  # fmt: skip


def finished_run_on_squares():
    """The id of a finished run in a store of its own, whose bundle holds the classifier of `train_on_squares`."""
    make_run_store()
    classifier, manifest, _ = train_on_squares()
    config = {"dataset": "squares", "backbone": "mobilenet_v3_small", "strategy": "linear_probe"}
    run = create_run(config, name="x", state="finished")
    save_bundle(run.folder / "bundle", classifier, manifest, base_digest="")
    return run.run_id
