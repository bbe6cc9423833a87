"""Which settings of a training the advice depends on, and where the answer for them is kept. Imports no torch."""

import dataclasses
import hashlib
import json
from pathlib import Path

from lib.data.enhancement import ENHANCEMENTS, parse_chain
from lib.data.protocol import DataProtocol
from lib.data.target_map import parse_target_map
from lib.settings import cache_dir
from lib.training.config import TrainConfig

FORMAT_VERSION = 3
# Besides data set, network and split seed: what decides on the images, their classes and how they are shared out.
COUNTED = (
    "num_folds", "preprocessing", "target_map", *(field.name for field in dataclasses.fields(DataProtocol)),
)  # fmt: skip


def counted_settings(config: TrainConfig) -> list[str]:
    """The settings that count and are not at their default, as `--set` takes them."""
    defaults = {field.name: field.default for field in dataclasses.fields(TrainConfig)}
    return [f"{name}={value}" for name in COUNTED if (value := getattr(config, name)) != defaults[name]]


def counted_words(config: TrainConfig) -> str:
    """The same in words, such as "Local contrast (CLAHE), 200 images a class"; empty where nothing is."""
    parts = [ENHANCEMENTS.get(name).title for name in parse_chain(config.preprocessing)]
    if config.target_map:
        parts.append(parse_target_map(config.target_map).title)
    if config.num_folds:
        parts.append(f"{config.num_folds} folds")
    return ", ".join(filter(None, (*parts, DataProtocol.of(config).describe())))


def advice_command(config: TrainConfig) -> list[str]:
    """The words after `python -m lib` that measure what a training with this config would see."""
    words = ["advise", "--dataset", config.dataset, "--backbone", config.backbone]
    words += ["--split-seed", str(config.split_seed)]
    return words + [word for setting in counted_settings(config) for word in ("--set", setting)]


def kept_advice(version: str, config: TrainConfig) -> Path:
    """Where the advice for a version of a data set is kept, by all of the config that it depends on."""
    from lib.models.weights import weights_digest

    described = [
        FORMAT_VERSION, version, config.backbone, weights_digest(config.backbone, "pretrained"), config.split_seed,
        counted_settings(config),
    ]  # fmt: skip
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:32]
    return cache_dir() / "advice" / f"{digest}.json"
