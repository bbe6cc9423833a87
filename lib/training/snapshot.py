"""What a checkpoint holds of a training, and whether it belongs to the training that asks for it."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.errors import UserError
from lib.training.config import TrainConfig
from lib.training.state import FitState, put_back, tuned_tensors

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT_VERSION = 2
# What may differ between the two parts of one training: the machine it runs on, and the format of the config itself.
_NOT_COMPARED = ("device", "format_version")


def take_snapshot(
    network: "nn.Module",
    optimizer: "torch.optim.Optimizer",
    state: FitState,
    *,
    best: Mapping[str, "torch.Tensor"],
    config: TrainConfig,
    schedule: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """Everything that the rest of the training depends on, as tensors and plain values.

    Keys: tuned (trainable parameters and buffers), best (the same of the best epoch), optimizer, schedule, scaler,
    random, state (position and history), config and config_hash.
    """
    described = _described(config)
    return {
        "format_version": FORMAT_VERSION,
        "tuned": tuned_tensors(network),
        "best": dict(best),
        "optimizer": optimizer.state_dict(),
        # The rate is a function of position and history, so this is for whoever reads the file.
        "schedule": dict(schedule),
        # float32 and bfloat16 have the same range of exponents and need no scaling of gradients; float16 would.
        "scaler": None,
        "random": random_states(),
        "state": {**state.to_dict(), "seconds": seconds},
        "config": described,
        "config_hash": config_hash(config),
    }


def restore_snapshot(
    content: Mapping[str, Any],
    network: "nn.Module",
    optimizer: "torch.optim.Optimizer",
    *,
    config: TrainConfig,
    folder: Path,
) -> tuple[FitState, dict[str, "torch.Tensor"]]:
    """Put network, optimiser and random generators where a checkpoint left them; returns position and best weights.

    Raises:
        UserError: it belongs to another config; `folder` is named.
    """
    check_config(content, config, folder)
    put_back(network, content["tuned"])
    optimizer.load_state_dict(content["optimizer"])
    if "random" in content:  # checkpoints of format 1 have none
        restore_random_states(content["random"])
    return FitState.from_dict(content["state"]), dict(content["best"])


def config_hash(config: TrainConfig) -> str:
    """SHA-256 over all settings that the result depends on."""
    return hashlib.sha256(json.dumps(_described(config), sort_keys=True).encode()).hexdigest()


def check_config(content: Mapping[str, Any], config: TrainConfig, folder: Path) -> None:
    """Raise UserError, with the first setting that differs, if a checkpoint was made with another config."""
    if content.get("config_hash") in (None, config_hash(config)):
        return
    # Settings that came or got another default with an update are absent on one side: their former behaviour is kept.
    stored, asked = dict(content.get("config") or {}), _described(config)
    for key in sorted(set(stored) & set(asked)):
        if stored[key] != asked[key]:
            raise UserError(
                f"The checkpoint in {folder} belongs to another training: its {key} is {stored[key]}, here it is "
                f"{asked[key]}. Start a new run with the new settings, or resume with the old ones."
            )
    if gone := sorted(set(stored) - set(asked)):
        raise UserError(
            f"The checkpoint in {folder} was made with the setting {gone[0]}, which this version of the program does "
            "not know. Start a new run."
        )


def random_states() -> dict[str, Any]:
    """The states of all random generators: Python, NumPy, torch on the CPU and on every GPU in use."""
    import torch

    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state(legacy=True)
    return {
        "python": {"version": version, "words": torch.tensor(words, dtype=torch.int64), "gauss": gauss},
        "numpy": {
            "name": str(name),
            "keys": torch.from_numpy(np.asarray(keys).astype(np.int64)),
            "position": int(position),
            "has_gauss": int(has_gauss),
            "cached": float(cached),
        },
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
        "mps": torch.mps.get_rng_state() if torch.backends.mps.is_available() else None,
    }


def restore_random_states(states: Mapping[str, Any]) -> None:
    """Put all random generators where `random_states` found them; those of devices that are not here are left out."""
    import torch

    python, numpy = states["python"], states["numpy"]
    random.setstate((python["version"], tuple(python["words"].tolist()), python["gauss"]))
    keys = numpy["keys"].numpy().astype(np.uint32)
    np.random.set_state((numpy["name"], keys, numpy["position"], numpy["has_gauss"], numpy["cached"]))
    torch.set_rng_state(states["torch"])
    if states["cuda"] and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    if states["mps"] is not None and torch.backends.mps.is_available():
        torch.mps.set_rng_state(states["mps"])


def are_finite(tensors: Mapping[str, "torch.Tensor"]) -> bool:
    """Whether no tensor holds an infinity or something that is not a number; such weights are never kept."""
    import torch

    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors.values())


def _described(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.to_dict().items() if key not in _NOT_COMPARED}
