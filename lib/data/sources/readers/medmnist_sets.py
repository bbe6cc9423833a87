"""Medical sets of MedMNIST: `medmnist` says where the files are, what they sum to and what the labels mean.

Its classes load a whole file into memory; here the same arrays are read row by row. RetinaMNIST's labels are the bare
numbers 0 to 4 there: they are the grades of the International Clinical Diabetic Retinopathy severity scale, by which
its source, the DeepDRiD challenge, was graded.
"""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.grades import GRADE_NAMES
from lib.data.sources.image_arrays import image_file, npz_rows
from lib.data.sources.public import CLASSES, PublicSet, PublishedImages
from lib.data.sources.remote_files import RemoteFile
from lib.data.sources.table import SOURCES, SourceOption
from lib.progress import size_words

SIDES_PX = (28, 64, 128, 224)
PARTS = ("train", "val", "test")


def _suffix(side_px: int) -> str:
    return "" if side_px == SIDES_PX[0] else f"_{side_px}"


def _most_bytes(num_images: int, side_px: int) -> int:
    """What the arrays take at most: three bytes a pixel, as they do unpacked."""
    return num_images * side_px**2 * 3


def _files(values: Mapping[str, Any], *, name: str) -> list[RemoteFile]:
    from medmnist import INFO

    info, side = INFO[name], int(values["side_px"])
    num_bytes = _most_bytes(sum(info["n_samples"].values()), side)
    return [RemoteFile(url=info[f"url{_suffix(side)}"], md5=info[f"MD5{_suffix(side)}"], num_bytes=num_bytes,
                       num_unpacked_bytes=num_bytes)]  # fmt: skip


def _images(root: Path, values: Mapping[str, Any], *, name: str) -> PublishedImages:
    from medmnist import INFO

    stem = f"{name}{_suffix(int(values['side_px']))}"
    npz, folder = root / f"{stem}.npz", root / stem
    names = GRADE_NAMES if name == "retinamnist" else tuple(INFO[name]["label"].values())
    images = []
    with np.load(npz) as arrays:
        for part in PARTS:
            labels = arrays[f"{part}_labels"].reshape(-1)
            images += [(image_file(folder, part, n), names[int(label)], part) for n, label in enumerate(labels)]
    return PublishedImages(names, images, lambda part: npz_rows(npz, f"{part}_images"))


def _set(
    *, name: str, num_images: int, default_px: int, options: tuple[SourceOption, ...] = (), **said: Any
) -> PublicSet:
    sizes = ", ".join(f"{side} px {size_words(_most_bytes(num_images, side))}" for side in SIDES_PX)
    side = SourceOption(name="side_px", title="Side of the images, px", kind=int, default=default_px, choices=SIDES_PX,
                        help=f"Download of at most: {sizes}.")  # fmt: skip
    return PublicSet(
        name=name, num_images=num_images, num_bytes=(_most_bytes(num_images, 28), _most_bytes(num_images, 224)),
        files=partial(_files, name=name), list_images=partial(_images, name=name), is_medical=True,
        options=(side, *options), **said,
    )  # fmt: skip


SETS = (
    _set(
        name="retinamnist", title="RetinaMNIST", num_images=1_600, num_classes=5, default_px=224,
        licence="CC BY 4.0", source_url="https://medmnist.com", domain="fundus photographs", is_ordinal=True,
        description="Photographs of the DeepDRiD challenge with the five grades of diabetic retinopathy.",
    ),
    _set(
        name="dermamnist", title="DermaMNIST", num_images=10_015, num_classes=7, default_px=224,
        licence="CC BY-NC 4.0", source_url="https://medmnist.com", domain="dermatoscopic images", options=(CLASSES,),
        description="Pigmented lesions of the skin, of HAM10000.",
    ),
    _set(
        name="pathmnist", title="PathMNIST", num_images=107_180, num_classes=9, default_px=64,
        licence="CC BY 4.0", source_url="https://medmnist.com", domain="histology", options=(CLASSES,),
        description="Patches of tissue from slides of colorectal cancer; those to test are from another centre.",
    ),
)  # fmt: skip
for _public in SETS:
    SOURCES.add(_public.entry())
