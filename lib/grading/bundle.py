"""What grading starts from: where a run's bundle is, and what its manifest must hold."""

from pathlib import Path
from typing import Any

from lib.data.library import is_medical_now
from lib.errors import UserError


def find_bundle(run_or_bundle: str | Path) -> tuple[Path, str]:
    """The folder or zip of a bundle, and the id of the run that it belongs to ("" where a bundle was given).

    Raises:
        UserError: no such run, or one that has no classifier yet.
    """
    path = Path(run_or_bundle)
    is_bundle = isinstance(run_or_bundle, Path) or path.suffix.lower() == ".zip" or (path / "manifest.json").is_file()
    if is_bundle:
        return path, ""
    from lib.tracking import get_run

    record = get_run(str(run_or_bundle))
    folder = record.folder / "bundle"
    if not folder.is_dir():
        raise UserError(
            f"The run {record.run_id[:8]} is {record.state} and has no classifier yet; choose a finished run."
        )
    return folder, record.run_id


def manifest_class_names(manifest: dict[str, Any], num_classes: int) -> tuple[str, ...]:
    """The names of all K classes; raises UserError where they, or the preprocessing, are missing."""
    names = tuple(str(name) for name in manifest.get("class_names") or manifest.get("classes") or ())
    if len(names) != num_classes or not isinstance(manifest.get("preprocessing"), dict):
        raise UserError("The bundle's manifest lacks its classes or preprocessing; export it again from its run.")
    return names


def is_medical(manifest: dict[str, Any]) -> bool:
    """Whether answers carry the medical notice: the training's data set was medical, or is said to be since then."""
    about = manifest.get("dataset")
    if not isinstance(about, dict):
        return bool(manifest.get("is_medical"))
    return bool(about.get("is_medical")) or is_medical_now(str(about.get("name")), str(about.get("version")))


def manifest_thresholds(manifest: dict[str, Any], num_classes: int) -> list[float]:
    """The limits of the expected grade; raises UserError where the classifier has none that fit."""
    found = manifest.get("thresholds")
    is_numbers = isinstance(found, list) and all(isinstance(limit, int | float) for limit in found)
    if not is_numbers or len(found) != num_classes - 1 or sorted(found) != found:  # type: ignore[arg-type]
        raise UserError(
            "This classifier has no limits of the expected grade: they are fitted where three or more classes have an "
            "order. Grade without them."
        )
    return [float(limit) for limit in found]  # type: ignore[union-attr]


def manifest_engine(manifest: dict[str, Any]) -> tuple[str, str]:
    """What computed the frozen stages in training, and the last of them; ("torch", "") in a bundle of before that."""
    engine = manifest.get("engine")
    return (str(engine.get("name")), str(engine.get("stage"))) if isinstance(engine, dict) else ("torch", "")
