"""What a decoder's child answers, and what it may not do; crashes are in tests/data/test_decoder_pool.py."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lib.data.decode_child import LENGTHS, _answer
from lib.data.images import HEAD_BYTES, decode_bytes
from lib.data.photograph_quality import WORKING_SIDE_PX, measure_photograph
from lib.data.specs import BY_FILE
from lib.errors import BadImage
from tests.data.folders import encoded, picture

DECODE: dict[str, Any] = {
    "probe": False, "is_path": False, "side_px": 16, "crop_policy": "center_square",
    "value_scale": BY_FILE.to_dict(), "is_measured": False,
}  # fmt: skip


def ask(payload: bytes, **request: Any) -> tuple[dict[str, Any], bytes]:
    header, answer = _answer({**DECODE, **request}, payload)
    return json.loads(json.dumps(header)), answer  # as it comes through the pipe


def test_pixels_come_with_what_is_known_of_the_file(tmp_path: Path):
    data = encoded(picture(1, width=40, height=24))
    path = tmp_path / "späce \udcff.png"  # a name that is not valid UTF-8
    path.write_bytes(data)
    header, pixels = ask(data)
    assert header == {
        "width": 40, "height": 24, "box": [8, 0, 32, 24], "notices": [], "laterality": "",
        "sha256": hashlib.sha256(data).hexdigest(),
    }  # fmt: skip
    expected = decode_bytes(data, side_px=16, crop_policy="center_square", value_scale=BY_FILE)
    assert np.array_equal(np.frombuffer(pixels, np.uint8).reshape(16, 16, 3), expected.pixels)
    assert ask(os.fsencode(path), is_path=True) == (header, pixels)


def test_measures_are_of_the_square_that_is_answered():
    square = encoded(picture(2, width=WORKING_SIDE_PX, height=WORKING_SIDE_PX))
    header, pixels = ask(square, side_px=WORKING_SIDE_PX, is_measured=True)
    measured = measure_photograph(np.frombuffer(pixels, np.uint8).reshape(WORKING_SIDE_PX, WORKING_SIDE_PX, 3))
    assert header["measures"] == {"values": measured.values, "is_eye": False}


def test_a_header_comes_from_the_first_bytes_where_they_tell_all(tmp_path: Path):
    small, large, deep = (tmp_path / f"{name}.png" for name in ("small", "large", "deep"))
    picture(3).save(small)
    picture(4, width=200, height=180).save(large)
    values = np.random.default_rng(0).integers(0, 4096, (200, 200), dtype=np.uint16)
    Image.fromarray(values).save(deep)
    assert min(large.stat().st_size, deep.stat().st_size) > HEAD_BYTES > small.stat().st_size
    heads = {path.stem: ask(os.fsencode(path), probe="head", is_path=True)[0] for path in (small, large, deep)}
    whole = {path.stem: ask(os.fsencode(path), probe=True, is_path=True)[0] for path in (small, large, deep)}
    assert heads["small"] == whole["small"]
    assert heads["large"] == {
        **whole["large"], "is_whole": False, "sha256": hashlib.sha256(large.read_bytes()[:HEAD_BYTES]).hexdigest()
    }  # fmt: skip
    assert heads["deep"] == whole["deep"]  # of more than 8 bits: its values are asked for, too
    assert heads["deep"]["values"]["high"] == pytest.approx(4095, abs=10)


def test_a_mask_is_cut_as_its_image_was_and_has_its_size():
    mask = np.zeros((24, 40), np.uint8)
    mask[:, 20:] = 3
    request = {"is_mask": True, "image_size": [40, 24], "box": [8, 0, 32, 24]}
    header, values = ask(encoded(Image.fromarray(mask)), **request)
    assert header == {}
    assert np.array_equal(np.frombuffer(values, np.uint8).reshape(16, 16), np.repeat([[0] * 8 + [3] * 8], 16, axis=0))
    with pytest.raises(BadImage, match="30 x 24"):
        ask(encoded(Image.fromarray(mask[:, :30])), **request)


@pytest.mark.parametrize("probe", [False, True, "head"])
@pytest.mark.parametrize(("kind", "said"), [
    ("gone", "The file cannot be read (No such file or directory)."), ("folder", "This is not an ordinary file."),
    ("pipe", "This is not an ordinary file."), ("device", "This is not an ordinary file."),
])  # fmt: skip
def test_what_is_no_ordinary_file_is_not_opened(tmp_path: Path, kind: str, said: str, probe: Any):
    path = Path("/dev/zero") if kind == "device" else tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(BadImage) as refused:
        ask(os.fsencode(path), is_path=True, probe=probe)
    assert str(refused.value) == said


CHILD = textwrap.dedent(
    """
    import os, sys
    import lib.data.decode_child as child
    print([name for name in ("torch", "pandas", "mlflow") if name in sys.modules], file=sys.stderr)
    real = child.decode_bytes
    def decode_bytes(data, **options):
        os.write(1, b"a C library prints")
        if data == b"write":
            with open(sys.argv[1], "w") as opened:
                opened.write("x")
        return real(data, **options)
    child.decode_bytes = decode_bytes
    child.main()
    """
)


def test_a_child_answers_in_turn_imports_little_and_writes_nothing(tmp_path: Path):
    """Neither what is printed meanwhile nor a Ctrl-C comes between request and answer."""
    command = [sys.executable, "-c", CHILD, str(tmp_path / "written")]
    header = json.dumps(DECODE).encode()
    good = encoded(picture(5))
    requests = [LENGTHS.pack(len(header), len(data)) + header + data for data in (b"nonsense", good, b"write")]
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
    try:
        assert child.stdout
        ready = child.stdout.read(LENGTHS.size + len(json.dumps({"ready": True})))
        child.send_signal(signal.SIGINT)
        answers, said = child.communicate(b"".join(requests), timeout=30)
    finally:
        child.kill()
    expected, pixels = ask(good)
    parts = [({"ready": True}, b""), ({"bad": _refusal(b"nonsense")}, b""), (expected, pixels)]
    encodings = [(json.dumps(one).encode(), payload) for one, payload in parts]
    assert ready + answers == b"".join(LENGTHS.pack(len(one), len(data)) + one + data for one, data in encodings)
    told = said.decode()
    assert told.startswith("[]\n")
    assert "File too large" in told
    assert (tmp_path / "written").read_bytes() == b""


def _refusal(data: bytes) -> str:
    with pytest.raises(BadImage) as refused:
        ask(data)
    return str(refused.value)
