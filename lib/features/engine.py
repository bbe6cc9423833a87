"""What computes frozen stages fastest here, torch or ONNX Runtime, and in batches of how many images.

A short trial finds out, once per home and network; what it found is kept in `engines.json` of the cache folder.
"""

import itertools
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from lib.atomic import read_json, write_json
from lib.errors import Stopped, UserError
from lib.features.onnx_session import EngineUnavailable, OnnxSession, runtime_version, why_missing
from lib.models.backbones import BACKBONES
from lib.precision import autocast
from lib.progress import Progress, ignore_progress
from lib.runtime import available_cores
from lib.settings import cache_dir

if TYPE_CHECKING:
    from torch import Tensor, nn

ENGINES = ("auto", "torch", "onnx")
TITLES = {"torch": "torch", "onnx": "ONNX Runtime"}
# Images of a batch where no trial was made: on a CPU more gain little, and VGG16 has maps of 13 MiB an image.
DEFAULT_BATCH, GPU_BATCH = 8, 32
# Trial and export take as long as some hundred images, so fewer of them are computed sooner by torch. Whether there
# are enough depends on the data set alone, so that the same training is always computed by the same engine.
MIN_IMAGES = 256
TOO_FEW = f"fewer than {MIN_IMAGES} images are done before a trial is"
# What the two engines put out for the same images must point the same way, or torch computes.
MIN_COSINE = 0.9999
_FILE = "engines.json"
_BATCH_SIZES = (4, 8, 16, 32)
_ROUNDS = 3
_TRIAL_S = 3.0
_LISTEN_S = 0.2  # a stop is heard so often while the network is built and exported
_MIN_GAIN = 1.05  # of ONNX Runtime, below which a trial on a shared machine says little
_CPU_ONLY = "ONNX Runtime is used on the CPU alone"


@dataclass(frozen=True)
class EngineChoice:
    """An engine ("torch" or "onnx"), the images of a batch, and the phrase that says why."""

    name: str = "torch"
    batch_size: int = DEFAULT_BATCH
    reason: str = ""


@dataclass(frozen=True)
class FrozenPart:
    """Which stages run: those of a backbone up to `stage`, on images of `size_px`, in the number format `dtype`."""

    backbone_name: str
    weights: str
    seed: int
    stage: str
    size_px: int
    dtype: str = "float32"

    @property
    def key(self) -> str:
        """The name of the trial: weights do not change how fast a network is."""
        return f"{self.backbone_name}|{self.stage}|{self.size_px}|{self.dtype}"


def choose_engine(
    part: FrozenPart | None,
    *,
    asked: str = "auto",
    device: str = "cpu",
    num_images: int | None = None,
    progress: Progress = ignore_progress,
    should_stop: Callable[[], bool] = lambda: False,
) -> EngineChoice:
    """What runs the frozen stages; where "auto" is asked for and no trial was made yet, makes it.

    Args:
        part: what is frozen; None if nothing is.
        asked: a name in `ENGINES`.
        device: where torch computes.
        num_images: how many are to be computed; None for any number.
        progress: told what the trial is doing.
        should_stop: asked during the trial, several times a second unless a batch takes longer.

    Raises:
        Stopped: `should_stop()` turned true; nothing is recorded.
        UserError: ONNX Runtime is asked for and is not installed, or not for a CPU.
        WeightsUnavailable: the trial needs the pretrained weights and they are not at hand.
    """
    if part is None:
        return EngineChoice(reason="no stage is frozen")
    if asked == "onnx":
        if why := why_missing() or (_CPU_ONLY if device != "cpu" else ""):
            raise UserError(f"The setting engine=onnx cannot be used: {why}. Choose engine=auto or engine=torch.")
        return EngineChoice("onnx", batch_size_of(part, "onnx"), "asked for")
    reasons = {
        "asked for": asked == "torch",
        _CPU_ONLY: device != "cpu",
        "there is no network": BACKBONES.get(part.backbone_name).num_parameters == 0,
        why_missing(): why_missing(),
        TOO_FEW: num_images is not None and num_images < MIN_IMAGES,
    }
    if why := next((reason for reason, applies in reasons.items() if applies), ""):
        return EngineChoice(batch_size=batch_size_of(part, "torch", device), reason=why)
    if known := recorded_choices().get(part.key):
        return known
    progress(0, 0, "waiting for another trial of engines")
    lock = FileLock(cache_dir() / f"{_FILE}.lock")  # of several processes one makes the trial
    while not lock.is_locked:
        _raise_if(should_stop)
        with suppress(Timeout):
            lock.acquire(timeout=_LISTEN_S)
    try:
        choices = recorded_choices()
        if part.key not in choices:
            choices[part.key] = _try_engines(part, progress=progress, should_stop=should_stop)
            content = {key: asdict(one) for key, one in sorted(choices.items())}
            write_json(cache_dir() / _FILE, {"format_version": 1, "onnxruntime": runtime_version(), "choices": content})
        return choices[part.key]
    finally:
        lock.release()


def batch_size_of(part: FrozenPart, engine: str, device: str = "cpu") -> int:
    """Images of a batch for an engine: as many as the trial in this home found best, if it chose that engine."""
    known = recorded_choices().get(part.key)
    if known and known.name == engine and device == "cpu":
        return known.batch_size
    return DEFAULT_BATCH if device == "cpu" else GPU_BATCH


def recorded_choices() -> dict[str, EngineChoice]:
    """What trials in this home found, by `FrozenPart.key`; made with another version of ONNX Runtime they are void."""
    try:
        content = read_json(cache_dir() / _FILE)
        if content["onnxruntime"] != runtime_version():
            return {}
        return {key: EngineChoice(**choice) for key, choice in content["choices"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def engine_key(engine: str) -> tuple[str, ...]:
    """What an engine adds to the name of cached features; nothing for torch, whose version is part of any."""
    return () if engine == "torch" else (f"{engine} {runtime_version()}",)


def _raise_if(should_stop: Callable[[], bool]) -> None:
    if should_stop():
        raise Stopped("Stopped during a trial of engines.")


def _try_engines(
    part: FrozenPart, *, progress: Progress = ignore_progress, should_stop: Callable[[], bool] = lambda: False
) -> EngineChoice:
    """Compute made-up pictures in turn by both engines, in batches of several sizes."""
    import torch

    from lib.features.frozen_stages import FrozenStages, frozen_backbone, smooth_pictures
    from lib.models.stages import keep_stages_until

    def built() -> "nn.ModuleDict":
        backbone = frozen_backbone(part.backbone_name, weights=part.weights, seed=part.seed)
        keep_stages_until(backbone, part.stage)
        return backbone.stages

    batch = smooth_pictures(max(_BATCH_SIZES), part.size_px, seed=0)
    progress(0, 0, "trial of engines: building the network")
    stages: nn.ModuleDict = _while_listening(built, should_stop)
    frozen = FrozenStages(stages, size_px=part.size_px)

    def by_torch(images: "Tensor") -> "Tensor":
        with torch.inference_mode(), autocast("cpu", part.dtype):
            return frozen.forward_until(images, part.stage).float()

    def exported() -> OnnxSession:
        return OnnxSession(torch.nn.Sequential(*stages.values()), (3, part.size_px, part.size_px))

    progress(0, 0, "trial of engines: exporting the network")
    try:
        session = _while_listening(exported, should_stop)
    except EngineUnavailable as error:
        return EngineChoice(reason=str(error))
    ours, theirs = (engine(batch[:2]).flatten(1).double() for engine in (by_torch, session))
    cosine = float(torch.cosine_similarity(ours, theirs).min())
    if not cosine >= MIN_COSINE:
        return EngineChoice(reason=f"ONNX Runtime puts out something else here (cosine {cosine:.5f})")

    def check(done: int, total: int) -> None:
        progress(done, total, "trial of engines: images a second")
        _raise_if(should_stop)

    rates = _rates({"torch": by_torch, "onnx": session}, batch, check)
    best = {name: max((rate, -size) for size, rate in by_size.items()) for name, by_size in rates.items()}
    name = "onnx" if best["onnx"][0] > _MIN_GAIN * best["torch"][0] else "torch"
    speeds = " and ".join(
        f"{rate:.{0 if rate >= 10 else 1}f} by {TITLES[one]}" for one, (rate, _) in sorted(best.items(), reverse=True)
    )
    counted = ", counted in processor time since other programs were at work" if is_busy() else ""
    how = f"images a second in a trial with {torch.get_num_threads()} threads{counted}"
    return EngineChoice(name, -best[name][1], f"{speeds} {how}")


def _while_listening(work: Callable[[], Any], should_stop: Callable[[], bool]) -> Any:
    """The result of work that cannot be interrupted; a stop raises Stopped at once, and its thread ends by itself."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work)
    pool.shutdown(wait=False)
    while not wait([future], timeout=_LISTEN_S).done:
        _raise_if(should_stop)
    return future.result()


def is_busy() -> bool:
    """Whether more programs want to compute at this moment than there are cores for."""
    return hasattr(os, "getloadavg") and os.getloadavg()[0] > available_cores() + 1


def _rates(
    engines: "dict[str, Callable[[Tensor], Tensor]]", batch: "Tensor", check: Callable[[int, int], None]
) -> dict[str, dict[int, float]]:
    """Best images a second of each engine by size of the batch; all take turns, so that other programs slow all.

    Where other programs take the cores, processor time tells more than the time on the wall, of which they take their
    part at random; it leaves out only how well the threads share the work. `check` is called before each batch.
    """
    import torch

    clock, share = (time.process_time, torch.get_num_threads()) if is_busy() else (time.perf_counter, 1)
    rates: dict[str, dict[int, float]] = {name: {} for name in engines}
    deadline = time.perf_counter() + _TRIAL_S
    turns = list(itertools.product(range(_ROUNDS), _BATCH_SIZES, engines))
    for number, (_, size, name) in enumerate(turns):
        check(number, len(turns))
        # A slow network is measured at the smallest size at least.
        if time.perf_counter() > deadline and rates[name]:
            continue
        began = clock()
        engines[name](batch[:size])
        rate = size * share / max(clock() - began, 1e-9)
        rates[name][size] = max(rate, rates[name].get(size, 0.0))
    return rates
