"""Things on a ground: how many, with what in them, and that they lie where they can be seen."""

import numpy as np
import pytest

from lib.pretraining import bodies, textures

SIDE = 32
FAMILIES = (bodies.shape, bodies.creature, bodies.tree, bodies.fractal)


@pytest.fixture
def on_black(monkeypatch: pytest.MonkeyPatch) -> None:
    """A black ground and white things: what is drawn is what is not black."""
    monkeypatch.setattr(textures, "ground", lambda rng, side: np.zeros((side, side, 3), np.float32))
    monkeypatch.setattr(bodies, "_filling", lambda rng, side: np.ones((side, side, 3), np.float32))
    monkeypatch.setattr(bodies, "palette", lambda rng, count: np.ones((count, 3), np.float32))
    monkeypatch.setattr(bodies, "blend_lit", lambda image, fill, mask, rng, *, light: bodies.blend(image, fill, mask))


def drawn(family, kind: int, image: int, side: int = SIDE) -> np.ndarray:
    return family(np.random.default_rng(kind), np.random.default_rng(100 + image), side)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_thing_takes_any_side_and_stays_within_white(family) -> None:
    for side, kind in ((5, 0), (16, 1), (31, 2), (31, 3)):
        image = drawn(family, kind, 0, side)
        assert image.shape == (side, side, 3)
        assert np.isfinite(image).all()
        assert (image.min(), image.max()) == pytest.approx((0.5, 0.5), abs=0.5 + 1e-5)


@pytest.mark.usefixtures("on_black")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_image_shows_some_of_its_thing_and_some_ground(family) -> None:
    shares = [drawn(family, kind, image).mean() for kind in range(6) for image in range(2)]
    assert min(shares) > 0.005
    assert np.median(shares) < 0.8


@pytest.mark.usefixtures("on_black")
def test_a_shape_of_one_outline_lies_near_the_middle() -> None:
    places = np.linspace(-1, 1, SIDE)
    for kind in range(12):
        generator = np.random.default_rng(kind)
        generator.integers(1, 7), generator.integers(1_000_000)
        if int(generator.choice([1, 1, 3, 8])) > 1 or generator.random() < 0.3:
            continue  # several, or with a hole
        for image in range(3):
            mask = drawn(bodies.shape, kind, image).mean(2)
            centre = [(mask.sum(axis) * places).sum() / mask.sum() for axis in (0, 1)]
            assert np.abs(centre).max() < 0.6


@pytest.mark.usefixtures("on_black")
def test_a_hole_of_the_class_is_seen_through() -> None:
    class Kind:
        """Asks for one outline, with or without a hole."""

        def __init__(self, draw: float) -> None:
            self._draw = draw

        def integers(self, *_: int) -> int:
            return 2

        def choice(self, _: list[int]) -> int:
            return 1

        def random(self) -> float:
            return self._draw

    whole, holed = (bodies.shape(Kind(draw), np.random.default_rng(4), 64) for draw in (0.9, 0.1))
    assert 0.1 < 1 - holed.sum() / whole.sum() < 0.3  # 0.45 of the side is 0.2 of the area


def test_a_tree_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = []
    monkeypatch.setattr(bodies, "lines_mask", lambda side, found: lines.append(found) or np.zeros((side, side)))
    for kind in range(25):  # some of three branches and 0.85 of the length: by itself over a thousand lines
        drawn(bodies.tree, kind, 0, 8)
    for found in lines:
        assert 1 <= len(found) <= 301 + 5
        widths = [width for _, width in found]
        assert min(widths) >= 0.0025
        assert max(widths) == widths[0]  # branches are thinner than their trunk


@pytest.mark.usefixtures("on_black")
def test_images_of_a_fractal_are_alike() -> None:
    # Turned and scaled at random: how thick it is stays.
    fill = np.array([[drawn(bodies.fractal, kind, image).mean() for image in range(4)] for kind in range(6)])
    assert fill.std(axis=1).mean() < 0.35 * fill.mean(axis=1).std()
