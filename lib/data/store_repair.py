"""Rows of a store that were damaged on the disk, made anew from the originals where these are still as they were."""

from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.images import DecodedImage
from lib.data.value_scale import BY_FILE
from lib.errors import BadImage, UserError

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.data.decoder_pool import DecoderPool

_AGAIN = "Delete the data set and import it again."


def remake_pixels(dataset: "Dataset", rows: range) -> np.ndarray:
    """The stored squares (n, S, S, 3) of rows, decoded again as at the import.

    Raises:
        UserError: an original is gone or has changed.
    """
    with _decoders(dataset) as pool:
        return np.stack([_decoded(dataset, row, pool).pixels for row in rows])


def remake_masks(dataset: "Dataset", rows: range) -> np.ndarray:
    """The stored masks (n, S, S) of rows, read again; raises UserError as `remake_pixels`."""
    side, table = dataset.spec.store_side_px, dataset.table
    masks = np.zeros((len(rows), side, side), dtype=np.uint8)
    with _decoders(dataset) as pool:
        for place, row in enumerate(rows):
            if mask_path := table["mask_path"].iloc[row]:
                path = dataset.source_folder / str(mask_path)
                facts = table.iloc[row]
                box: Any = tuple(int(facts[f"crop_{edge}"]) for edge in ("left", "top", "right", "bottom"))
                image = DecodedImage(np.empty(0, np.uint8), int(facts["width"]), int(facts["height"]), box)
                try:
                    masks[place] = pool.decode_mask(path, image)
                except BadImage as error:
                    raise UserError(f"Its original {path} is not as it was ({error}) {_AGAIN}") from None
    return masks


def _decoders(dataset: "Dataset") -> "DecoderPool":
    from lib.data.decoder_pool import DecoderPool

    spec = dataset.spec
    scale = spec.value_scale or BY_FILE  # sets of before there was one scale
    return DecoderPool(1, side_px=spec.store_side_px, crop_policy=spec.crop_policy, value_scale=scale)


def _decoded(dataset: "Dataset", row: int, pool: "DecoderPool") -> DecodedImage:
    facts, path = dataset.table.iloc[row], dataset.source_path(row)
    if path is None:
        raise UserError(f"Its original {facts['path']} is no longer there. {_AGAIN}")
    try:
        image = pool.decode(path)
    except BadImage as error:
        raise UserError(f"Its original {path} cannot be read ({error}) {_AGAIN}") from None
    if not image.sha256.startswith(str(facts["image_id"])):
        raise UserError(f"Its original {path} has changed since the import. {_AGAIN}")
    return image
