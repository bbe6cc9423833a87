"""The files of a saved classifier, in a folder or in a zip that may come from anywhere.

manifest.json says what it is, network.safetensors holds its tensors; other .safetensors and .json files may lie beside
them (the gate's reference, the images that were seen) and travel with an export, which adds README.txt, the same
network as model.onnx where asked, and checksums.json with the SHA-256 of every other file. Nothing here is ever
unpickled. Imports torch late.
"""

import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
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
README_FILE, ONNX_FILE, CHECKSUMS_FILE = "README.txt", "model.onnx", "checksums.json"
# The largest whole network of the table, VGG16 with its 4096 layers, takes 528 MiB.
MAX_BUNDLE_BYTES = 2**30
MAX_MANIFEST_BYTES = 4 * 2**20  # as Python's objects, JSON takes twenty times that
_SUFFIXES = (".safetensors", ".json")
_PLAIN_FILES = (README_FILE, ONNX_FILE)
_MAX_FILES = 20
_MAX_DEPTH = 32  # of JSON; manifests are six deep
_MAX_ENTRIES = 1000  # before any is looked at; weights may hold the mark of an entry by chance
_RATIO_FREE_BYTES = 32 * 2**20  # weights hardly shrink, except those of zeros
_SHA256 = "network_sha256"
SIDE_FORMAT_VERSION = 1
FORMAT_VERSION = 1


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
        manifest = _parsed(manifest_path.read_bytes(), MANIFEST_FILE, folder.name)
        check_format(manifest)
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
        version = int(facts["format_version"])
        found = build(arrays, facts) if version <= SIDE_FORMAT_VERSION else None
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(f"{title} {path.name} of this {owner} cannot be read ({error}); {remedy}.") from error
    if found is None:
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
                _check_unpacked(folder)
            yield folder
    else:
        raise UserError(f"There is no saved classifier at {path}. Give the folder or the zip of a bundle.")


def zip_bundle(folder: Path, target: Path) -> None:
    """Pack a bundle's files flat into a zip, atomically, with the SHA-256 of each.

    Stored as they are: float weights hardly compress.
    """
    sums = {file.name: sha256_of_file(file) for file in bundle_file_paths(folder) if file.name != CHECKSUMS_FILE}
    write_json(folder / CHECKSUMS_FILE, {"algorithm": "SHA-256", "files": sums})
    with atomic_path(target) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for file in bundle_file_paths(folder):
            archive.write(file, file.name)


def bundle_file_paths(folder: Path) -> list[Path]:
    """All files of a bundle's folder that belong to it."""
    return [file for file in sorted(folder.iterdir()) if _is_bundle_file(file.name) and not file.is_symlink()]


def check_format(manifest: Any) -> None:
    """Raise UserError for a manifest of a newer format."""
    found = manifest.get("format_version", FORMAT_VERSION) if isinstance(manifest, dict) else FORMAT_VERSION
    if not isinstance(found, int) or found > FORMAT_VERSION:
        raise UserError(
            f"This bundle has format {found!r:.40}, this program reads {FORMAT_VERSION}; "
            "update the program or export the bundle again."
        )


def _is_bundle_file(name: str) -> bool:
    return (Path(name).suffix in _SUFFIXES and not name.startswith(".")) or name in _PLAIN_FILES


def _parsed(content: bytes, name: str, bundle: str) -> Any:
    """JSON of limited depth."""
    found = json.loads(content)
    level = [found]
    for _ in range(_MAX_DEPTH):
        level = [inner for outer in level if isinstance(outer, dict | list) for inner in _values(outer)]
    if level:
        raise UserError(f"The {name[:80]} of {bundle} is nested more than {_MAX_DEPTH} deep; it is damaged or made up.")
    return found


def _values(outer: dict[str, Any] | list[Any]) -> list[Any]:
    return list(outer.values()) if isinstance(outer, dict) else outer


def _check_unpacked(folder: Path) -> None:
    """Raise UserError where a file of an unpacked zip is not what its list of checksums says, or no sound JSON."""
    files = {file.name: file for file in folder.iterdir()}
    parsed = {}
    for name, file in files.items():
        if file.suffix != ".json":
            continue
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            raise UserError(f"The {name[:80]} of {folder.name} is over {MAX_MANIFEST_BYTES // 2**20} MiB.")
        parsed[name] = _parsed(file.read_bytes(), name, folder.name)
    if CHECKSUMS_FILE not in parsed:
        return  # exported before there was such a list; the manifest has the hash of the network
    listed = parsed[CHECKSUMS_FILE].get("files") if isinstance(parsed[CHECKSUMS_FILE], dict) else None
    if not isinstance(listed, dict) or listed.keys() != files.keys() - {CHECKSUMS_FILE}:
        raise UserError(f"The {CHECKSUMS_FILE} of {folder.name} does not list its files; it is damaged or changed.")
    for name, expected in listed.items():
        if sha256_of_file(files[name]) != expected:
            raise UserError(
                f"The {name[:80]} of {folder.name} does not match its {CHECKSUMS_FILE}: it is damaged or changed. "
                "Get the bundle again."
            )


def _checked_members(archive: zipfile.ZipFile, name: str) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    names = [member.filename for member in members]
    # A newer format may hold files that are not known here; its number says more than their names.
    if names.count(MANIFEST_FILE) == 1:
        _check_zipped_format(archive, archive.getinfo(MANIFEST_FILE))
    # Plain names alone: no folders, so no way out of the target folder.
    strange = [found for found in names if Path(found).name != found or not _is_bundle_file(found)]
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


def _check_zipped_format(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> None:
    """Look at the format that a manifest states, where it can be read at all."""
    if member.file_size > MAX_MANIFEST_BYTES or archives.why_unreadable(member, ratio_free_bytes=_RATIO_FREE_BYTES):
        return
    manifest = None
    with suppress(ValueError, RecursionError):
        manifest = json.loads(archives.read_member(archive, member))
    if isinstance(manifest, dict):
        check_format(manifest)
        check_format(manifest.get("network"))


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
