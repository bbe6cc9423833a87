"""Copies of photographs that are other files: re-encoded, resized, mirrored; and what only looks alike is none."""

import io

import numpy as np
import pytest
from PIL import Image

from lib.data import near_duplicates as near_duplicates_module
from lib.data.near_duplicates import describe_structure, find_copies, near_duplicates
from lib.errors import Stopped

SIDE = 96


def picture(seed, *, border=False):
    """Blobs of all sizes, as photographs have; with `border` inside one circle, as retinas are."""
    random = np.random.default_rng(seed)
    levels = np.zeros((SIDE, SIDE, 3))
    for cells in (6, 12, 24, 48):
        noise = Image.fromarray(random.integers(0, 256, (cells, cells, 3), dtype=np.uint8))
        levels += np.asarray(noise.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=float)
    pixels = (levels / 4).astype(np.uint8)
    if border:
        y, x = np.mgrid[:SIDE, :SIDE] - SIDE / 2
        pixels[np.hypot(x, y) > 0.45 * SIDE] = 0
    return pixels


def jpeg(pixels, quality=30):
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, "JPEG", quality=quality)
    return np.asarray(Image.open(io.BytesIO(written.getvalue())))


def resized(pixels, side):
    return np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC))


COPIES = {
    "the same": lambda own: own,
    "re-encoded": jpeg,
    "resized": lambda own: resized(resized(own, 60), SIDE),
    "mirrored": lambda own: own[:, ::-1],
    "upside down": lambda own: own[::-1],
    "turned by half": lambda own: own[::-1, ::-1],
    "mirrored and re-encoded": lambda own: jpeg(np.ascontiguousarray(own[:, ::-1])),
    "darker": lambda own: (own * 0.7).astype(np.uint8),
}


@pytest.fixture(scope="module", params=[False, True], ids=["photographs", "retinas"])
def known(request):
    return np.stack([picture(seed, border=request.param) for seed in range(12)])


@pytest.mark.parametrize("name", COPIES)
def test_a_copy_is_found_with_its_original(known, name):
    copies = np.stack([COPIES[name](own) for own in known[[3, 7]]])
    assert near_duplicates(copies, [0, 1], known, range(12)).tolist() == [3, 7]


def test_another_picture_is_none_even_with_the_same_border(known):
    is_retina = known[0, 0, 0].max() == 0
    others = np.stack([picture(seed, border=is_retina) for seed in range(100, 120)])
    assert set(near_duplicates(others, range(20), known, range(12)).tolist()) == {-1}


def test_only_the_rows_asked_for_are_looked_at_and_looked_for(known):
    assert near_duplicates(known, [5, 2], known, [0, 2]).tolist() == [-1, 2]
    assert near_duplicates(known, [5, 2], known, []).tolist() == [-1, -1]
    assert near_duplicates(known, [], known, [1]).tolist() == []


def test_stores_of_different_sides_are_compared(known):
    larger = np.stack([resized(own, 128) for own in known[:2]])
    assert near_duplicates(larger, [0, 1], known, range(12)).tolist() == [0, 1]


def test_a_flat_image_is_a_copy_of_nothing():
    flat = np.full((2, SIDE, SIDE, 3), 120, dtype=np.uint8)
    assert not describe_structure(flat).any()
    assert near_duplicates(flat, [0], flat, [1]).tolist() == [-1]


def test_it_can_be_stopped(known):
    def stop(done, total, what):
        raise Stopped

    with pytest.raises(Stopped):
        near_duplicates(known, [0], known, [1], progress=stop)


def test_copies_within_a_set_are_numbered_together():
    pixels = np.stack([picture(seed) for seed in range(12)])
    pixels[9], pixels[4] = pixels[2][:, ::-1], jpeg(pixels[2])
    pixels[11] = pixels[0]
    copies = find_copies(pixels)
    assert [group.tolist() for group in copies.groups] == [[0, 11], [2, 4, 9]]
    assert copies.nearest[[0, 11]].tolist() == [11, 0]
    assert copies.nearest[9] == 2
    assert copies.is_mirrored[[9, 11]].tolist() == [True, False]
    assert copies.number[[1, 3, 5]].tolist() == [-1, -1, -1]
    assert copies.cosine[0] == pytest.approx(1.0, abs=1e-3)
    assert copies.cosine[1] == 0


def test_blocks_change_nothing_and_many_frames_of_a_film_hang_together(monkeypatch):
    pixels = np.stack([picture(seed) for seed in range(6)] * 4)
    whole = find_copies(pixels)
    monkeypatch.setattr(near_duplicates_module, "_AT_A_TIME", 5)
    monkeypatch.setattr(near_duplicates_module, "_KNOWN_AT_A_TIME", 7)
    film = find_copies(pixels)
    assert [group.tolist() for group in film.groups] == [[seed, seed + 6, seed + 12, seed + 18] for seed in range(6)]
    assert np.array_equal(film.number, whole.number)
    same = np.repeat(pixels[:1], 30, axis=0)  # more pairs than are kept: 435
    assert find_copies(same).groups[0].tolist() == list(range(30))


def test_one_image_has_no_copy():
    assert find_copies(picture(1)[None]).groups == []
