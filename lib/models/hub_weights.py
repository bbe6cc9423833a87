"""Weights of timm's networks that come from the Hugging Face Hub: where they lie, what they must hash to.

huggingface_hub itself is never asked: it would look for news on the network whenever a file is opened. Its cache is
read where somebody filled it; a download is one request to the address of the file.
"""

import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from lib import settings
from lib.atomic import atomic_path
from lib.models.backbone_spec import HUB_FILE, BackboneSpec

_DIGEST = re.compile(r"[0-9a-f]{64}")
_HEADERS = ("X-Linked-Etag", "ETag")  # of a large file, the Hub gives its SHA-256 as the tag
_SUFFIX = ".sha256"


def cached_file(spec: BackboneSpec) -> Path | None:
    """The weights file in the cache of huggingface_hub, if somebody put it there."""
    folder = settings.hub_cache_dir() / f"models--{spec.weights_source.replace('/', '--')}"
    try:
        revision = (folder / "refs" / "main").read_text().strip()
    except (OSError, UnicodeError):
        return None
    if not re.fullmatch(r"[0-9a-f]{4,64}", revision):
        return None
    path = folder / "snapshots" / revision / HUB_FILE
    return path if path.is_file() else None


def expected_digest(path: Path) -> str:
    """What a file's SHA-256 must begin with, as far as it is known; "" if it is not.

    A download leaves the published one beside the file. The cache of huggingface_hub names files by it. Other published
    names end in its first digits.
    """
    beside = path.with_name(path.name + _SUFFIX)
    try:
        words = beside.read_text().split() if beside.is_file() else []
    except (OSError, UnicodeError):
        words = []
    if words and _DIGEST.fullmatch(words[0]):
        return words[0]
    if _DIGEST.fullmatch(path.resolve().name):
        return path.resolve().name
    found = re.search(r"-([0-9a-f]{8,})\.", path.name)
    return found.group(1) if found else ""


def record_digest(path: Path, digest: str) -> None:
    """Keep a download's published SHA-256 beside it, as `sha256sum -c` reads it."""
    with atomic_path(path.with_name(path.name + _SUFFIX)) as temporary:
        temporary.write_text(f"{digest}  {path.name}\n")


def published_digest(url: str, timeout_s: float) -> str:
    """The SHA-256 that the Hub publishes of a file; "" if it says none.

    Raises:
        OSError: no network, or no such file.
    """
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (https, or the mirror of HF_ENDPOINT)
    opener = urllib.request.build_opener(_StayHere)
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as error:
        if not 300 <= error.code < 400:
            raise
        headers = error.headers
    for name in _HEADERS:
        tag = str(headers.get(name) or "").removeprefix("W/").strip('"')
        if _DIGEST.fullmatch(tag):
            return tag
    return ""


class _StayHere(urllib.request.HTTPRedirectHandler):
    """Follows no redirection: the first answer tells the hash, the server that it leads to need not."""

    def redirect_request(self, *_given: Any, **_options: Any) -> None:
        """Nothing, which makes an error of the answer."""
