"""`doctor`: what this machine and this installation can do."""

import importlib.metadata
import platform
from dataclasses import asdict
from typing import Any

import click

from lib.atomic import write_json
from lib.cli.output import json_option, print_facts, print_json, print_table
from lib.settings import cache_dir, home

REPORT_FILE = "doctor.json"
MPS_NOTE = "Apple's MPS is chosen where it is present; this program was not tried on it. --set device=cpu avoids it."
_PACKAGES = ("streamlit", "plotly", "timm", "captum", "scikit-learn", "mlflow", "safetensors", "pillow")


def diagnose() -> dict[str, Any]:
    """Measure this machine and write `doctor.json` to the cache folder, which the dashboard's sidebar reads."""
    from lib.models.weights import all_weights_status

    report = {
        **describe_machine(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "home": str(home()),
        "weights": [asdict(status) for status in all_weights_status()],
    }
    write_json(cache_dir() / REPORT_FILE, report)
    return report


@click.command()
@json_option
def doctor(as_json: bool) -> None:
    """Show versions, device, the chosen number format and why, and which weights are at hand.

    The figures are also written to cache/doctor.json in the data folder, where the dashboard reads them.
    """
    from lib.models.weights import all_weights_status

    report = diagnose()
    if as_json:
        print_json(report)
        return
    print_facts({key: value for key, value in report.items() if not isinstance(value, dict | list)})
    print_facts(report["packages"])
    click.echo()
    rows = [(status.backbone, status.place, status.size_mib, status.file) for status in all_weights_status()]
    print_table(rows, ("backbone", "at hand", "MiB", "file"))


def describe_machine(device_name: str = "auto") -> dict[str, Any]:
    """Versions, device, chosen number formats and why, cores and memory."""
    import torch
    import torchvision

    from lib.number_format import choose_dtype
    from lib.runtime import available_cores, memory_mib, pick_device, processor_name, set_threads

    device = pick_device(device_name)
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


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
