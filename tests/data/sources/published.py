"""Small stand-ins for public data sets, in the same archives with the same layout, served by this machine.

Only addresses and sums of torchvision and medmnist are exchanged for theirs; everything else is the real code.
"""

import gzip
import hashlib
import io
import json
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
from PIL import Image

FOODS = ("apple_pie", "baby_back_ribs", "baklava", "beef_carpaccio")


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def picture(number: int, *, side: int = 20, file_format: str = "JPEG") -> bytes:
    """A picture of its own for each number."""
    rng = np.random.default_rng(number)
    saved = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (side, side, 3), dtype=np.uint8)).save(saved, format=file_format)
    return saved.getvalue()


def tar_gz(files: dict[str, bytes]) -> bytes:
    saved = io.BytesIO()
    with tarfile.open(fileobj=saved, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return saved.getvalue()


@contextmanager
def serving(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """A server of a folder on this machine: its address, and what was asked of it."""
    asked: list[str] = []

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments):
            asked.append(self.path)

        def copyfile(self, source, outputfile):
            try:
                super().copyfile(source, outputfile)
            except OSError:  # the other side has hung up, as who cancels does
                self.close_connection = True

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder)) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}", asked
        running.shutdown()


def food(folder: Path, per_part: int = 3) -> tuple[str, str]:
    """Name and sum of Food-101's archive with four classes."""
    files: dict[str, bytes] = {}
    lists: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
    for listed in lists.values():
        for name in reversed(FOODS):
            number = len(files)
            listed[name] = [f"{name}/{number + k}" for k in range(per_part)]
            files |= {f"food-101/images/{name}/{number + k}.jpg": picture(number + k) for k in range(per_part)}
    meta = {f"food-101/meta/{part}.json": json.dumps(names).encode() for part, names in lists.items()}
    content = tar_gz(files | meta | {"food-101/license_agreement.txt": b"..."})
    (folder / "food-101.tar.gz").write_bytes(content)
    return "food-101.tar.gz", md5(content)


def pets(folder: Path, url: str) -> tuple[tuple[str, str], ...]:
    """Addresses and sums of the two archives of Oxford-IIIT Pet, with three breeds."""
    breeds = (("Abyssinian", 1, 1), ("american_bulldog", 2, 2), ("Egyptian_Mau", 3, 1))
    images, lists = {}, {}
    for first, part in ((1, "trainval"), (101, "test")):
        rows = [(f"{breed}_{first + k}", *numbers) for breed, *numbers in breeds for k in range(4)]
        lists[f"annotations/{part}.txt"] = "".join(f"{one} {label} {species} 1\n" for one, label, species in rows)
        images |= {f"images/{one}.jpg": picture(zlib.crc32(one.encode())) for one, label, _ in rows}
    images["images/Abyssinian_1.mat"] = b"as in the published archive"
    archives = {
        "images.tar.gz": tar_gz(images),
        "annotations.tar.gz": tar_gz({k: v.encode() for k, v in lists.items()}),
    }
    for name, content in archives.items():
        (folder / name).write_bytes(content)
    return tuple((f"{url}/{name}", md5(content)) for name, content in archives.items())


def flowers(folder: Path) -> dict[str, tuple[str, str]]:
    """Names and sums of the three files of Flowers-102, with three classes in five, one and two images."""
    from scipy.io import savemat

    files = {"102flowers.tgz": tar_gz({f"jpg/image_{n:05d}.jpg": picture(n) for n in range(1, 10)})}
    tables = {
        "imagelabels.mat": {"labels": np.array([[77, 77, 77, 1, 1, 1, 102, 102, 102]])},
        "setid.mat": {"trnid": np.array([[4, 1, 7]]), "valid": np.array([[5, 2, 8]]), "tstid": np.array([[6, 3, 9]])},
    }
    for name, content in tables.items():
        saved = io.BytesIO()
        savemat(saved, content)
        files[name] = saved.getvalue()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    names = {"image": "102flowers.tgz", "label": "imagelabels.mat", "setid": "setid.mat"}
    return {what: (name, md5(files[name])) for what, name in names.items()}


def eurosat(folder: Path) -> tuple[str, str]:
    """Name and sum of EuroSAT's archive, with two classes."""
    saved = io.BytesIO()
    with zipfile.ZipFile(saved, "w") as archive:
        for k, name in enumerate(("Forest", "AnnualCrop")):
            for n in range(1, 6):
                archive.writestr(f"2750/{name}/{name}_{n}.jpg", picture(10 * k + n))
    (folder / "EuroSAT.zip").write_bytes(saved.getvalue())
    return "EuroSAT.zip", md5(saved.getvalue())


def textures(folder: Path) -> tuple[str, str]:
    """Name and sum of DTD's archive, with two classes and two of the ten partitions."""
    parts = ("train", "val", "test")
    images = {f"dtd/images/{name}/{name}_{n:04d}.jpg": picture(n + 10 * k)
              for k, name in enumerate(("banded", "zigzagged")) for n in range(3)}  # fmt: skip
    lists = {
        f"dtd/labels/{part}{partition}.txt":
        "".join(f"{name}/{name}_{(n + partition - 1) % 3:04d}.jpg\n" for name in ("banded", "zigzagged")).encode()
        for partition in (1, 2) for n, part in enumerate(parts)
    }  # fmt: skip
    content = tar_gz(images | lists)
    (folder / "dtd-r1.0.1.tar.gz").write_bytes(content)
    return "dtd-r1.0.1.tar.gz", md5(content)


def medmnist_arrays(labels: dict[str, list[int]], side_px: int, *, seed: int = 0) -> dict[str, np.ndarray]:
    """Arrays as a file of MedMNIST has them, with these labels for each part."""
    rng = np.random.default_rng(seed)
    arrays: dict[str, np.ndarray] = {}
    for part, given in labels.items():
        arrays[f"{part}_images"] = rng.integers(0, 255, (len(given), side_px, side_px, 3), dtype=np.uint8)
        arrays[f"{part}_labels"] = np.array(given, dtype=np.uint8).reshape(-1, 1)
    return arrays


def medmnist(folder: Path, name: str, arrays: dict[str, np.ndarray]) -> tuple[str, str]:
    """Name and sum of a file of MedMNIST."""
    saved = io.BytesIO()
    np.savez_compressed(saved, **arrays)
    (folder / name).write_bytes(saved.getvalue())
    return name, md5(saved.getvalue())


def gz(folder: Path, name: str, content: bytes) -> str:
    """Write a file packed by gzip; returns its sum."""
    packed = gzip.compress(content, mtime=0)
    (folder / name).write_bytes(packed)
    return md5(packed)
