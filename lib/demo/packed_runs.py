"""A finished run as it ships: what pages read, and tensors in half precision where that costs nothing."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from lib.atomic import atomic_path, read_json, sha256_of_file, write_json
from lib.errors import UserError
from lib.sweeps.results import CURVE_FILE
from lib.tracking import state as states
from lib.tracking.repair import TAGS_FILE
from lib.tracking.timeline import TIMELINE_FILE

_FILES = (
    states.CONFIG_FILE, states.SUMMARY_FILE, states.STATE_FILE, states.LOG_FILE, states.PREDICTIONS_FILE,
    states.CONFUSION_FILE, TIMELINE_FILE, CURVE_FILE, TAGS_FILE,
)  # fmt: skip
_FOLDERS = (states.BUNDLE_FOLDER, "pinned")
# As lib/models/bundle_files.py names them, which imports torch.
MANIFEST_FILE, NETWORK_FILE = "manifest.json", "network.safetensors"
_LARGE = 4096  # values
_OF_A_PROCESS = ("pid", "pid_started_s", "host", "is_detached")


def pack_run(run_id: str, target: Path, *, name: str, machine: str, tags: dict[str, str]) -> None:
    """Copy what belongs to a finished run from this home, under a name; its state says on what machine it was made."""
    source = states.run_folder(run_id)
    target.mkdir(parents=True)
    for file in _FILES:
        if (source / file).is_file():
            shutil.copyfile(source / file, target / file)
    for folder in _FOLDERS:
        if (source / folder).is_dir():
            shutil.copytree(source / folder, target / folder)
    state = read_json(source / states.STATE_FILE)
    state = {key: value for key, value in state.items() if key not in _OF_A_PROCESS}
    write_json(target / states.STATE_FILE, {**state, "name": name, "recorded_on": machine})
    write_json(target / TAGS_FILE, tags)


def unpack_run(source: Path, target: Path) -> None:
    """Put a shipped run's files where runs are kept; tensors in half precision become single precision again."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    bundle = target / states.BUNDLE_FOLDER
    if (bundle / NETWORK_FILE).is_file():
        _write_tensors(bundle, {name: _widened(tensor) for name, tensor in _tensors(bundle).items()})


def halve_tensors(folder: Path, *, seed: int = 0) -> None:
    """Keep a shipped run's large tensors in half precision, where their values are in its range.

    Others stay as they are: statistics of BatchNorm go beyond that range, filters of few weights average no error out,
    and all of them together are small. Seed 0
    rounds to the nearest value, others up or down by chance, the nearer the likelier: another rounding as good on
    average, for a network whose answer to some image is a tie that the nearest one decides otherwise.
    """
    bundle, random = folder / states.BUNDLE_FOLDER, np.random.default_rng(seed) if seed else None
    _write_tensors(bundle, {name: _narrowed(tensor, random) for name, tensor in _tensors(bundle).items()})


def _tensors(bundle: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return dict(load_file(bundle / NETWORK_FILE))
    except (SafetensorError, OSError) as error:
        raise UserError(f"The recorded classifier {bundle} cannot be read ({error}).") from error


def _write_tensors(bundle: Path, tensors: dict[str, np.ndarray]) -> None:
    from safetensors.numpy import save_file

    with atomic_path(bundle / NETWORK_FILE) as temporary:
        save_file({name: np.array(tensor, order="C") for name, tensor in tensors.items()}, temporary)
    manifest: dict[str, Any] = read_json(bundle / MANIFEST_FILE)
    write_json(bundle / MANIFEST_FILE, {**manifest, "network_sha256": sha256_of_file(bundle / NETWORK_FILE)})


def _narrowed(tensor: np.ndarray, random: np.random.Generator | None) -> np.ndarray:
    if tensor.dtype != np.float32 or tensor.size < _LARGE or np.abs(tensor).max(initial=0.0) > np.finfo(np.float16).max:
        return tensor
    nearest = tensor.astype(np.float16)
    if random is None:
        return nearest
    rest = tensor - nearest
    other = np.nextafter(nearest, np.where(rest > 0, np.float16(np.inf), np.float16(-np.inf)))
    gap = np.abs(other.astype(np.float32) - nearest)
    is_other = random.random(tensor.shape, dtype=np.float32) * gap < np.abs(rest)
    return np.where(is_other & np.isfinite(other), other, nearest)


def _widened(tensor: np.ndarray) -> np.ndarray:
    return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor
