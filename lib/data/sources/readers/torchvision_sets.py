"""Data sets that torchvision knows: its classes say where the files are, what they sum to, and which image is of which.

torchvision takes seconds to import and is imported where somebody asks for one of these sets.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lib.data.sources.image_arrays import image_file
from lib.data.sources.public import CLASSES, PublicSet, PublishedImages
from lib.data.sources.remote_files import RemoteFile
from lib.data.sources.table import SOURCES, SourceOption

# Of the downloads, as their servers say; unpacked, JPEG files take as much again.
FOOD_BYTES, EUROSAT_BYTES, DTD_BYTES = 4_996_278_331, 94_280_567, 625_239_812
PET_BYTES = {"images": 791_918_971, "annotations": 19_173_078}
FLOWER_BYTES = {"image": 344_862_509, "label": 502, "setid": 14_989}
PCAM_BYTES = {"train": 6_400_000_000, "val": 806_000_000, "test": 801_000_000}  # about
# torchvision has these two inside a function.
EUROSAT_URL = (
    "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
)
EUROSAT_MD5 = "c8fa014336c82ac7804f0398fcb19387"
# Where the makers of PatchCamelyon publish the files that torchvision fetches from a drive, which needs a package more.
PCAM_URL = "https://zenodo.org/records/2546921/files"
PCAM_CLASSES = ("no tumour", "tumour")
_PCAM_BLOCK = 256


def _food_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    from torchvision.datasets import Food101

    return [RemoteFile(url=Food101._URL, md5=Food101._MD5, num_bytes=FOOD_BYTES, unpacks_to="food-101",
                       num_unpacked_bytes=FOOD_BYTES)]  # fmt: skip


def _food_images(root: Path, _values: Mapping[str, Any]) -> PublishedImages:
    from torchvision.datasets import Food101

    parts = {part: Food101(root, split=part) for part in ("train", "test")}
    return PublishedImages(tuple(parts["train"].classes), list(_by_label(parts)))


def _pet_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    from torchvision.datasets import OxfordIIITPet

    return [
        RemoteFile(url=url, md5=md5, num_bytes=size, into="oxford-iiit-pet", unpacks_to=name, num_unpacked_bytes=size)
        for (url, md5), (name, size) in zip(OxfordIIITPet._RESOURCES, PET_BYTES.items(), strict=True)
    ]


def _pet_images(root: Path, values: Mapping[str, Any]) -> PublishedImages:
    from torchvision.datasets import OxfordIIITPet

    is_binary = values["cats_and_dogs"]
    parts = {"train": OxfordIIITPet(root, split="trainval"), "test": OxfordIIITPet(root, split="test")}
    names = tuple(parts["train"].bin_classes if is_binary else parts["train"].classes)
    images = [
        (path, names[label], part)
        for part, pets in parts.items()
        for path, label in zip(pets._images, pets._bin_labels if is_binary else pets._labels, strict=True)
    ]
    return PublishedImages(names, images)


def _flower_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    from torchvision.datasets import Flowers102

    files = []
    for what, size in FLOWER_BYTES.items():
        name, md5 = Flowers102._file_dict[what]
        url = f"{Flowers102._download_url_prefix}{name}"
        unpacks_to, unpacked = ("jpg", size) if what == "image" else ("", 0)
        files.append(RemoteFile(url=url, md5=md5, num_bytes=size, into="flowers-102", unpacks_to=unpacks_to,
                                num_unpacked_bytes=unpacked))  # fmt: skip
    return files


def _flower_images(root: Path, _values: Mapping[str, Any]) -> PublishedImages:
    from torchvision.datasets import Flowers102

    parts = {part: Flowers102(root, split=part) for part in ("train", "val", "test")}
    return PublishedImages(tuple(Flowers102.classes), list(_by_label(parts, Flowers102.classes)))


def _eurosat_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    return [RemoteFile(url=EUROSAT_URL, md5=EUROSAT_MD5, num_bytes=EUROSAT_BYTES, into="eurosat", unpacks_to="2750",
                       num_unpacked_bytes=EUROSAT_BYTES)]  # fmt: skip


def _eurosat_images(root: Path, _values: Mapping[str, Any]) -> PublishedImages:
    from torchvision.datasets import EuroSAT

    tiles = EuroSAT(str(root))
    return PublishedImages(tuple(tiles.classes), [(Path(path), tiles.classes[k], "") for path, k in tiles.samples])


def _texture_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    from torchvision.datasets import DTD

    return [RemoteFile(url=DTD._URL, md5=DTD._MD5, num_bytes=DTD_BYTES, into="dtd", unpacks_to="dtd",
                       num_unpacked_bytes=DTD_BYTES)]  # fmt: skip


def _texture_images(root: Path, values: Mapping[str, Any]) -> PublishedImages:
    from torchvision.datasets import DTD

    parts = {part: DTD(root, split=part, partition=values["partition"]) for part in ("train", "val", "test")}
    return PublishedImages(tuple(parts["train"].classes), list(_by_label(parts)))


def _by_label(parts: Mapping[str, Any], names: list[str] | None = None) -> Iterator[tuple[Path, str, str]]:
    """Path, class and part of the images of those of torchvision's classes that keep paths and labels alike."""
    for part, images in parts.items():
        for path, label in zip(images._image_files, images._labels, strict=True):
            yield Path(path), (names or images.classes)[label], part


def _pcam_files(_values: Mapping[str, Any]) -> list[RemoteFile]:
    from torchvision.datasets import PCAM

    files = []
    for part, num_bytes in PCAM_BYTES.items():
        num_images = 262_144 if part == "train" else 32_768
        for what, size, unpacked in (("images", num_bytes, num_images * 96 * 96 * 3), ("targets", 22_000, num_images)):
            name, _, md5 = PCAM._FILES[part][what]
            url = f"{PCAM_URL}/{name}.gz?download=1"
            files.append(RemoteFile(url=url, md5=md5, num_bytes=size, into="pcam", unpacks_to=name,
                                    num_unpacked_bytes=unpacked))  # fmt: skip
    return files


def _pcam_images(root: Path, _values: Mapping[str, Any]) -> PublishedImages:
    import h5py
    from torchvision.datasets import PCAM

    folder = root / "pcam"

    def opened(part: str, what: str) -> Any:
        return h5py.File(folder / PCAM._FILES[part][what][0], "r")

    def read(part: str) -> Iterator[np.ndarray]:
        with opened(part, "images") as file:
            for start in range(0, len(file["x"]), _PCAM_BLOCK):
                yield from file["x"][start : start + _PCAM_BLOCK]

    images = []
    for part in ("train", "val", "test"):
        with opened(part, "targets") as file:
            labels = np.asarray(file["y"][:]).reshape(-1)
        images += [(image_file(folder, part, n), PCAM_CLASSES[int(label)], part) for n, label in enumerate(labels)]
    return PublishedImages(PCAM_CLASSES, images, read)


SETS = (
    PublicSet(
        name="food101", title="Food-101", num_images=101_000, num_classes=101, num_bytes=(FOOD_BYTES,),
        licence="for research; the photographs belong to the users of Foodspotting",
        source_url="https://data.vision.ee.ethz.ch/cvl/datasets_extra/food-101/",
        description="Photographs of dishes, 750 to train and 250 to test of each; those to train were not cleaned.",
        files=_food_files, list_images=_food_images, options=(CLASSES,),
    ),
    PublicSet(
        name="oxford_pets", title="Oxford-IIIT Pet", num_images=7_349, num_classes=37,
        num_bytes=(sum(PET_BYTES.values()),), licence="CC BY-SA 4.0", source_url="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        description="Photographs of cats and dogs of 37 breeds, about 200 of each; or as cats against dogs.",
        files=_pet_files, list_images=_pet_images,
        options=(
            SourceOption(name="cats_and_dogs", title="Cats against dogs", kind=bool, default=False,
                         help="The two species in place of the 37 breeds."),
            CLASSES,
        ),
    ),
    PublicSet(
        name="flowers102", title="Flowers-102", num_images=8_189, num_classes=102,
        num_bytes=(sum(FLOWER_BYTES.values()),), licence="none is stated",
        source_url="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        description="Photographs of flowers of the United Kingdom, 40 to 258 of each; 10 to train and 10 to validate.",
        files=_flower_files, list_images=_flower_images, options=(CLASSES,),
    ),
    PublicSet(
        name="eurosat", title="EuroSAT", num_images=27_000, num_classes=10, num_bytes=(EUROSAT_BYTES,), licence="MIT",
        source_url="https://github.com/phelber/eurosat", domain="satellite images",
        description="Tiles of Sentinel-2 in red, green and blue, 64 px, by the use of the land; no published split.",
        files=_eurosat_files, list_images=_eurosat_images, options=(CLASSES,),
    ),
    PublicSet(
        name="dtd", title="Describable Textures (DTD)", num_images=5_640, num_classes=47, num_bytes=(DTD_BYTES,),
        licence="for research", source_url="https://www.robots.ox.ac.uk/~vgg/data/dtd/", domain="textures",
        description="Textures by the word that describes them, 120 of each; a third each to train, validate and test.",
        files=_texture_files, list_images=_texture_images,
        options=(
            SourceOption(name="partition", title="Partition", kind=int, default=1, choices=tuple(range(1, 11)),
                         help="Which of the ten published splits."),
            CLASSES,
        ),
    ),
    PublicSet(
        name="pcam", title="PatchCamelyon", num_images=327_680, num_classes=2,
        num_bytes=(sum(PCAM_BYTES.values()),), licence="CC0 1.0",
        source_url="https://github.com/basveeling/pcam", domain="histology", is_medical=True, needs_module="h5py",
        description="Patches of lymph nodes, 96 px, with or without tumour in their centre.",
        files=_pcam_files, list_images=_pcam_images,
    ),
)  # fmt: skip
for _set in SETS:
    SOURCES.add(_set.entry())
