"""Fetches weights files by torch.hub and checks them by their published hash.

huggingface_hub itself is never asked: it would look for news on the network whenever a file is opened. A download is
one request to the address of the file.
"""

import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lib.atomic import atomic_path
from lib.downloads import TIMEOUT_S, DamagedDownload, fetch_file, why_not_fetched
from lib.errors import WeightsUnavailable
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.weights import DIGEST, DIGEST_SUFFIX, digest_in_name, require_weights, weights_status
from lib.progress import Progress, ignore_progress

_HEADERS = ("X-Linked-Etag", "ETag")  # of a large file, the Hub gives its SHA-256 as the tag


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
        what, otherwise = f"The weights file {spec.weights_file}", "TORCH_HOME"
        sentence = why_not_fetched(what, spec.weights_url, status.path, error, otherwise=otherwise)
        raise WeightsUnavailable(sentence) from error
    return status.path


def _fetch(spec: BackboneSpec, target: Path, progress: Progress) -> None:
    """Download, and keep the hash of a file whose name does not tell it."""
    expected = _published_digest(spec.weights_url) if spec.is_on_hub else digest_in_name(spec.weights_file)
    num_bytes = int(spec.weights_mib * 2**20)
    try:
        fetch_file(spec.weights_url, target, sha256=expected, num_bytes=num_bytes, progress=progress)
    except DamagedDownload as error:
        raise WeightsUnavailable(str(error)) from error
    if spec.is_on_hub and expected:
        with atomic_path(target.with_name(target.name + DIGEST_SUFFIX)) as temporary:
            temporary.write_text(f"{expected}  {target.name}\n")


def _published_digest(url: str) -> str:
    """The SHA-256 that the Hub publishes of a file; "" if it says none, OSError without a network or such a file."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (https, or the mirror of HF_ENDPOINT)
    opener = urllib.request.build_opener(_StayHere)
    try:
        with opener.open(request, timeout=TIMEOUT_S) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:
            raise
        headers = error.headers
    for name in _HEADERS:
        tag = str(headers.get(name) or "").removeprefix("W/").strip('"')
        if DIGEST.fullmatch(tag):
            return tag
    return ""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the first answer tells the hash, the server that it leads to need not."""

    def redirect_request(self, *_given: Any, **_options: Any) -> None:
        """Nothing, which makes an error of the answer."""
