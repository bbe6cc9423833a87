"""From nothing to the weights file: render, train, write."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lib.models.bundled_weights import BundledMetadata, write_bundled_weights
from lib.precision import choose_dtype
from lib.pretraining.families import NUM_FAMILIES_OF_FORM
from lib.pretraining.store import StoreSpec, render_store
from lib.pretraining.training import LOG_FILE, PretrainConfig, pretrain
from lib.pretraining.views import ColourChange
from lib.progress import Progress, ignore_progress

WEIGHTS_FILE = "bundled_vgg.safetensors"
DEFAULT_STEPS = 6500


def stages(num_steps: int, *, seed: int = 0, dtype: str = "float32") -> list[PretrainConfig]:
    """Two stages, one after the other: form under strong changes of colour, then all families under weak ones.

    A network that never sees a colour keep still learns to ignore colours, which tell many natural kinds apart; the
    families of the second stage (insects, flowers, foliage, scenes by their colours) cannot be told apart without.
    Its learning rate stays high to the end: brought down to zero, the features fitted the generated classes better and
    photographs worse (assets/bundled_vgg_card.md).
    """
    first = max(1, round(num_steps * 0.754))
    return [
        PretrainConfig(num_steps=first, seed=seed, dtype=dtype, num_families=NUM_FAMILIES_OF_FORM),
        PretrainConfig(
            num_steps=max(1, num_steps - first),
            seed=seed + 1,
            dtype=dtype,
            phases=((1.0, 64),),
            learning_rate=0.07,
            schedule="constant",
            colour=ColourChange(mixing=0.06, grey_share=0.1),
        ),
    ]


def produce(
    folder: Path,
    *,
    out: Path | None = None,
    per_class: int = 160,
    steps: int = DEFAULT_STEPS,
    class_share: float = 1.0,
    dtype: str = "auto",
    seed: int = 0,
    num_processes: int | None = None,
    progress: Progress = ignore_progress,
    tell: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Render the images, train the network and write its weights in half precision; each part resumes.

    Returns:
        What was made: file, size, classes, accuracy on images never trained on, configuration.
    """
    spec = StoreSpec(per_class, seed=seed, class_share=class_share)
    store = render_store(folder / "images", spec, num_processes=num_processes, progress=progress)
    chosen = choose_dtype("cpu", "training")[0] if dtype == "auto" else dtype
    form, everything = stages(steps, seed=seed, dtype=chosen)
    start = pretrain(store, form, _stage_folder(folder, 1), tell=tell)
    network = pretrain(store, everything, _stage_folder(folder, 2), start=start, tell=tell)
    lines = [_last_line(_stage_folder(folder, number)) for number in (1, 2)]
    facts = {
        "stages": [asdict(form), asdict(everything)],
        "store": asdict(store.spec),
        "num_classes": len(store.spec.classes),
        "val_accuracy": lines[1].get("val_accuracy"),
        "seconds": sum(line["seconds"] for line in lines),
    }
    target = out or folder / WEIGHTS_FILE
    names = [f"{family} {number}" for family, number in store.spec.classes]
    write_bundled_weights(network, target, BundledMetadata(classes=tuple(names), pretraining=facts))
    return {"file": str(target), "size_mib": target.stat().st_size / 2**20, **facts}


def _stage_folder(folder: Path, number: int) -> Path:
    path = folder / f"stage_{number}"
    path.mkdir(exist_ok=True)
    return path


def _last_line(folder: Path) -> dict[str, Any]:
    return json.loads((folder / LOG_FILE).read_text(encoding="utf-8").splitlines()[-1])
