"""A classifier to take away: one zip with all that grading needs, and what a person must know of it."""

import platform
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lib.data.dataset import read_description
from lib.data.library import dataset_folder
from lib.errors import UserError
from lib.evaluation.headline import Score
from lib.grading.grader import Grader
from lib.grading.grades import MEDICAL_NOTICE
from lib.grading.manifest import find_bundle, is_medical
from lib.grading.model_card import CARD, card_sentences
from lib.grading.onnx_export import write_onnx
from lib.models.backbones import BACKBONES
from lib.models.bundle_files import (
    ONNX_FILE,
    README_FILE,
    bundle_file_paths,
    unpacked_bundle,
)
from lib.progress import Progress, ignore_progress
from lib.tracking.state import PREDICTIONS_FILE
from lib.tracking.writer import code_version

_PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "safetensors", "onnxruntime")
_NOT_STATED = "not stated"
# What may lie in a bundle, and what it is.
_WHAT = {
    "manifest.json": "classes, preprocessing, thresholds, calibration, figures, versions and licences",
    "network.safetensors": "all weights; a format that runs no code",
    "reference.safetensors": "the domain gate: features of training images and the limit of the distance to them",
    "seen.safetensors": "hashes of the images that were trained on, so that a grade of one of them is marked",
    "operating_point.json": "from which score on an image is referred",
    "model.onnx": "the network from normalised input to probabilities, for ONNX Runtime",
    "checksums.json": "the SHA-256 of every other file",
}


def export_run(
    run_or_bundle: str | Path, target: Path, *, with_onnx: bool = False, progress: Progress = ignore_progress
) -> Path:
    """Write the classifier of a run (or of a bundle) as one zip that grades to the same probabilities elsewhere.

    `with_onnx` puts the network in as an ONNX file too.

    Raises:
        UserError: no such run, no classifier yet, or no ONNX file can be made of it.
    """
    from lib.models.bundles import export_bundle, load_bundle

    path, run = find_bundle(run_or_bundle)
    total = 3 + with_onnx
    progress(0, total, "Reading the classifier")
    with unpacked_bundle(path) as folder, tempfile.TemporaryDirectory() as name:
        loaded = load_bundle(folder)
        manifest, number = loaded.manifest, loaded.classifier.num_classes
        answers = path.parent / PREDICTIONS_FILE if run else None
        facts = {
            "versions": versions(),
            "licences": licences(manifest),
            "exported": datetime.now(UTC).isoformat(timespec="seconds"),
            CARD: [*card_sentences(manifest, number, predictions=answers)],
        }
        beside: dict[str, str | Path] = {}
        if with_onnx:
            progress(1, total, "Exporting to ONNX")
            grader = Grader.open(folder, device="cpu")
            grader.manifest |= facts
            write_onnx(grader, Path(name, ONNX_FILE))
            beside[ONNX_FILE] = Path(name, ONNX_FILE)
        progress(total - 2, total, "Packing")
        names = {file.name for file in bundle_file_paths(folder)} | beside.keys() | {README_FILE, "checksums.json"}
        beside[README_FILE] = readme(manifest | facts, names)
        export_bundle(folder, target, beside=beside, facts=facts)
    progress(total, total, "Written")
    return target


def versions() -> dict[str, str]:
    """Name -> version of what computes grades here."""
    found = {"python": platform.python_version(), "transferscope": code_version() or "unknown"}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def licences(manifest: dict[str, Any]) -> dict[str, str]:
    """Under which terms the images and the starting weights are; as an earlier export said where it did."""
    if isinstance(manifest.get("licences"), dict):
        return dict(manifest["licences"])
    about = manifest["dataset"] if isinstance(manifest.get("dataset"), dict) else {}
    data, source = "", ""
    with suppress(UserError):
        spec = read_description(dataset_folder(str(about.get("name"))))["spec"]
        data, source = str(spec.get("licence") or ""), str(spec.get("source_url") or "")
    network = manifest.get("network") or {}
    backbone = BACKBONES.get(str(manifest.get("backbone") or network.get("backbone")))
    weights = backbone.weights_licence or _NOT_STATED
    if network.get("weights") == "random" or not backbone.has_weights:
        weights = "none were used: trained from random weights"
    found = {"dataset": data or _NOT_STATED, "dataset_source": source, "weights": weights}
    found["weights_source"] = backbone.weights_source if network.get("weights") != "random" else ""
    return {key: value for key, value in found.items() if value}


def readme(manifest: dict[str, Any], names: set[str]) -> str:
    """What the zip is, in plain text: files, how to grade, limits, terms."""
    about = manifest["dataset"] if isinstance(manifest.get("dataset"), dict) else {}
    classes = ", ".join(str(name) for name in manifest.get("classes") or manifest.get("class_names") or ())
    score = Score.of(manifest["result"]) if isinstance(manifest.get("result"), dict) else None
    network = BACKBONES.get(str(manifest.get("backbone") or manifest["network"]["backbone"]))
    size = (manifest.get("preprocessing") or {}).get("input_size_px", "?")
    said = [
        "A trained image classifier, made with Transferscope.",
        "",
        f"Network     {network.title}, {manifest.get('strategy') or 'strategy not stated'}",
        f"Classes     {classes}",
        f"Trained on  {about.get('title') or about.get('name') or 'not stated'}, version {about.get('version') or '?'}",
        f"Input       {size} x {size} px; manifest.json says how an image becomes that",
        f"Result      {score.words + f'; n = {score.num}' if score else 'not stated'}",
        *([f"Caution     {about['split_caveat']}"] if about.get("split_caveat") else []),
        "",
        *(
            ("What its probabilities are worth", *(f"  {one}" for one in manifest[CARD]), "")
            if CARD in manifest
            else ()
        ),
        "How to grade with it",
        "  python -m lib grade IMAGES --run THIS.zip        or import it once and choose it by its name:",
        "  python -m lib bundles import THIS.zip",
        "  Python:",
        "    from lib.grading.grader import Grader",
        '    for grade in Grader.open("THIS.zip").grade([("eye.jpg", Path("eye.jpg"))]): print(grade)',
        "",
        "Files",
        *(f"  {name:24}{_WHAT.get(name, 'belongs to the classifier')}" for name in sorted(names - {README_FILE})),
        "",
        "Terms",
        *(f"  {key.replace('_', ' '):16}{value}" for key, value in manifest["licences"].items()),
        "",
        "Versions that exported it",
        *(f"  {key:16}{value}" for key, value in manifest["versions"].items()),
    ]
    if is_medical(manifest):
        said += ["", MEDICAL_NOTICE]
    return "\n".join(said) + "\n"
