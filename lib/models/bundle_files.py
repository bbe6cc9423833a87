"""The files of a saved classifier, in a folder or in a zip that may come from anywhere.

manifest.json says what it is, network.safetensors holds its tensors; other .safetensors and .json files may lie beside
them (the gate's reference, the images that were seen) and travel with an export. Imports torch late.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import safetensors

from lib import archives
from lib.atomic import atomic_path, sha256_of_file, write_json
from lib.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Found = TypeVar("Found")
Arrays = dict[str, np.ndarray]
Facts = dict[str, str]
MANIFEST_FILE = "manifest.json"
NETWORK_FILE = "network.safetensors"
# The largest whole network of the table, VGG16 with its 4096 layers, takes 528 MiB.
MAX_BUNDLE_BYTES = 2**30
MAX_MANIFEST_BYTES = 4 * 2**20  # as Python's objects, JSON takes twenty times that
_SUFFIXES = (".safetensors", ".json")
_MAX_FILES = 16
_MAX_ENTRIES = 1000  # before any is looked at; weights may hold the mark of an entry by chance
_RATIO_FREE_BYTES = 32 * 2**20  # weights hardly shrink, except those of zeros
_SHA256 = "network_sha256"
SIDE_FORMAT_VERSION = 1


def write_bundle_files(folder: Path, manifest: Mapping[str, Any], tensors: Mapping[str, "Tensor"]) -> None:
    """Write the tensors, then the manifest with their hash, so that a bundle of two different savings is noticed."""
    import safetensors.torch

    target = folder / NETWORK_FILE
    # safetensors stores plain row-major memory; networks are kept channels_last.
    plain = {key: tensor.detach().cpu().contiguous() for key, tensor in tensors.items()}
    with atomic_path(target) as temporary:
        safetensors.torch.save_file(plain, temporary)
    write_json(folder / MANIFEST_FILE, {**manifest, _SHA256: sha256_of_file(target)})


def read_bundle_files(folder: Path) -> tuple[dict[str, Any], dict[str, "Tensor"]]:
    """Read manifest and tensors of a bundle's folder; raises UserError if it is none or damaged."""
    import safetensors.torch

    manifest_path, network_path = folder / MANIFEST_FILE, folder / NETWORK_FILE
    if not manifest_path.is_file() or not network_path.is_file():
        raise UserError(f"The folder {folder} is no saved classifier: it lacks {MANIFEST_FILE} or {NETWORK_FILE}.")
    with _damage_reported(folder.name):
        if manifest_path.stat().st_size > MAX_MANIFEST_BYTES:
            raise UserError(f"The {MANIFEST_FILE} of {folder.name} is over {MAX_MANIFEST_BYTES // 2**20} MiB.")
        manifest = json.loads(manifest_path.read_bytes())
        if not isinstance(manifest, dict) or manifest.get(_SHA256) != sha256_of_file(network_path):
            raise UserError(
                f"The {NETWORK_FILE} of {folder.name} does not match its {MANIFEST_FILE}: it is damaged or changed. "
                "Export or train it again."
            )
        return manifest, safetensors.torch.load_file(network_path)


def write_side_file(path: Path, arrays: Mapping[str, np.ndarray], facts: Mapping[str, str]) -> None:
    """Write what lies beside a classifier as one safetensors file, atomically."""
    from safetensors.numpy import save_file

    with atomic_path(path) as temporary:
        save_file(dict(arrays), temporary, metadata={**facts, "format_version": str(SIDE_FORMAT_VERSION)})


def read_side_file(
    path: Path, build: Callable[[Arrays, Facts], Found], *, title: str, owner: str, remedy: str
) -> Found:
    """What `build` makes of what `write_side_file` wrote; UserError "`title` FILE of this `owner` ...; `remedy`."."""
    try:
        with safetensors.safe_open(path, framework="numpy") as opened:
            facts = dict(opened.metadata() or {})
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (no dictionary)
        version, found = int(facts["format_version"]), build(arrays, facts)
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{title} {path.name} of this {owner} cannot be read ({error}); {remedy}.") from error
    if version > SIDE_FORMAT_VERSION:
        raise UserError(
            f"{title} {path.name} has format {version}, newer than {SIDE_FORMAT_VERSION}; update the program."
        )
    return found


@contextmanager
def unpacked_bundle(path: Path) -> Iterator[Path]:
    """The folder of a bundle: the given one, or a temporary one with the files of a zip.

    Raises:
        UserError: nothing there, damaged, too large, or a zip that holds anything but a bundle.
    """
    if path.is_dir():
        yield path
    elif path.is_file():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name, path.name)  # the name that errors tell
            folder.mkdir()
            with (
                _damage_reported(path.name),
                path.open("rb") as opened,
                archives.open_archive(opened, max_entries=_MAX_ENTRIES) as archive,
            ):
                for member in _checked_members(archive, path.name):
                    # No more than the stated size, and the sum of those was checked.
                    with (folder / member.filename).open("wb") as target:
                        target.writelines(archives.member_pieces(archive, member))
            yield folder
    else:
        raise UserError(f"There is no saved classifier at {path}. Give the folder or the zip of a bundle.")


def zip_bundle(folder: Path, target: Path) -> None:
    """Pack a bundle's files flat into a zip, atomically. Stored as they are: float weights hardly compress."""
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for file in bundle_file_paths(folder):
            archive.write(file, file.name)


def bundle_file_paths(folder: Path) -> list[Path]:
    """All files of a bundle's folder that belong to it."""
    return [file for file in sorted(folder.iterdir()) if file.suffix in _SUFFIXES and not file.name.startswith(".")]


def _checked_members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    names = [member.filename for member in members]
    # Plain names alone: no folders, so no way out of the target folder.
    strange = [found for found in names if Path(found).name != found or Path(found).suffix not in _SUFFIXES]
    if strange:
        raise UserError(f"{name} is no bundle of this program: it holds {strange[0][:80]!r}.")
    if MANIFEST_FILE not in names or len(set(names)) != len(names) or len(names) > _MAX_FILES:
        raise UserError(f"{name} is no bundle of this program: it needs one {MANIFEST_FILE} and few other files.")
    if sum(member.file_size for member in members) > MAX_BUNDLE_BYTES:
        raise UserError(f"{name} unpacks to more than {MAX_BUNDLE_BYTES // 2**20} MiB, the limit for a bundle.")
    for member in members:
        if reason := archives.why_unreadable(member, ratio_free_bytes=_RATIO_FREE_BYTES):
            raise UserError(f"{name} is no bundle of this program ({member.filename[:80]}: {reason.rstrip('.')}).")
    return members


@contextmanager
def _damage_reported(name: str) -> Iterator[None]:
    try:
        yield
    except archives.ArchiveRefused as error:
        raise UserError(f"{name} cannot be opened as a bundle. {error}") from None
    except UserError:
        raise
    except (*archives.DAMAGE, RecursionError, KeyError, safetensors.SafetensorError) as error:
        raise UserError(
            f"The saved classifier {name} cannot be read ({type(error).__name__}); it is damaged."
        ) from error
