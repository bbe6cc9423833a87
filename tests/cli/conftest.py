import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

from lib import cli
from tests.kept_home import made_once
from tests.run_store import make_run_store, move_run_store


class Answer(NamedTuple):
    """What a command said."""

    status: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Answer]:
    """Runs the command line in this process."""

    def run(*arguments: object) -> Answer:
        capsys.readouterr()
        status = cli.run([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Answer(status, said.out, said.err)

    return run


def write_images(folder: Path, per_class: int = 12, *, seed: int = 0) -> Path:
    """Two classes that differ in colour: warm and cold noise, 32 px."""
    random = np.random.default_rng(seed)
    for class_name, colour in (("warm", (220, 90, 40)), ("cold", (40, 90, 220))):
        (folder / class_name).mkdir(parents=True)
        for number in range(per_class):
            pixels = np.clip(random.normal(colour, 30, size=(40, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / class_name / f"{number}.png")
    return folder


def write_classes(folder: Path, class_names: tuple[str, ...], per_class: int = 5, *, seed: int = 0) -> Path:
    """Noise of 32 px in a folder a class."""
    random = np.random.default_rng(seed)
    for class_name in class_names:
        (folder / class_name).mkdir(parents=True)
        for number in range(per_class):
            pixels = random.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / class_name / f"{number}.png")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "colours")


TRAIN = (
    "train",
    "--backbone",
    "mobilenet_v3_small",
    "--weights",
    "random",
    "--set",
    "input_size_px=32",
    "--set",
    "dtype=float32",
)


@pytest.fixture(scope="session")
def trained_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with the data set "colours" and two finished runs on it, made once."""

    def make(folder: Path) -> None:
        make_run_store()
        images = write_images(folder / "colours")
        for strategy in ("linear_probe", "nearest_neighbors"):
            assert cli.run([*TRAIN, "--dataset", str(images), "--strategy", strategy]) == 0

    folder = tmp_path_factory.mktemp("trained") / "own"  # tests of this process may change it
    shutil.copytree(made_once("trained", make), folder)
    move_run_store(made_once("trained", make) / "home", folder / "home")
    return folder


@pytest.fixture
def trained(trained_home: Path, monkeypatch: pytest.MonkeyPatch, home: Path) -> Path:
    """The folder of `trained_home`, whose home is the current one."""
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(trained_home / "home"))
    return trained_home
