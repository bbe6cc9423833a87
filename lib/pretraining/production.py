"""From nothing to the weights file: render, train, write."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.pretraining.store import StoreSpec, render_store
from lib.progress import Progress, ignore_progress

WEIGHTS_FILE = "bundled_vgg.safetensors"


def produce(
    folder: Path,
    *,
    out: Path | None = None,
    per_class: int = 160,
    steps: int = 4900,
    class_share: float = 1.0,
    dtype: str = "auto",
    seed: int = 0,
    progress: Progress = ignore_progress,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Render the images, train the network and write its weights in half precision; each part resumes.

    Returns:
        What was made: file, size, classes, accuracy on images never trained on, configuration.
    """
    store = render_store(folder / "images", StoreSpec(per_class, seed=seed, class_share=class_share), progress=progress)
    from lib.models.bundled_weights import BundledMetadata, write_bundled_weights
    from lib.pretraining.training import LOG_FILE, PretrainConfig, describe, pretrain
    from lib.runtime import choose_dtype

    chosen = choose_dtype("cpu", "training")[0] if dtype == "auto" else dtype
    config = PretrainConfig(num_steps=steps, seed=seed, dtype=chosen)
    network = pretrain(store, config, folder, tell=tell)
    last = json.loads((folder / LOG_FILE).read_text(encoding="utf-8").splitlines()[-1])
    facts = {**describe(config, store), "val_accuracy": last.get("val_accuracy"), "seconds": last["seconds"]}
    target = out or folder / WEIGHTS_FILE
    names = [f"{family} {number}" for family, number in store.spec.classes]
    write_bundled_weights(network, target, BundledMetadata(classes=tuple(names), pretraining=facts))
    return {"file": str(target), "size_mib": target.stat().st_size / 2**20, **facts}
