import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torchvision.transforms.v2 import functional as transforms

from lib.data.augmentation import Warp, draw_parameters
from lib.data.enhancement import ENHANCEMENTS, EnhancementChain
from lib.data.input_transform import InputTransform, Resizing, to_batch, warped_batch

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _pixels(count: int = 2, side: int = 48) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_values_worked_out_by_hand():
    pixels = np.full((1, 4, 4, 3), 255, dtype=np.uint8)
    batch = to_batch(pixels, size_px=4, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    assert torch.allclose(batch[0, :, 0, 0], torch.tensor([1.0, 3.0, 0.5]))  # (1 - 0.5) / 0.5, (1 - 0.25) / 0.25, 1 / 2


def test_equals_torchvisions_antialiased_resize():
    pixels = _pixels()
    resized = transforms.resize(torch.from_numpy(pixels).permute(0, 3, 1, 2), [32, 32], antialias=True)
    expected = transforms.normalize(resized.float() / 255, list(MEAN), list(STD))
    assert torch.allclose(to_batch(pixels, size_px=32, mean=MEAN, std=STD), expected, atol=1e-5)


def test_resizing_bytes_is_within_a_level_of_resizing_numbers():
    pixels = _pixels()
    as_float = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    expected = transforms.resize(as_float, [32, 32], antialias=True)
    batch = to_batch(pixels, size_px=32, mean=(0.0, 0.0, 0.0), std=(1 / 255, 1 / 255, 1 / 255))
    assert (batch - expected).abs().max() <= 1.0


def test_each_image_alone_gives_the_same_as_in_a_batch():
    pixels = _pixels(3)
    together = to_batch(pixels, size_px=32, mean=MEAN, std=STD)
    alone = torch.cat([to_batch(pixels[i : i + 1], size_px=32, mean=MEAN, std=STD) for i in range(3)])
    assert torch.equal(together, alone)


def test_layout_type_and_an_untouched_source():
    pixels = _pixels()
    pixels.flags.writeable = False
    before = pixels.copy()
    batch = to_batch(pixels, size_px=48, mean=MEAN, std=STD, dtype=torch.bfloat16)
    assert batch.dtype == torch.bfloat16
    assert batch.shape == (2, 3, 48, 48)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert np.array_equal(pixels, before)


@pytest.mark.parametrize("pixels", [np.zeros((4, 4, 3), np.uint8), np.zeros((1, 4, 4, 3), np.float32)])
def test_other_arrays_are_refused(pixels: np.ndarray):
    with pytest.raises(ValueError, match="uint8"):
        to_batch(pixels, size_px=4, mean=MEAN, std=STD)


def test_bicubic_and_cropped_as_timm_evaluates():
    grain = torch.from_numpy(_pixels(1, 12)).permute(0, 3, 1, 2).float()
    pixels = transforms.resize(grain, [384, 384]).byte().permute(0, 2, 3, 1).numpy()
    evaluation = create_transform(
        (3, 224, 224), interpolation="bicubic", crop_pct=0.875, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    batch = to_batch(pixels, size_px=224, mean=(0.5,) * 3, std=(0.5,) * 3, resizing=Resizing("bicubic", 0.875))
    # One level of 255 is 0.0078 of a range from -1 to 1: the two round differently.
    assert torch.allclose(batch, evaluation(Image.fromarray(pixels[0]))[None], atol=0.0079)


def test_views_that_are_drawn_come_from_the_same_centre():
    pixels = _pixels(2, 64)
    still = [draw_parameters(Warp(), np.random.default_rng(0))] * 2
    form = {"size_px": 48, "mean": MEAN, "std": STD}
    views = warped_batch(pixels, still, resizing=Resizing("bicubic", 0.75), **form)
    assert torch.allclose(views, to_batch(pixels[:, 8:56, 8:56], **form), atol=1e-5)


def test_a_mask_is_cropped_as_the_picture_is_unless_steps_crop_by_what_they_see() -> None:
    plain = (0.0,) * 3, (1.0,) * 3
    mask = np.arange(64).reshape(8, 8)
    cropped = InputTransform(4, *plain, resizing=Resizing("bilinear", 0.5))
    assert np.array_equal(cropped.framed_mask(mask), mask[2:6, 2:6])
    assert cropped.framed(np.repeat(mask[..., None], 3, axis=2).astype(np.uint8)).shape == (4, 4, 3)
    moving = next(step.name for step in ENHANCEMENTS if step.moves)
    assert InputTransform(4, *plain, enhancement=EnhancementChain((moving,))).framed_mask(mask) is None
