import numpy as np
import pytest

from lib.data.enhancement import (
    ENHANCEMENTS,
    EnhancementChain,
    chain_of,
    enhanced_images,
    fit_chain,
    parse_chain,
    retina_edges,
)
from lib.disk_cache import list_entries
from lib.errors import Stopped, UserError
from tests.features.tiny_dataset import TinyDataset

SIDE = 64


def disc(colour: tuple[int, int, int] = (120, 80, 40), *, radius: int = 22, noise: int = 0) -> np.ndarray:
    """A bright disc on black, (SIDE, SIDE, 3)."""
    y, x = np.mgrid[:SIDE, :SIDE]
    is_inside = (x - SIDE / 2 + 0.5) ** 2 + (y - SIDE / 2 + 0.5) ** 2 < radius**2
    grain = np.random.default_rng(0).integers(-noise, noise + 1, (SIDE, SIDE, 1))
    return np.where(is_inside[..., None], np.array(colour) + grain, 0).clip(0, 255).astype(np.uint8)


def field(square: np.ndarray) -> np.ndarray:
    return disc().max(axis=2) > 12


@pytest.mark.parametrize("name", ENHANCEMENTS.names)
def test_every_step_gives_bytes_of_the_same_shape_and_leaves_its_input_alone(name: str) -> None:
    pixels = np.stack([disc(noise=20), np.zeros((SIDE, SIDE, 3), np.uint8), np.full((SIDE, SIDE, 3), 255, np.uint8)])
    before = pixels.copy()
    result = EnhancementChain((name,), (100, 90, 80))(pixels)
    assert (result.shape, result.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(pixels, before)
    assert not np.array_equal(result[0], pixels[0])


def test_crop_finds_the_edges_of_the_disc_and_fills_the_square_with_it() -> None:
    left, top, right, bottom = retina_edges(np.kron(disc(radius=24), np.ones((4, 4, 1), np.uint8)))
    for edge, expected in ((left, 32), (top, 32), (right, 224), (bottom, 224)):  # (32 - 24) * 4 and (32 + 24) * 4
        assert abs(edge - expected) <= 5
    cropped = EnhancementChain(("retina_crop",))(disc(radius=26)[None])[0]
    assert (cropped.max(axis=2) > 12).mean() > 1.15 * (disc(radius=26).max(axis=2) > 12).mean()
    plain = np.full((SIDE, SIDE, 3), 90, np.uint8)
    assert retina_edges(plain) == (0, 0, SIDE, SIDE)


def test_aspect_crop_cuts_a_twelfth_above_and_below() -> None:
    stripes = np.zeros((SIDE, SIDE, 3), np.uint8)
    stripes[:5] = stripes[-5:] = 255  # 64 * (1 - 1 / 1.2) / 2 = 5.3: five rows go on each side
    assert EnhancementChain(("aspect_crop",))(stripes[None]).max() == 0


def test_brightness_moves_the_field_to_the_mean_and_leaves_the_surround_black() -> None:
    shifted = EnhancementChain(("brightness",), (100, 90, 60))(disc((120, 80, 40), noise=9)[None])[0]
    inside = field(shifted)
    assert shifted[inside].mean(axis=0) == pytest.approx([100, 90, 60], abs=0.6)
    assert shifted[~inside].max() == 0


def test_local_average_takes_slow_changes_away_and_keeps_a_speck() -> None:
    ramp = np.tile(np.linspace(60, 200, SIDE)[None, :, None], (SIDE, 1, 3)).astype(np.uint8)
    ramp[32, 32] += 20
    result = EnhancementChain(("local_average",))(ramp[None])[0].astype(float)
    assert result[8:24, 8:-8].std() < 6 < ramp[8:24, 8:-8].std() / 4
    assert result[32, 32].mean() - 128 > 40  # 4 * 20, less what the speck adds to its own average


def test_clahe_spreads_a_flat_contrast_and_keeps_the_hue() -> None:
    flat = disc((100, 60, 30), noise=3)
    result = EnhancementChain(("clahe",))(flat[None])[0].astype(float)
    inside = field(flat)
    assert result[inside].std(axis=0)[0] > 1.3 * flat[inside].astype(float).std(axis=0)[0]
    red, green, _ = result[inside].mean(axis=0)
    assert red / green == pytest.approx(100 / 60, rel=0.05)


def test_chain_is_read_in_the_order_of_the_table() -> None:
    assert parse_chain("clahe + brightness") == ("brightness", "clahe")
    assert parse_chain("none") == parse_chain("") == ()
    assert EnhancementChain().text == "none"
    with pytest.raises(UserError, match="Did you mean 'clahe'"):
        parse_chain("clahee")
    with pytest.raises(UserError, match="names a step twice"):
        parse_chain("clahe+clahe")
    with pytest.raises(UserError, match="choose brightness or local_average"):
        parse_chain("brightness+local_average")


def test_mean_is_of_training_images_alone_and_travels_in_the_manifest() -> None:
    pixels = np.stack([disc((100, 50, 20)), disc((120, 70, 40)), disc((250, 250, 250))])
    chain = fit_chain("brightness", pixels, np.array([0, 1]))
    assert chain.mean_rgb == (110, 60, 30)
    assert chain_of({"enhancement": chain.to_dict()}) == chain
    assert chain_of({}) == EnhancementChain()
    with pytest.raises(UserError, match="incomplete or newer"):
        chain_of({"enhancement": {"steps": "brightness", "mean_rgb": None}})
    with pytest.raises(UserError, match="cannot be read"):
        chain_of({"enhancement": {"steps": "brightness", "mean_rgb": "red"}})


def test_images_are_made_once_for_a_version_and_a_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = TinyDataset(num_images=20)
    made = enhanced_images(dataset, fit_chain("brightness", dataset.pixels, np.arange(10)))
    assert np.array_equal(made.pixels, made.chain(dataset.pixels))
    monkeypatch.setattr(EnhancementChain, "__call__", lambda *args: pytest.fail("made again"))
    again = enhanced_images(dataset, fit_chain("brightness", dataset.pixels, np.arange(10)))
    assert again.version == made.version != dataset.version
    monkeypatch.undo()
    other = enhanced_images(dataset, EnhancementChain(("brightness",), (1, 2, 3)))
    assert other.version != made.version
    assert enhanced_images(dataset, EnhancementChain()).pixels is dataset.pixels


def test_a_stop_leaves_nothing_behind() -> None:
    with pytest.raises(Stopped):
        enhanced_images(TinyDataset(), EnhancementChain(("clahe",)), should_stop=lambda: True)
    assert list_entries() == []
