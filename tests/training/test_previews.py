import numpy as np
import pytest

from lib.training.inputs import ImageInputs, Preprocessing
from lib.training.previews import augmented_views
from tests.training.tiny import colour_images


@pytest.mark.parametrize("policy", ["rotations", "modern"])
def test_preview_is_what_training_sees(policy: str) -> None:
    pixels, _ = colour_images(3)
    names = ["a", "b", "c"]
    shown = augmented_views(pixels, names, policy, num_views=None, seed=4, num_epochs=3, size_px=32)
    assert (shown.shape, shown.dtype) == ((3, 3, 32, 32, 3), np.uint8)
    inputs = ImageInputs(pixels, names, Preprocessing(32, (0.0,) * 3, (1.0,) * 3), 4, policy)
    for epoch in (1, 2, 3):
        expected = inputs.for_training(np.arange(3), epoch).permute(0, 2, 3, 1).numpy() * 255
        assert np.abs(shown[:, epoch - 1] - expected).max() <= 0.51


def test_kept_views_repeat_over_the_epochs() -> None:
    pixels, _ = colour_images(2)
    shown = augmented_views(pixels, ["a", "b"], "modern", num_views=2, seed=0, num_epochs=12, size_px=32)
    for image in shown:
        assert len({view.tobytes() for view in image}) == 2
