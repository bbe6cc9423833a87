"""MLflow's model registry: classifiers under a name, versions of it, and aliases that can be moved and moved back.

Works on the SQLite file as on a server, through MLflow's own client: what is registered here is seen by its own page
and tools. `models:/NAME@champion` then means whatever the alias points to. On a server each version has a copy of the
classifier as it was when it was registered: an operating point or a calibration that came after the training is in it,
and what comes later is not. In the file of this machine a version is the run itself.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lib.errors import UserError, disk_fault
from lib.settings import cache_dir, tracking_uri
from lib.tracking.records import RunRecord, get_run
from lib.tracking.state import BUNDLE_FOLDER
from lib.tracking.store import client, load_mlflow, plain_faults, sqlite_path

MODELS_SCHEME = "models:/"
CHAMPION = "champion"
_ADDRESS = re.compile(r"models:/([^/@]+)(?:@([^/@]+)|/(\d+))")
_HISTORY = "transferscope.history."  # tag of a registered model: the versions that an alias had, as a JSON list
_NAME = re.compile(r"[\w .\-]{1,100}")
_ALIAS = re.compile(r"[A-Za-z][\w\-]{0,60}")
_MAX_HISTORY = 50


@dataclass(frozen=True)
class ModelVersion:
    """One registered classifier; `created_s` in seconds since 1970."""

    name: str
    version: int
    run_id: str
    aliases: tuple[str, ...]
    created_s: float
    source: str = ""  # where the store of artifacts has it

    @property
    def address(self) -> str:
        """What `--run` takes: by the first alias, else by the version."""
        return f"{MODELS_SCHEME}{self.name}" + (f"@{self.aliases[0]}" if self.aliases else f"/{self.version}")


def register_run(run_id: str, name: str) -> ModelVersion:
    """Enter a finished run as the next version of a name, which is made if it is new.

    Raises:
        UserError: no such run, no classifier yet, or a name that cannot be used.
    """
    if not _NAME.fullmatch(name) or name != name.strip():
        raise UserError(
            f"A registered name has letters, digits, blanks and . _ - only (100 at most); got {name[:60]!r}."
        )
    run = get_run(run_id)
    with _registry() as registry:
        source = f"{_artifact_uri(run.run_id)}/{_stored_place(registry, run)}"
        if _model(registry, name) is None:
            registry.create_registered_model(name)
        made = registry.create_model_version(name, source, run_id=run.run_id, description=run.label)
    return _version(made)


def _artifact_uri(run_id: str) -> str:
    return str(client().get_run(run_id).info.artifact_uri).rstrip("/")


def _stored_place(registry: Any, run: RunRecord) -> str:
    """Where the run's artifacts have its classifier as it is now; on a server it is uploaded where it changed since."""
    folder = run.folder / BUNDLE_FOLDER
    is_server = sqlite_path(tracking_uri()) is None
    if not folder.is_dir():
        if is_server and registry.list_artifacts(run.run_id, BUNDLE_FOLDER):  # a run of another machine
            return BUNDLE_FOLDER
        raise UserError(f"The run {run.short_id} is {run.state} and has no classifier yet; choose a finished run.")
    if not is_server:
        return BUNDLE_FOLDER
    place = _place_of(folder)
    if len(registry.list_artifacts(run.run_id, place)) != len(list(folder.iterdir())):
        registry.log_artifacts(run.run_id, str(folder), place)
    return place


def _place_of(folder: Path) -> str:
    """A place that only this content has, so that no version is written over."""
    found = hashlib.sha256()
    for file in sorted(folder.iterdir()):
        found.update(f"{file.name}\0{hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return f"registered/{found.hexdigest()[:16]}"


def registered_versions(name: str | None = None) -> list[ModelVersion]:
    """All versions, the newest of each name first, of one name where it is given (UserError if unknown)."""
    with _registry() as registry:
        if name is not None:
            _known_model(registry, name)
        names = [name] if name is not None else [model.name for model in _pages(registry.search_registered_models)]
        found = []
        for one in names:
            asked = "name = '" + one.replace("'", "''") + "'"
            aliases = _aliases(_known_model(registry, one))
            versions = _pages(registry.search_model_versions, filter_string=asked)
            found += sorted((_version(v, aliases) for v in versions), key=lambda v: -v.version)
    return found


def set_alias(name: str, alias: str, version: int) -> int | None:
    """Let an alias point to a version; returns the version that it pointed to before, None if it is new."""
    if not _ALIAS.fullmatch(alias):
        raise UserError(f"An alias begins with a letter and has letters, digits, _ and - only; got {alias[:60]!r}.")
    with _registry() as registry:
        model = _known_model(registry, name)
        _known_version(registry, name, version)
        former = _pointed(model, alias)
        if former == version:
            return former
        registry.set_registered_model_alias(name, alias, str(version))
        if former is not None:
            _keep_history(registry, name, alias, [*_history(model, alias), former])
    return former


def roll_back(name: str, alias: str = CHAMPION) -> tuple[int, int]:
    """Let an alias point again to the version that it had before; returns (from, to).

    Raises:
        UserError: it never pointed to another one.
    """
    with _registry() as registry:
        model = _known_model(registry, name)
        current, history = _pointed(model, alias), _history(model, alias)
        if current is None:
            raise UserError(
                f"{name} has no alias {alias!r}; set one: python -m lib registry alias '{name}' {alias} VERSION"
            )
        if not history:
            raise UserError(f"{name}@{alias} never pointed to another version than {current}; nothing to roll back.")
        _known_version(registry, name, history[-1])
        registry.set_registered_model_alias(name, alias, str(history[-1]))
        _keep_history(registry, name, alias, history[:-1])
    return current, history[-1]


def registered_run(address: str) -> str:
    """The id of the run behind `models:/NAME@ALIAS` or `models:/NAME/VERSION`; raises UserError."""
    return _found(address).run_id


def registered_bundle(address: str) -> tuple[Path, str]:
    """The folder of a registered classifier, and its run's id ("" where that run is elsewhere or has changed since).

    Raises:
        UserError: no such name, alias or version, or its files cannot be had.
    """
    found = _found(address)
    record: RunRecord | None = None
    try:
        record = get_run(found.run_id)
    except UserError:
        if sqlite_path(tracking_uri()) is not None:
            raise UserError(f"{address} is the run {found.run_id[:8]}, which was deleted; restore it first.") from None
    if record is not None and (folder := record.folder / BUNDLE_FOLDER).is_dir():
        place = PurePosixPath(found.source)
        if place.parent.name != "registered" or _place_of(folder) == f"registered/{place.name}":
            return folder, record.run_id
    return _downloaded(found, address), ""


def _found(address: str) -> ModelVersion:
    parsed = _ADDRESS.fullmatch(address)
    if parsed is None:
        raise UserError(f"A registered model is models:/NAME@ALIAS or models:/NAME/VERSION; got {address[:80]!r}.")
    name, alias, number = parsed.groups()
    with _registry() as registry:
        model = _known_model(registry, name)
        version = int(number) if number else _pointed(model, alias)
        if version is None:
            known = ", ".join(sorted(_aliases(model))) or "none"
            raise UserError(f"{name} has no alias {alias!r} (it has: {known}).")
        return _version(_known_version(registry, name, version), _aliases(model))


def _downloaded(found: ModelVersion, address: str) -> Path:
    """The files of a run of another machine, from the store of artifacts; kept, since versions never change."""
    folder, wanted = cache_dir() / "registered" / found.run_id, PurePosixPath(found.source)
    place = f"registered/{wanted.name}" if wanted.parent.name == "registered" else BUNDLE_FOLDER
    if not (folder / place / "manifest.json").is_file():
        incoming = folder / "incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        with _registry() as registry:
            try:
                received = Path(registry.download_artifacts(found.run_id, place, str(incoming)))
                shutil.rmtree(folder / place, ignore_errors=True)
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                received.rename(folder / place)
            except Exception as error:
                if fault := disk_fault(error, folder):
                    raise fault from error
                raise UserError(
                    f"The files of {address} (run {found.run_id[:8]}) are neither here nor in the store of artifacts."
                ) from error
            finally:
                shutil.rmtree(incoming, ignore_errors=True)
    return folder / place


@contextmanager
def _registry() -> Iterator[Any]:
    """MLflow's client for the registry; what it refuses becomes a sentence."""
    client()  # makes the tables of a new store, and says what is wrong with one that cannot be used
    load_mlflow()
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    uri = tracking_uri()
    with plain_faults(sqlite_path(uri)):
        try:
            yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except MlflowException as error:
            if disk_fault(error, sqlite_path(uri)):
                raise
            reason = (str(error).strip().splitlines() or ["no reason given"])[0]
            raise UserError(f"The model registry of {uri} refused that: {reason[:200]}") from error


def _pages(search: Any, **asked: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(**asked, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _model(registry: Any, name: str) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return registry.get_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _known_model(registry: Any, name: str) -> Any:
    model = _model(registry, name)
    if model is None:
        raise UserError(f"No model is registered as {name[:60]!r}; `python -m lib registry list` shows them.")
    return model


def _known_version(registry: Any, name: str, version: int) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return registry.get_model_version(name, str(version))
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise UserError(f"{name} has no version {version}; `python -m lib registry list` shows them.") from error


def _aliases(model: Any) -> dict[str, int]:
    return {str(alias): int(version) for alias, version in dict(model.aliases or {}).items()}


def _pointed(model: Any, alias: str) -> int | None:
    return _aliases(model).get(alias)


def _history(model: Any, alias: str) -> list[int]:
    try:
        return [int(version) for version in json.loads((model.tags or {}).get(_HISTORY + alias, "[]"))]
    except (ValueError, TypeError):
        return []  # somebody else's tag


def _keep_history(registry: Any, name: str, alias: str, versions: list[int]) -> None:
    registry.set_registered_model_tag(name, _HISTORY + alias, json.dumps(versions[-_MAX_HISTORY:]))


def _version(found: Any, aliases: dict[str, int] | None = None) -> ModelVersion:
    number = int(found.version)
    named = sorted(alias for alias, version in (aliases or {}).items() if version == number)
    return ModelVersion(
        found.name, number, str(found.run_id or ""), tuple(named), float(found.creation_timestamp or 0) / 1000,
        str(found.source or ""),
    )  # fmt: skip
