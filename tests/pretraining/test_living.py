"""Living things: the colours are those of the class, the pose that of the image."""

import itertools

import numpy as np
import pytest

from lib.pretraining import living, textures

SIDE = 32
FAMILIES = (living.insect, living.flower, living.foliage, living.coloured_scene)


def drawn(family, kind: int, image: int, side: int = SIDE) -> np.ndarray:
    return family(np.random.default_rng(kind), np.random.default_rng(100 + image), side)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_living_thing_takes_any_side_and_stays_within_white(family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(living, "close_up", textures.backdrop)  # leaves behind it may be brighter
    for side, kind in ((5, 0), (16, 1), (31, 2)):
        image = drawn(family, kind, 0, side)
        assert image.shape == (side, side, 3)
        assert np.isfinite(image).all()
        assert (image.min(), image.max()) == pytest.approx((0.5, 0.5), abs=0.5 + 1e-5)


def test_only_the_colours_tell_scenes_apart() -> None:
    means = np.array([[drawn(living.coloured_scene, kind, i).mean((0, 1)) for i in range(6)] for kind in range(8)])
    assert means.std(axis=1).mean() < 0.7 * means.mean(axis=1).std(axis=0).mean()


@pytest.mark.parametrize("family", [living.insect, living.flower, living.foliage])
def test_the_class_gives_the_colours_of_what_is_drawn(family, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(living, "close_up", lambda rng, side: np.full((side, side, 3), 0.5, np.float32))
    red = np.array([[0.8, 0.0, 0.0]] * 4, np.float32)
    monkeypatch.setattr(living, "class_colours", lambda kind, rng, count: red[:count])
    monkeypatch.setattr(living, "_with_wings", lambda image, *_: image)  # they are of glass
    image = drawn(family, 3, 0)
    is_drawn = np.abs(image - 0.5).max(2) > 0.3
    assert is_drawn.mean() > 0.02
    assert (image[is_drawn][:, 0] >= image[is_drawn][:, 1:].max(1)).all()


def test_segments_of_an_insect_lie_in_a_row_about_its_place() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        kind = living._InsectKind(np.random.default_rng(seed), rng)
        segments = living._posed_segments(kind, 0.3, rng)
        assert [one.size for one in segments] == pytest.approx((kind.sizes * 0.3).tolist())
        assert np.abs(np.mean([one.centre for one in segments], axis=0)).max() < 0.45 + 0.3
        for one, following in itertools.pairwise(segments):
            # Half of either segment's own step, along its own direction.
            apart = np.linalg.norm(following.centre - one.centre)
            assert apart <= (one.size + following.size) * 0.7 * kind.gap + 1e-9


def test_legs_come_in_pairs_and_feelers_are_two() -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        kind = living._InsectKind(np.random.default_rng(seed), rng)
        segments = living._posed_segments(kind, 0.3, rng)
        lines = living._limbs(kind, segments, 0.3, rng)
        assert len(lines) == 2 * kind.num_leg_pairs + 2
        legs, feelers = lines[:-2], lines[-2:]
        middle, head = segments[1], segments[-1]
        assert all(np.linalg.norm(points[0] - middle.centre) < middle.size for points, _ in legs)
        assert all(np.linalg.norm(points[0] - head.centre) <= 0.6 * head.size + 1e-9 for points, _ in feelers)
