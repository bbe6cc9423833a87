"""Fetches weights files by torch.hub and checks them by their published hash.

huggingface_hub itself is never asked: it would look for news on the network whenever a file is opened. A download is
one request to the address of the file.
"""

import errno
import socket
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lib.atomic import atomic_path
from lib.errors import WeightsUnavailable
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.weights import DIGEST, DIGEST_SUFFIX, digest_in_name, require_weights, weights_status
from lib.progress import Progress, ignore_progress

_HEADERS = ("X-Linked-Etag", "ETag")  # of a large file, the Hub gives its SHA-256 as the tag
_TIMEOUT_S = 30.0
_NO_ROOM = {errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EPERM, errno.EDQUOT}
# The progress bar of torch.hub and the default timeout belong to the whole process: one download at a time.
_DOWNLOADING = threading.Lock()


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


def _fetch(spec: BackboneSpec, target: Path, progress: Progress) -> None:
    """Let torch.hub download, listening to its progress bar; raises WeightsUnavailable if the hash is wrong."""
    from torch import hub

    expected = _published_digest(spec.weights_url) if spec.is_on_hub else digest_in_name(spec.weights_file)

    class Listening(hub.tqdm):  # type: ignore[misc, name-defined]
        """torch.hub's own progress bar, silent, that tells `progress`."""

        def __init__(self, **options: Any) -> None:
            super().__init__(**{**options, "disable": True})
            self.done, self.expected = 0, int(options.get("total") or spec.weights_mib * 2**20)

        def update(self, num_bytes: float | None = 1) -> None:
            self.done += int(num_bytes or 0)
            progress(self.done, max(self.expected, self.done), f"Downloading {spec.weights_file}")

    with _listened_to(hub, Listening):
        try:
            hub.download_url_to_file(spec.weights_url, str(target), expected or None)
        except RuntimeError as error:
            if "invalid hash" not in str(error):
                raise
            raise WeightsUnavailable(
                f"The download of {spec.weights_file} arrived damaged ({error}) and was thrown away. Try again."
            ) from error
    if spec.is_on_hub and expected:
        with atomic_path(target.with_name(target.name + DIGEST_SUFFIX)) as temporary:
            temporary.write_text(f"{expected}  {target.name}\n")


@contextmanager
def _listened_to(hub: Any, progress_bar: type) -> Iterator[None]:
    """torch.hub with that progress bar; it waits for a silent server for ever unless the default says otherwise."""
    with _DOWNLOADING:
        bar, timeout = hub.tqdm, socket.getdefaulttimeout()
        hub.tqdm = progress_bar
        socket.setdefaulttimeout(_TIMEOUT_S)
        try:
            yield
        finally:
            hub.tqdm = bar
            socket.setdefaulttimeout(timeout)


def _unavailable(spec: BackboneSpec, folder: Path, error: OSError) -> WeightsUnavailable:
    host = urllib.parse.urlsplit(spec.weights_url).netloc
    if isinstance(error, (urllib.error.URLError, TimeoutError)) or error.errno not in _NO_ROOM:
        return WeightsUnavailable(
            f"The weights file {spec.weights_file} could not be fetched from {host} "
            f"({getattr(error, 'reason', error)}). On a machine with a network, download {spec.weights_url} and copy "
            f"the file to {folder}{'' if spec.weights_url.endswith(spec.weights_file) else f' as {spec.weights_file}'}."
        )
    return WeightsUnavailable(
        f"The weights file {spec.weights_file} could not be written to {folder} ({error.strerror}). Make room there or "
        "set TORCH_HOME to a folder that can be written."
    )


def _published_digest(url: str) -> str:
    """The SHA-256 that the Hub publishes of a file; "" if it says none, OSError without a network or such a file."""
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 (https, or the mirror of HF_ENDPOINT)
    opener = urllib.request.build_opener(_StayHere)
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
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
