"""What a bundle says: where it is, its classes as in its training, thresholds, engine, notice."""

from pathlib import Path
from typing import Any

from lib.data.grades import match_classes
from lib.data.library import is_medical_now, open_dataset
from lib.data.target_map import MappedDataset, MergedClasses, merge_by_name, merge_classes, parse_target_map
from lib.errors import UserError
from lib.evaluation.calibration import Calibration
from lib.grading.imported import ID_START, imported_bundle
from lib.tracking.model_registry import MODELS_SCHEME, registered_bundle


def find_bundle(run_or_bundle: str | Path) -> tuple[Path, str]:
    """The folder or zip of a bundle, and the id of the run that it belongs to ("" where a bundle was given).

    Given are a path, the id of an imported bundle, an address of the model registry such as `models:/eyes@champion`, or
    the id of a run.

    Raises:
        UserError: no such run, bundle or registered model, or a run that has no classifier yet.
    """
    path = Path(run_or_bundle)
    is_bundle = isinstance(run_or_bundle, Path) or path.suffix.lower() == ".zip" or (path / "manifest.json").is_file()
    if is_bundle:
        return path, ""
    asked = str(run_or_bundle)
    if asked.startswith(ID_START):
        return imported_bundle(asked).folder, ""
    if asked.startswith(MODELS_SCHEME):
        return registered_bundle(asked)
    from lib.tracking import get_run

    record = get_run(asked)
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


def manifest_num_folds(manifest: dict[str, Any]) -> int:
    """How many folds the run of a bundle had; 0 without, or where it does not say."""
    config = manifest.get("config")
    found = config.get("num_folds") if isinstance(config, dict) else None
    return found if isinstance(found, int) else 0


def manifest_calibration(manifest: dict[str, Any], num_classes: int) -> Calibration | None:
    """The calibration of the probabilities; None in a bundle without one, whose `why_not_calibrated` may say why.

    Raises:
        UserError: damaged, of a newer version, or of another number of classes.
    """
    found = manifest.get("calibration")
    if found is None:
        return None
    calibration = Calibration.from_dict(found)
    if calibration.num_classes != num_classes:
        raise UserError(
            f"The calibration of this classifier is for {calibration.num_classes} classes, and it has {num_classes}; "
            "export it again from its run."
        )
    return calibration


def decision_limits(manifest: dict[str, Any], num_classes: int) -> list[float]:
    """The limits of the expected grade that go with the probabilities shown: those of calibrated ones where there are.

    Raises:
        UserError: the classifier has none.
    """
    raw, calibration = manifest_thresholds(manifest, num_classes), manifest_calibration(manifest, num_classes)
    return list(calibration.limits) if calibration and calibration.limits else raw


def manifest_engine(manifest: dict[str, Any]) -> tuple[str, str]:
    """What computed the frozen stages in training, and the last of them; ("torch", "") in a bundle of before that."""
    engine = manifest.get("engine")
    return (str(engine.get("name")), str(engine.get("stage"))) if isinstance(engine, dict) else ("torch", "")


def has_grades(manifest: dict[str, Any], dataset: Any) -> bool:
    """Whether a classifier's classes are grades in order: as its training had them, not as other folders stand."""
    about = manifest.get("dataset")
    return bool(about["is_ordinal"]) if isinstance(about, dict) and "is_ordinal" in about else dataset.spec.is_ordinal


def merged_as_trained(dataset: Any, manifest: dict[str, Any], class_names: tuple[str, ...]) -> Any:
    """Another data set with its classes merged as in a classifier's training; itself where it has those classes.

    Raises:
        UserError: classes that the map of the training does not have.
    """
    text = (manifest.get("config") or {}).get("target_map")
    if not text or None not in match_classes(dataset.class_names, class_names):
        return dataset
    return MappedDataset(dataset, _merged(dataset, str(text), manifest))


def _merged(dataset: Any, text: str, manifest: dict[str, Any]) -> MergedClasses:
    mapping, names = parse_target_map(text), dataset.spec.class_names
    if mapping.is_by_grade:
        return merge_classes(names, text, may_lack=True)
    # Numbers count the places of the classes in the training's own data set, which say nothing of another one's.
    groups = dict(mapping.groups) or _class_map(text, manifest)
    known = list(groups)
    found = match_classes(names, known)
    by_name = {name: groups[known[number]] for name, number in zip(names, found, strict=True) if number is not None}
    return merge_by_name(names, {**groups, **by_name}, may_lack=True)


def _class_map(text: str, manifest: dict[str, Any]) -> dict[str, str]:
    """Class -> merged class of the training, by name; of an old bundle, from its data set where that is still there."""
    if manifest.get("class_map"):
        return dict(manifest["class_map"])
    about = manifest["dataset"] if isinstance(manifest.get("dataset"), dict) else {}
    try:
        trained_on = open_dataset(str(about.get("name")), version=str(about.get("version")))
    except UserError:
        raise UserError(
            f"The classifier merged classes by their numbers ({text}) and its data set is gone, so nothing says which "
            "classes those were; name the class folders as the classifier does: "
            f"{', '.join(manifest.get('classes', ()))}."
        ) from None
    spec = trained_on.spec
    merged = merge_classes(spec.class_names, text, is_ordinal=spec.is_ordinal)
    return {name: merged.names[target] for name, target in zip(spec.class_names, merged.targets, strict=True)}
