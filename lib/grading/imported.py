"""Bundles that were made elsewhere, kept in the home as classifiers to choose by id.

They are no runs: nothing was trained here, so no board shows them. A file is looked at in every way before it is kept,
and nothing of it is ever executed or unpickled.
"""

import re
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lib.atomic import digest_of, read_json, read_json_or_empty, sha256_of_file, write_json
from lib.errors import UserError
from lib.models.bundle_files import MANIFEST_FILE, bundle_file_paths, unpacked_bundle
from lib.settings import bundles_dir, trash_dir

ID_START = "bundle-"
_RECORD_FILE = ".imported.json"  # hidden, so that it travels with no export
_FULL_ID = re.compile(r"bundle-[0-9a-f]{12}")
_MAX_NAME = 100


@dataclass(frozen=True)
class ImportedBundle:
    """A kept bundle; `imported_s` in seconds since 1970."""

    bundle_id: str
    name: str
    imported_s: float
    folder: Path

    @property
    def manifest(self) -> dict[str, Any]:
        """What the classifier says of itself."""
        return dict(read_json(self.folder / MANIFEST_FILE))


def import_bundle(path: Path, *, name: str = "", label: str = "") -> ImportedBundle:
    """Check a bundle's zip (or folder) and keep it; one that is here already stays, with the new name if one is given.

    Without a name it is called by its data set and `label`, by default that of the file.

    Raises:
        UserError: what is wrong with it, in a sentence.
    """
    with unpacked_bundle(path) as folder:
        _check(folder)
        files = bundle_file_paths(folder)
        bundle_id = ID_START + digest_of({file.name: sha256_of_file(file) for file in files})[:12]
        target = bundles_dir() / bundle_id
        if target.is_dir():
            known = imported_bundle(bundle_id)
            return rename_bundle(bundle_id, name) if name else known
        chosen = _clean_name(name) or _described(read_json_or_empty(folder / MANIFEST_FILE), label or path.stem)
        staged = bundles_dir() / f".{bundle_id}"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        try:
            for file in files:
                shutil.copyfile(file, staged / file.name)
            write_json(staged / _RECORD_FILE, {"name": chosen, "imported_s": time.time(), "file": path.name})
            staged.rename(target)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise
    return imported_bundle(bundle_id)


def list_bundles() -> list[ImportedBundle]:
    """All kept bundles, the newest first."""
    found = [_read(folder) for folder in bundles_dir().iterdir() if _FULL_ID.fullmatch(folder.name)]
    return sorted(found, key=lambda bundle: -bundle.imported_s)


def imported_bundle(asked: str) -> ImportedBundle:
    """The kept bundle with that id, or the only one whose id begins so; raises UserError."""
    found = [bundle for bundle in list_bundles() if bundle.bundle_id.startswith(asked)]
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"There is no imported bundle {asked[:60]!r}; `python -m lib bundles list` shows them.")
    raise UserError(f"{len(found)} imported bundles begin with {asked[:60]!r}; give more characters.")


def rename_bundle(asked: str, name: str) -> ImportedBundle:
    """Give a kept bundle another name."""
    bundle = imported_bundle(asked)
    if not _clean_name(name):
        raise UserError("A bundle needs a name; received an empty one.")
    record = read_json_or_empty(bundle.folder / _RECORD_FILE)
    write_json(bundle.folder / _RECORD_FILE, {**record, "name": _clean_name(name)})
    return imported_bundle(bundle.bundle_id)


def delete_bundle(asked: str) -> ImportedBundle:
    """Move a kept bundle to the trash."""
    bundle = imported_bundle(asked)
    target = _trashed(bundle.bundle_id)
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(bundle.folder, target)
    return bundle


def restore_bundle(bundle_id: str) -> ImportedBundle:
    """Bring a deleted bundle back, by its whole id."""
    if not _FULL_ID.fullmatch(bundle_id) or not _trashed(bundle_id).is_dir():
        raise UserError(f"There is no deleted bundle {bundle_id[:60]!r}; the deletion printed its id.")
    if not (bundles_dir() / bundle_id).exists():
        shutil.move(_trashed(bundle_id), bundles_dir() / bundle_id)
    return imported_bundle(bundle_id)


@contextmanager
def sound_manifest(name: str) -> Iterator[None]:
    """Where a manifest from elsewhere has other kinds of values than this program writes, say so in a sentence."""
    try:
        yield
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, RuntimeError) as error:
        raise UserError(
            f"{name} describes a classifier that cannot be built ({type(error).__name__}: {str(error)[:120]}); "
            "it is damaged or made up. Export it again from its run."
        ) from error


def _check(folder: Path) -> None:
    """Open the classifier and let it answer once; raises UserError where anything in it is not as it should be."""
    import numpy as np
    import torch

    from lib.grading.grader import Grader
    from lib.models.head_layers import NearestNeighborsHead

    with sound_manifest(folder.name):
        grader = Grader.open(folder, device="cpu")
        for key, tensor in grader.classifier.state_dict().items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise UserError(f"The bundle's tensor {key!r} holds NaN or infinity; it is damaged.")
        head = grader.classifier.head
        if isinstance(head, NearestNeighborsHead) and not (
            len(head.targets) and int(head.targets.min()) >= 0 and int(head.targets.max()) < head.num_classes
        ):
            raise UserError("The bundle's neighbours belong to classes that it does not have; it is damaged.")
        side = grader.inputs.store_side_px or grader.inputs.size_px
        image = np.random.default_rng(0).integers(0, 256, (1, side, side, 3), dtype=np.uint8)
        probabilities, _ = grader.scores(image)
        _ = grader.header
    if not np.isfinite(probabilities).all():
        raise UserError("The bundle's network answers a test image with NaN; it is damaged.")


def _read(folder: Path) -> ImportedBundle:
    record = read_json_or_empty(folder / _RECORD_FILE)
    return ImportedBundle(
        folder.name, str(record.get("name") or folder.name), float(record.get("imported_s") or 0.0), folder
    )


def _described(manifest: dict[str, Any], stem: str) -> str:
    about = manifest.get("dataset")
    title = str(about.get("title") or about.get("name") or "") if isinstance(about, dict) else ""
    return _clean_name(f"{title} · {stem}" if title else stem) or "bundle"


def _clean_name(name: str) -> str:
    return "".join(letter for letter in " ".join(name.split()) if letter.isprintable())[:_MAX_NAME]


def _trashed(bundle_id: str) -> Path:
    return trash_dir() / "bundles" / bundle_id
