"""What fills the frame: what a class fixes, what an image draws, and grounds for what stands on them."""

import numpy as np
import pytest

from lib.pretraining import textures

SIDE = 32


def drawn(family, kind: int, image: int) -> np.ndarray:
    return family(np.random.default_rng(kind), np.random.default_rng(100 + image), SIDE)


@pytest.mark.parametrize("side", [5, 16, 31])
def test_every_texture_takes_any_side(side: int) -> None:
    for family in (textures.grating, textures.noise, textures.cells, textures.dots, textures.strokes,
                   textures.dead_leaves, textures.coordinate_program, textures.filter_cascade):  # fmt: skip
        image = family(np.random.default_rng(0), np.random.default_rng(1), side)
        assert image.shape == (side, side, 3), family
        assert image.min() >= 0, family
        assert image.max() < 2, family  # shaded leaves are brighter than white until the photograph
        assert np.isfinite(image).all(), family


def test_the_class_fixes_how_fine_a_grating_is() -> None:
    # Of 2.0 to 19.0 periods: a fine one changes from pixel to pixel more than a coarse one, whatever the colours.
    def roughness(kind: int) -> float:
        images = [textures.grating(np.random.default_rng(kind), np.random.default_rng(i), 64) for i in range(8)]
        return float(np.mean([np.abs(np.diff(one, axis=1)).mean() / one.std() for one in images]))

    asked = {kind: np.random.default_rng(kind) for kind in range(40)}
    frequencies = {}
    for kind, generator in asked.items():
        if generator.integers(6) == 0:  # plain waves
            frequencies[kind] = float(generator.choice([2.0, 4.0, 7.0, 12.0, 19.0]))
    coarse, fine = min(frequencies, key=frequencies.get), max(frequencies, key=frequencies.get)
    assert frequencies[coarse] < frequencies[fine]
    assert roughness(fine) > 1.5 * roughness(coarse)


def test_a_coordinate_program_changes_as_fast_wherever_it_is_seen_from() -> None:
    def steps(kind: int, image: int) -> np.ndarray:
        picture = drawn(textures.coordinate_program, kind, image)
        change = np.abs(np.diff(picture, axis=0)).mean(2)
        return np.quantile(change, (0.5, 0.7, 0.85, 0.95)) / picture.std()

    found = np.array([[steps(kind, image) for image in range(6)] for kind in range(8)])
    # Classes of one network with other weights for each image would give 0.64.
    assert found.std(axis=1).mean() < 0.45 * found.mean(axis=1).std(axis=0).mean()


def test_a_filter_cascade_begins_at_four_pixels() -> None:
    for side in (4, 7, 65):
        image = textures.filter_cascade(np.random.default_rng(2), np.random.default_rng(3), side)
        assert image.shape == (side, side, 3)


def test_grounds_are_mostly_quiet() -> None:
    rng = np.random.default_rng(0)
    backdrops = [textures.backdrop(rng, SIDE) for _ in range(60)]
    plain = [one for one in backdrops if np.ptp(one, axis=(0, 1)).max() == 0]
    assert 5 < len(plain) < 30  # one in four
    assert all(one.flags.writeable for one in backdrops)  # things are drawn on it
    edges = [np.abs(np.diff(textures.ground(rng, SIDE), axis=1)).mean() for _ in range(60)]
    busy = np.abs(np.diff(textures.any_texture(rng, SIDE, (textures.dots,)), axis=1)).mean()
    assert np.median(edges) < busy


def test_any_texture_draws_from_the_families_given() -> None:
    def red(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
        return np.full((side, side, 3), (1, 0, 0), np.float32)

    def blue(kind: np.random.Generator, rng: np.random.Generator, side: int) -> np.ndarray:
        return np.full((side, side, 3), (0, 0, 1), np.float32)

    rng = np.random.default_rng(0)
    found = [textures.any_texture(rng, 4, (red, blue))[0, 0].tolist() for _ in range(20)]
    assert {tuple(one) for one in found} == {(1, 0, 0), (0, 0, 1)}


def test_what_lies_behind_a_small_thing_is_mostly_out_of_focus(monkeypatch: pytest.MonkeyPatch) -> None:
    blurred = []
    monkeypatch.setattr(textures, "gaussian_filter", lambda image, sigma: blurred.append(sigma) or image)
    for name in ("ground", "any_texture"):  # of which some blur by themselves
        monkeypatch.setattr(textures, name, lambda *_: np.zeros((SIDE, SIDE, 3), np.float32))
    rng = np.random.default_rng(0)
    for _ in range(60):
        textures.close_up(rng, SIDE)
    assert 30 < len(blurred) < 50
    assert all(sigma[2] == 0 for sigma in blurred)  # colours do not run into one another
