"""The data set of a run as it was for that run: its version, its class names, its pinned images."""

from collections.abc import Mapping
from typing import Any

from lib.data.dataset import Dataset
from lib.data.target_map import mapped_class_names
from lib.errors import UserError
from pages.common import resources


def dataset_of_run(config: Mapping[str, Any]) -> Dataset | None:
    """The data set at the version that a run reads; None if it is gone, or that version is not kept."""
    summary = resources.find_summary(str(config.get("dataset") or ""))
    if summary is None:
        return None
    try:
        return resources.cached_version(summary.name, str(config.get("dataset_version") or summary.version))
    except UserError:
        return None


def class_names_of_run(config: Mapping[str, Any], num_classes: int) -> list[str]:
    """The names of the classes that a run tells apart, as they were for it; plain numbers if its version is gone."""
    dataset = dataset_of_run(config)
    if dataset is not None:
        names = dataset.class_names[: config.get("max_classes")]
        try:
            names = mapped_class_names(names, config.get("target_map"), is_ordinal=dataset.spec.is_ordinal)
        except UserError:
            names = ()
        if len(names) == num_classes:
            return list(names)
    return [f"class {index}" for index in range(num_classes)]


def version_note(config: Mapping[str, Any]) -> str:
    """What became of the version that a run read, such as "... version 1f2e, now 9c8d"; empty if it is present."""
    version = str(config.get("dataset_version") or "")
    summary = resources.find_summary(str(config.get("dataset") or ""))
    if not version or summary is None or summary.version == version:
        return ""
    return f"Trained on version {version[:12]} of the data set, now {summary.version[:12]}."
