"""What takes room: data sets, runs, caches, what was deleted, and what is left of downloads and interrupted imports."""

import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lib import disk_cache
from lib.data.interrupted import drop_interrupted, interrupted_imports
from lib.data.library import dataset_folder, delete_dataset, descriptions, restore_dataset
from lib.data.originals import ORIGINALS
from lib.data.sources.uploads import uploads_folder
from lib.errors import UserError
from lib.progress import size_words
from lib.quota import folder_bytes
from lib.settings import bundles_dir, cache_dir, downloads_dir, runs_dir, trash_dir

KINDS = {
    "dataset": "Data sets", "run": "Runs", "bundle": "Imported classifiers", "cache": "Caches",
    "download": "Downloads", "interrupted": "Interrupted imports", "trash": "Trash",
}  # fmt: skip
_TRASHED_DOWNLOAD, _LEFT = "download-", "left"


@dataclass(frozen=True)
class Stored:
    """One thing that takes room.

    `key` names it for `delete_stored`; `note` says what of it is worth knowing; what `is_final` is gone when it is
    deleted, anything else can be brought back.
    """

    kind: str
    key: str
    title: str
    num_bytes: int
    last_s: float = 0.0
    note: str = ""
    is_final: bool = False
    can_return: bool = False  # from the trash, by `restore_stored`


def list_storage() -> list[Stored]:
    """Everything in the home that takes room, by kind and the largest first."""
    found = [*_datasets(), *_runs(), *_bundles(), *_caches(), *_downloads(), *_interrupted(), *_trash()]
    order = list(KINDS)
    return sorted(found, key=lambda one: (order.index(one.kind), -one.num_bytes))


def delete_stored(kind: str, key: str) -> Callable[[], object] | None:
    """Delete one thing; returns what brings it back, None where nothing does.

    Raises UserError where there is no such thing, or it is in use.
    """
    if kind not in KINDS:
        raise UserError(f"What is stored is {', '.join(KINDS)}, not {kind!r}.")
    if kind == "dataset":
        trashed = delete_dataset(key)
        return lambda: restore_dataset(trashed)
    if kind == "run":
        from lib.tracking.records import delete_run, get_run, restore_run

        run_id = get_run(key).run_id
        delete_run(run_id)
        return lambda: restore_run(run_id)
    if kind == "bundle":
        from lib.grading.imported import delete_bundle, restore_bundle

        bundle_id = delete_bundle(key).bundle_id
        return lambda: restore_bundle(bundle_id)
    if kind == "download":
        return _delete_download(key)
    {"cache": _clear_cache, "interrupted": drop_interrupted, "trash": _empty}[kind](key)
    return None


def restore_stored(key: str) -> None:
    """Bring back what lies in the trash under that key; raises UserError where it is gone or its place is taken."""
    kind, _, name = key.rpartition("/")
    if kind == "runs":
        from lib.tracking.records import restore_run

        restore_run(name)
    elif kind == "bundles":
        from lib.grading.imported import restore_bundle

        restore_bundle(name)
    elif not kind and key.startswith(_TRASHED_DOWNLOAD):
        place = downloads_dir() / key.removeprefix(_TRASHED_DOWNLOAD).rpartition("-")[0]
        if place.exists() or not (trash_dir() / Path(key).name).is_dir():
            raise UserError(f"{key!r} cannot be brought back: it is not in the trash, or was downloaded again.")
        shutil.move(trash_dir() / Path(key).name, place)
    elif not kind:
        restore_dataset(key)
    else:
        raise UserError(f"{key!r} cannot be brought back here.")


def empty_trash() -> int:
    """Remove what was deleted for good; the bytes set free."""
    items = [one for one in list_storage() if one.kind == "trash"]
    for one in items:
        _empty(one.key)
    return sum(one.num_bytes for one in items)


def _datasets() -> Iterator[Stored]:
    for description in descriptions():
        name = description["spec"]["name"]
        folder = dataset_folder(name)
        own = folder_bytes(folder / ORIGINALS) if (folder / ORIGINALS).is_dir() else 0
        note = f"of it {size_words(own)} unpacked or downloaded originals" if own else ""
        yield Stored(
            "dataset", name, description["spec"].get("title") or name, folder_bytes(folder),
            float(description.get("created_s", 0.0)), note,
        )  # fmt: skip


def _runs() -> Iterator[Stored]:
    from lib.tracking.state import stored_states

    for state in stored_states():
        num_bytes, last_s = folder_bytes(state.folder), max(state.heartbeat_s, state.created_s)
        yield Stored("run", state.run_id, state.name or state.run_id[:8], num_bytes, last_s, state.state)


def _left_of_runs() -> list[Path]:
    """Folders that deleted runs leave with the run store's copies of their files, and no run in them any more."""
    from lib.tracking.records import list_runs
    from lib.tracking.state import STATE_FILE

    bare = [path for path in runs_dir().iterdir() if path.is_dir() and not (path / STATE_FILE).exists()]
    bare = [path for path in bare if (path / "artifacts").is_dir()]
    known = {run.run_id for run in list_runs()} if bare else set()
    return [path for path in bare if path.name not in known]


def _bundles() -> Iterator[Stored]:
    from lib.grading.imported import list_bundles

    for bundle in list_bundles():
        folder = bundles_dir() / bundle.bundle_id
        yield Stored("bundle", bundle.bundle_id, bundle.name, folder_bytes(folder), folder.stat().st_mtime)


def _caches() -> Iterator[Stored]:
    entries = disk_cache.list_entries()
    for kind, title in disk_cache.KINDS.items():
        own = [entry for entry in entries if entry.kind == kind]
        if own:
            yield Stored(
                "cache", kind, title.capitalize(), sum(entry.num_bytes for entry in own),
                max(entry.used_s for entry in own), "computed again when it is needed", is_final=True,
            )  # fmt: skip
    if num_bytes := folder_bytes(uploads_folder()):
        yield Stored("cache", "uploads", "Uploads of browsers", num_bytes, note="removed after a day", is_final=True)
    known = {*disk_cache.KINDS, uploads_folder().name}
    others = sum(
        folder_bytes(path) if path.is_dir() else path.stat().st_size
        for path in cache_dir().iterdir()
        if path.name not in known
    )
    if others:
        yield Stored(
            "cache", "", "Measurements and estimates", others, note="small; made again when needed", is_final=True
        )


def _downloads() -> Iterator[Stored]:
    for folder in downloads_dir().iterdir():
        if folder.is_dir():
            yield Stored(
                "download", folder.name, folder.name, folder_bytes(folder), folder.stat().st_mtime,
                "originals of public data sets: fetched again where they are needed",
            )  # fmt: skip


def _interrupted() -> Iterator[Stored]:
    for one in interrupted_imports():
        yield Stored(
            "interrupted", one.key, one.name or one.source, one.num_bytes, one.last_s, one.sentence, is_final=True
        )


def _trash() -> Iterator[Stored]:
    left = {path.name: path for path in _left_of_runs()}
    for folder in _trashed():
        kind = folder.name.split("-")[0] if folder.parent == trash_dir() else folder.parent.name.removesuffix("s")
        name = (
            folder.name.removeprefix(f"{kind}-").rpartition("-")[0]
            if folder.parent == trash_dir()
            else folder.name[:12]
        )
        yield Stored(
            "trash", str(folder.relative_to(trash_dir())), f"{kind} {name}",
            folder_bytes(folder) + (folder_bytes(left.pop(folder.name)) if folder.name in left else 0),
            folder.stat().st_ctime, "deleted; it can be restored until the trash is emptied", is_final=True,
            can_return=kind in ("dataset", "run", "bundle", "download"),
        )  # fmt: skip
    for name, folder in left.items():
        note = "what the run store kept of a run that was deleted for good"
        yield Stored(
            "trash", f"{_LEFT}/{name}", f"left of run {name[:12]}", folder_bytes(folder), 0.0, note, is_final=True
        )


def _trashed() -> Iterator[Path]:
    """Deleted data sets and downloads lie in the trash itself, other things in a folder for their kind."""
    for path in trash_dir().iterdir():
        if path.name.startswith(("dataset-", _TRASHED_DOWNLOAD)):
            yield path
        elif path.is_dir():
            yield from path.iterdir()


def _delete_download(name: str) -> Callable[[], object]:
    folder = downloads_dir() / name
    if name != Path(name).name or not folder.is_dir():
        raise UserError(f"There is no download {name!r}.")
    trashed = trash_dir() / f"{_TRASHED_DOWNLOAD}{name}-{time.time_ns():x}"
    shutil.move(folder, trashed)
    return lambda: shutil.move(trashed, folder)


def _clear_cache(kind: str) -> None:
    if kind == "uploads":
        shutil.rmtree(uploads_folder(), ignore_errors=True)
        return
    if kind not in disk_cache.KINDS:
        raise UserError(f"There is no cache {kind!r} to be cleared; choose one of {', '.join(disk_cache.KINDS)}.")
    for entry in disk_cache.list_entries():
        if entry.kind == kind:
            disk_cache.is_free(entry, is_removed=True)  # what is in use stays


def _empty(key: str) -> None:
    left = {path.name: path for path in _left_of_runs()}
    folder = next((path for path in _trashed() if str(path.relative_to(trash_dir())) == key), None)
    if folder is None and key.rpartition("/")[0] == _LEFT:
        folder = left.get(Path(key).name)
    if folder is None:
        raise UserError(f"There is nothing {key!r} in the trash.")
    for path in {folder, left.get(folder.name, folder)}:
        shutil.rmtree(path, ignore_errors=True)
