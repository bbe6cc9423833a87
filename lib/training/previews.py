"""What a training will see of a few images, drawn by the code that training runs."""

from collections.abc import Sequence

import numpy as np


def augmented_views(
    pixels: np.ndarray,
    image_ids: Sequence[str],
    augmentation: str,
    *,
    num_views: int | None,
    seed: int,
    num_epochs: int,
    size_px: int,
) -> np.ndarray:
    """Images (N, S, S, 3) as the first epochs show them: uint8 (N, num_epochs, size_px, size_px, 3).

    With `num_views` a policy with endlessly many views shows its cached ones, drawn per epoch as training draws them.
    """
    from lib.data.augmentation import POLICIES, View, drawn_views, view_parameters
    from lib.training.inputs import ImageInputs, Preprocessing

    plain = Preprocessing(size_px, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    rows, epochs = np.arange(len(pixels)), []
    inputs = ImageInputs(pixels, image_ids, plain, seed, augmentation)
    is_kept = bool(num_views) and not POLICIES.get(augmentation).is_finite
    for epoch in range(1, num_epochs + 1):
        if is_kept:
            drawn = drawn_views(image_ids, num_views or 1, seed=seed, epoch=epoch)
            views = [View(policy=augmentation, number=int(number), seed=seed) for number in drawn]
            parameters = [view_parameters(view, [name])[0] for view, name in zip(views, image_ids, strict=True)]
            batch = plain.warped(pixels, parameters)
        else:
            batch = inputs.for_training(rows, epoch)
        epochs.append((batch * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())
    return np.stack(epochs, axis=1)
