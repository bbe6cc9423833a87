import os
import platform
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lib.data import decoder_pool
from lib.data.decoder_pool import DecoderPool, decode_one, kept_decoders
from lib.data.images import DecodedImage
from lib.data.photograph_quality import WORKING_SIDE_PX, measure_photograph
from lib.errors import BadImage, UserError
from tests.data.folders import encoded, picture

# Behaves as the real child, and misbehaves on demand.
TREACHEROUS_CHILD = textwrap.dedent(
    """
    import os, time
    import lib.data.decode_child as child
    real = child.decode_bytes
    child.DECODE_TIMEOUT_S = 0.2
    def decode_bytes(data, **options):
        if data == b"crash":
            os.abort()
        if data == b"hang":
            time.sleep(60)
        if data == b"spin":
            while True:
                pass
        if data == b"memory":
            bytearray(8 * 2**30)
        return real(data, **options)
    child.decode_bytes = decode_bytes
    child.main()
    """
)


@pytest.fixture
def treacherous(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_pool, "_CHILD_COMMAND", (sys.executable, "-c", TREACHEROUS_CHILD))


def test_decode_many_returns_every_index_once(tmp_path: Path):
    images = [picture(seed) for seed in range(7)]
    sources: list[Path | bytes] = [encoded(image) for image in images]
    path = tmp_path / "späce \udcff.png"  # a name that is not valid UTF-8
    path.write_bytes(encoded(images[0]))
    sources += [path, tmp_path / "missing.png", tmp_path, b"nonsense"]
    with DecoderPool(2, side_px=32) as pool:
        results = dict(pool.decode_many(sources))
    assert sorted(results) == list(range(11))
    for index, image in enumerate([*images, images[0]]):
        decoded = results[index]
        assert isinstance(decoded, DecodedImage)
        assert np.array_equal(decoded.pixels, np.asarray(image))
    reasons = [str(results[index]) for index in (8, 9, 10)]
    assert "No such file" in reasons[0]
    assert "not an ordinary file" in reasons[1]
    assert "not JPEG" in reasons[2]


def test_relative_paths_are_those_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "a.png").write_bytes(encoded(picture(3)))
    monkeypatch.chdir(tmp_path)
    with DecoderPool(1, side_px=16) as pool:
        assert pool.decode("a.png").pixels.shape == (16, 16, 3)


def test_probe_gives_size_and_hash_of_the_content():
    data = encoded(picture(1, width=40, height=24))
    with DecoderPool(1) as pool:
        header = pool.probe(data)
    assert (header.width, header.height, header.num_bytes) == (40, 24, len(data))
    assert len(header.sha256) == 64


@pytest.mark.usefixtures("treacherous")
def test_a_crash_costs_that_file_only():
    good = encoded(picture(1))
    with DecoderPool(2, side_px=32) as pool:
        results = dict(pool.decode_many([good, b"crash", good, b"memory", good]))
    assert "crashed" in str(results[1])
    assert "memory" in str(results[3])
    assert all(isinstance(results[index], DecodedImage) for index in (0, 2, 4))


@pytest.mark.slow
@pytest.mark.usefixtures("treacherous")
def test_a_file_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch):
    with DecoderPool(1, side_px=32) as pool:
        pool.decode(encoded(picture(1)))  # started, so that only the hang is timed
        with pytest.raises(BadImage, match="Decoding took longer than 5 s"):
            pool.decode(b"spin")
        monkeypatch.setattr(decoder_pool, "_WAIT_TIMEOUT_S", 0.3)
        with pytest.raises(BadImage, match="Decoding took longer than 5 s"):
            pool.decode(b"hang")
        monkeypatch.setattr(decoder_pool, "_WAIT_TIMEOUT_S", 20)
        assert pool.decode(encoded(picture(1))).width == 32


def test_a_child_that_was_killed_meanwhile_is_started_again():
    with DecoderPool(1, side_px=32) as pool:
        pool.decode(encoded(picture(1)))
        process = pool._workers[0]._process
        assert process is not None
        os.kill(process.pid, 9)
        assert pool.decode(encoded(picture(2))).width == 32


def test_closing_early_ends_the_children():
    with DecoderPool(2, side_px=32) as pool:
        for _ in pool.decode_many([encoded(picture(seed)) for seed in range(20)]):
            break
        processes = [worker._process for worker in pool._workers if worker._process]
    assert processes
    assert all(process.poll() is not None for process in processes)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other systems give memory back in their own way")
def test_the_child_keeps_its_memory_from_picture_to_picture():
    photograph = encoded(picture(0).resize((1152, 868)), "JPEG")
    with DecoderPool(1) as pool:

        def num_faults() -> int:
            (child,) = [worker._process for worker in pool._workers if worker._process]
            return int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[7])

        for _ in range(4):
            pool.decode(photograph)
        before = num_faults()
        for _ in range(4):
            pool.decode(photograph)
        assert num_faults() - before < 4 * 300  # 2,000 a picture where it is given back and taken again


def test_decode_one_serves_any_size_and_crop_from_one_pool():
    image = encoded(Image.new("RGB", (40, 30), "green"))
    assert decode_one(image, side_px=8).pixels.shape == (8, 8, 3)
    decoded = decode_one(image, side_px=20, crop_policy="retina_box")
    assert decoded.pixels.shape == (20, 20, 3)
    assert decoded.notices
    with pytest.raises(UserError, match="crop policy"):
        decode_one(image, side_px=8, crop_policy="round")


def test_measures_come_with_the_pixels_where_they_are_asked_for():
    image = encoded(picture(2, width=200, height=200))
    form = {"side_px": WORKING_SIDE_PX, "crop_policy": "retina_box"}
    decoded, expected = kept_decoders(**form, is_measured=True).decode(image), decode_one(image, **form)
    assert np.array_equal(decoded.pixels, expected.pixels)
    measures = measure_photograph(expected.pixels)
    assert decoded.measures is not None
    assert (decoded.measures.values, decoded.measures.is_eye) == (measures.values, measures.is_eye)  # to the last bit
    assert expected.measures is None


def test_the_kept_children_are_there_for_the_next_call():
    first = kept_decoders(side_px=16, crop_policy="center_square")
    first.decode(encoded(picture(0)))
    running = {worker._process.pid for worker in first._workers if worker._process}
    second = kept_decoders(side_px=24, crop_policy="center_square")
    assert second.decode(encoded(picture(0))).pixels.shape == (24, 24, 3)
    assert running <= {worker._process.pid for worker in second._workers if worker._process}
    assert first.side_px == 16
