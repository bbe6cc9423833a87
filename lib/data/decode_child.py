"""The decoder's child process: reads requests from standard input, answers on standard output, one at a time.

Memory, CPU time and file sizes are limited here, so that a hostile file costs this process and nothing else. Imports
Pillow and numpy only, pydicom for its files, and scipy where photographs are measured too.
"""

import dataclasses
import hashlib
import json
import math
import os
import resource
import signal
import stat
import struct
import sys
import time
from contextlib import suppress
from typing import Any, BinaryIO

from lib.data.images import HEAD_BYTES, ImageHeader, decode_bytes, decode_mask, read_head, read_header
from lib.data.specs import ValueScale
from lib.errors import BadImage
from lib.settings import DECODE_TIMEOUT_S, DECODER_MEMORY_MIB, MAX_FILE_BYTES

LENGTHS = struct.Struct(">II")  # bytes of the JSON header, bytes of the payload behind it


def main() -> None:
    """Answer requests until the parent closes the pipe."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    # A C library that prints would garble the answers.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    _limit(resource.RLIMIT_AS, DECODER_MEMORY_MIB * 2**20)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _send(answers, {"ready": True})
    while lengths := requests.read(LENGTHS.size):
        header_bytes, payload_bytes = LENGTHS.unpack(lengths)
        request = json.loads(requests.read(header_bytes))
        payload = requests.read(payload_bytes)
        # Computing time, not the clock's: a busy machine must not turn good images into bad ones.
        _limit(resource.RLIMIT_CPU, math.ceil(time.process_time() + DECODE_TIMEOUT_S))
        try:
            _send(answers, *_answer(request, payload))
        except BadImage as error:
            _send(answers, {"bad": str(error)})
        except MemoryError:
            _send(answers, {"bad": "Decoding the image needs too much memory."})


def _answer(request: dict[str, Any], payload: bytes) -> tuple[dict[str, Any], bytes]:
    if request["probe"] == "head":
        return dataclasses.asdict(_glance(payload)), b""
    data = _read(payload) if request["is_path"] else payload
    if request["probe"]:
        return dataclasses.asdict(read_header(data)), b""
    if request.get("is_mask"):
        size, box = tuple(request["image_size"]), tuple(request["box"])
        return {}, decode_mask(data, image_size=size, box=box, side_px=request["side_px"]).tobytes()
    chosen = {key: request[key] for key in ("side_px", "crop_policy")}
    image = decode_bytes(data, **chosen, value_scale=ValueScale.of(request["value_scale"]))
    header = {"width": image.width, "height": image.height, "box": image.box, "notices": image.notices}
    header["laterality"] = image.laterality
    header["sha256"] = hashlib.sha256(data).hexdigest()
    if request["is_measured"]:
        from lib.data.photograph_quality import measure_photograph

        header["measures"] = dataclasses.asdict(measure_photograph(image.pixels))
    return header, image.pixels.tobytes()


def _glance(path: bytes) -> ImageHeader:
    """The header from the first bytes where they will do; else from all, as of an image of more than 8 bits."""
    head = _read(path, HEAD_BYTES)
    if len(head) == HEAD_BYTES and (header := read_head(head, os.stat(path).st_size)):  # noqa: PTH116  (as below)
        return header
    return read_header(head if len(head) < HEAD_BYTES else _read(path))


def _read(path: bytes, num_bytes: int = MAX_FILE_BYTES + 1) -> bytes:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # noqa: PTH116  (a path of bytes)
            raise BadImage("This is not an ordinary file.")
        with open(path, "rb") as opened:  # noqa: PTH123
            return opened.read(num_bytes)
    except OSError as error:
        raise BadImage(f"The file cannot be read ({error.strerror or type(error).__name__}).") from None


def _send(answers: BinaryIO, header: dict[str, Any], payload: bytes = b"") -> None:
    encoded = json.dumps(header).encode()
    answers.write(LENGTHS.pack(len(encoded), len(payload)) + encoded)
    answers.write(payload)
    answers.flush()


def _limit(what: int, value: int) -> None:
    # Some systems (macOS) refuse some limits; the parent's time limit holds in any case.
    with suppress(ValueError, OSError):
        resource.setrlimit(what, (value, resource.getrlimit(what)[1]))


if __name__ == "__main__":
    main()
