"""`doctor`: what this machine and this installation can do."""

import importlib.metadata
from dataclasses import asdict
from typing import Any

import click

from lib.atomic import write_json
from lib.cli.output import json_option, print_facts, print_json, print_table
from lib.settings import cache_dir, home

REPORT_FILE = "doctor.json"
_PACKAGES = ("streamlit", "plotly", "captum", "scikit-learn", "mlflow", "safetensors", "pillow")


def diagnose() -> dict[str, Any]:
    """Measure this machine and write `doctor.json` to the cache folder, which the dashboard's sidebar reads."""
    from lib.models.weights import all_weights_status
    from lib.runtime import describe_machine

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
    report = diagnose()
    if as_json:
        print_json(report)
        return
    print_facts({key: value for key, value in report.items() if not isinstance(value, dict | list)})
    print_facts(report["packages"])
    click.echo()
    rows = [(entry["backbone"], entry["is_cached"], entry["size_mib"], entry["file"]) for entry in report["weights"]]
    print_table(rows, ("backbone", "at hand", "MiB", "file"))


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "missing"
