"""`doctor`: what this machine and this installation can do."""

import importlib.metadata
import platform
from dataclasses import asdict
from typing import Any

import click

from lib.atomic import write_json
from lib.cli.output import ProgressLine, json_option, print_facts, print_json, print_table
from lib.features.engine import TOO_FEW, FrozenPart, choose_engine, recorded_choices
from lib.models.backbones import BACKBONES
from lib.models.weights import all_weights_status, default_backbone, weights_status
from lib.progress import Progress, ignore_progress
from lib.settings import cache_dir, home
from lib.tracking.writer import code_version

REPORT_FILE = "doctor.json"
MPS_NOTE = "Apple's MPS is chosen where it is present; this program was not tried on it. --set device=cpu avoids it."
_PACKAGES = ("streamlit", "plotly", "timm", "captum", "scikit-learn", "mlflow", "safetensors", "pillow", "onnxruntime",
             "onnx")  # fmt: skip


def diagnose(*, with_trial: bool = True, progress: Progress = ignore_progress) -> dict[str, Any]:
    """Measure this machine and write `doctor.json` to the cache folder, which the dashboard's sidebar reads.

    `with_trial` lets the engines of the default network compete, unless they have in this home; `progress` hears of it.
    """

    machine = describe_machine()
    report = {
        "version": code_version() or "unknown",
        **machine,
        **_engine(machine["device"], machine["dtype"], with_trial=with_trial, progress=progress),
        "packages": {name: _version(name) for name in _PACKAGES},
        "home": str(home()),
        "weights": [asdict(status) for status in all_weights_status()],
        "engines": {key: asdict(choice) for key, choice in recorded_choices().items()},
    }
    write_json(cache_dir() / REPORT_FILE, report)
    return report


@click.command()
@click.option("--trial/--no-trial", default=True, help="Let torch and ONNX Runtime compete, once in a home.")
@json_option
def doctor(trial: bool, as_json: bool) -> None:
    """Show versions, device, number format and engine with the reasons, and which weights are at hand.

    The figures are also written to cache/doctor.json in the data folder, where the dashboard reads them.
    """

    with ProgressLine() as progress:
        report = diagnose(with_trial=trial, progress=progress)
    if as_json:
        print_json(report)
        return
    print_facts({key: value for key, value in report.items() if not isinstance(value, dict | list)})
    print_facts(report["packages"])
    click.echo()
    rows = [(status.backbone, status.place, status.size_mib, status.file) for status in all_weights_status()]
    print_table(rows, ("backbone", "at hand", "MiB", "file"))
    if report["engines"]:
        click.echo()
        tried = [
            (*key.split("|"), one["name"], one["batch_size"], one["reason"]) for key, one in report["engines"].items()
        ]
        print_table(tried, ("backbone", "up to", "px", "dtype", "engine", "batch", "why"))


def describe_machine() -> dict[str, Any]:
    """Versions, device, chosen number formats and why, cores and memory."""
    import torch
    import torchvision

    from lib.precision import choose_dtype
    from lib.runtime import available_cores, memory_mib, pick_device, processor_name, set_threads

    device = pick_device("auto")
    num_threads = set_threads()
    dtype, reason = choose_dtype(device)
    training_dtype, training_reason = choose_dtype(device, "training")
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "platform": platform.platform(),
        "processor": processor_name(),
        "device": device,
        **({"device_note": MPS_NOTE} if device == "mps" else {}),
        "device_name": torch.cuda.get_device_name() if device.startswith("cuda") else processor_name(),
        "dtype": dtype,
        "dtype_reason": reason,
        "training_dtype": training_dtype,
        "training_dtype_reason": training_reason,
        "num_cores": available_cores(),
        "num_threads": num_threads,
        "memory_mib": memory_mib(),
    }


def _engine(device: str, dtype: str, *, with_trial: bool, progress: Progress) -> dict[str, str]:
    """What computes the frozen stages of the default network, and why."""
    spec = BACKBONES.get(default_backbone())
    part = FrozenPart(spec.name, "pretrained", 0, spec.feature_stage, spec.input_size_px, dtype)
    may_try = part.key in recorded_choices() or (with_trial and weights_status(spec.name).is_cached)
    choice = choose_engine(part, device=device, num_images=None if may_try else 0, progress=progress)
    if choice.reason == TOO_FEW:
        return {"engine": "auto", "engine_reason": "the first training on enough images tries torch and ONNX Runtime"}
    return {"engine": choice.name, "engine_reason": choice.reason}


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
