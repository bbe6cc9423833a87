"""Trains the bundled network to name the program behind an image, and to recognise the same image in two views."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.input_transform import to_batch
from lib.models.backbones import BACKBONES
from lib.models.bundled_weights import BundledMetadata, write_bundled_weights
from lib.models.networks import PROJECTION_DIM, BundledVGG
from lib.precision import autocast, choose_dtype
from lib.pretraining.images import FAMILIES, NUM_FAMILIES_OF_FORM, ImageStore, StoreSpec, render_store
from lib.progress import Progress, ignore_progress
from lib.training.checkpoints import CheckpointStore
from lib.training.optimization import build_optimizer, learning_rate_at, set_learning_rate

LOG_FILE = "pretraining_log.jsonl"
WEIGHTS_FILE = "bundled_vgg.safetensors"
SPEC = BACKBONES.get("bundled_vgg")
_LOG_STEPS = 50


@dataclass(frozen=True)
class ColourChange:
    """How strongly views differ in colour: deviation of the mixing of channels, share of grey views, and two ranges."""

    mixing: float = 0.13
    grey_share: float = 1 / 6
    contrast: float = 0.4
    brightness: float = 0.2


@dataclass(frozen=True, kw_only=True)
class PretrainConfig:
    """One pre-training: `phases` are (share of all steps, side of the views in px), small views first to save time."""

    num_steps: int = 4900
    images_per_step: int = 64  # of each, two views
    phases: tuple[tuple[float, int], ...] = ((0.8, 64), (0.2, 96))
    learning_rate: float = 0.2
    schedule: str = "cosine"
    momentum: float = 0.9
    weight_decay: float = 1e-4
    warmup_fraction: float = 0.03
    label_smoothing: float = 0.1
    contrast_weight: float = 0.5
    temperature: float = 0.2
    colour: ColourChange = field(default_factory=ColourChange)
    num_families: int | None = None  # only the classes of the first families are seen; all by default
    num_val_per_class: int = 6
    seed: int = 0
    dtype: str = "float32"

    def side_px(self, step: int) -> int:
        """The side of the views at a step."""
        end = 0.0
        for share, side in self.phases:
            end += share * self.num_steps
            if step < end:
                return side
        return self.phases[-1][1]


def stages(num_steps: int, *, seed: int = 0, dtype: str = "float32") -> list[PretrainConfig]:
    """Two stages, one after the other: form under strong changes of colour, then all families under weak ones.

    A network that never sees a colour keep still learns to ignore colours, without which the families of the second
    stage cannot be told apart. Its learning rate stays high to the end: brought down to zero, the features fitted the
    generated classes better and photographs worse (see the model card).
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
    steps: int = 6500,
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
    made = None
    configs, lines = stages(steps, seed=seed, dtype=chosen), []
    for number, config in enumerate(configs, start=1):
        stage = folder / f"stage_{number}"
        stage.mkdir(exist_ok=True)
        made = pretrain(store, config, stage, start=made, tell=tell)
        lines.append(json.loads((stage / LOG_FILE).read_text(encoding="utf-8").splitlines()[-1]))
    assert made is not None  # noqa: S101 (there are stages)
    facts = {
        "stages": [asdict(config) for config in configs],
        "store": asdict(spec),
        "num_classes": len(spec.classes),
        "val_accuracy": lines[-1].get("val_accuracy"),
        "seconds": sum(line["seconds"] for line in lines),
    }
    target = out or folder / WEIGHTS_FILE
    names = tuple(f"{family} {number}" for family, number in spec.classes)
    write_bundled_weights(made, target, BundledMetadata(classes=names, pretraining=facts))
    return {"file": str(target), "size_mib": target.stat().st_size / 2**20, **facts}


def pretrain(
    store: ImageStore,
    config: PretrainConfig,
    folder: Path,
    *,
    start: BundledVGG | None = None,
    tell: Callable[[str], None] = lambda line: None,
) -> BundledVGG:
    """Train on a rendered store; goes on from the newest checkpoint in `folder`, appends to the log there.

    A first stage may be given as `start`.

    The loss is the cross-entropy of the classes plus the contrastive loss between the two views of each image of SimCLR
    (Chen et al. 2020, arXiv 2002.05709).
    """
    run = _Pretraining(store, config, folder, tell)
    if start is not None:
        run.network.load_state_dict(start.state_dict())
    run.resume()
    while run.step < config.num_steps:
        run.train_step()
    run.report(is_last=True)
    run.save()
    return run.network


class _Pretraining:
    def __init__(self, store: ImageStore, config: PretrainConfig, folder: Path, tell: Callable[[str], None]) -> None:
        self.store, self.config, self.folder, self.tell = store, config, folder, tell
        self.mean, self.std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (SPEC.mean, SPEC.std))
        torch.manual_seed(config.seed)
        self.network = BundledVGG(len(store.spec.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Thrown away afterwards: the contrastive loss is taken on a projection of its own (SimCLR, section 4.2).
        self.contrast_head = nn.Sequential(
            nn.Linear(PROJECTION_DIM, PROJECTION_DIM), nn.ReLU(), nn.Linear(PROJECTION_DIM, 128)
        )
        self.optimizer = build_optimizer(
            nn.ModuleList([self.network, self.contrast_head]),
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            optimizer="sgd",
            momentum=config.momentum,
        )
        self.checkpoints = CheckpointStore(folder / "checkpoints", interval_s=120)
        self.step, self.seconds, self.started = 0, 0.0, time.perf_counter()
        self.recent: list[tuple[float, float, float]] = []
        is_val = np.arange(len(store.targets)) % store.spec.per_class < config.num_val_per_class
        seen = FAMILIES.names[: config.num_families]
        is_seen = np.array([family in seen for family, _ in store.spec.classes])[store.targets]
        self.train_rows, self.val_rows = np.flatnonzero(is_seen & ~is_val), np.flatnonzero(is_seen & is_val)

    def resume(self) -> None:
        """Go to where the newest checkpoint stands."""
        content = self.checkpoints.load()
        if content is None:
            return
        self.network.load_state_dict(content["network"])
        self.contrast_head.load_state_dict(content["contrast_head"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.step, self.seconds = content["step"], content["seconds"]

    def save(self) -> None:
        """Write a checkpoint."""
        state: dict[str, Any] = {"network": self.network.state_dict(), "contrast_head": self.contrast_head.state_dict()}
        state |= {"optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": self._spent()}
        self.checkpoints.save(state)

    def train_step(self) -> None:
        """One step on two views of a batch; the batch follows from seed and step alone."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        rows = self._rows()
        pixels = torch.from_numpy(np.ascontiguousarray(self.store.pixels[rows])).repeat(2, 1, 1, 1)
        targets = torch.from_numpy(self.store.targets[rows]).repeat(2)
        views = random_views(pixels, size_px=config.side_px(self.step), generator=generator, colour=config.colour)
        set_learning_rate(self.optimizer, self._rate())
        self.network.train()
        with autocast("cpu", config.dtype):
            hidden = self.network.projection(self.network.features((views - self.mean) / self.std))
            logits, embedded = self.network.logits(hidden), self.contrast_head(hidden)
        loss_class = F.cross_entropy(logits.float(), targets, label_smoothing=config.label_smoothing)
        loss_contrast = contrastive_loss(embedded.float(), temperature=config.temperature)
        loss = loss_class + config.contrast_weight * loss_contrast
        if not math.isfinite(float(loss.detach())):
            raise RuntimeError(f"The loss became {float(loss)} at step {self.step}; lower the learning rate.")
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        correct = float((logits.argmax(1) == targets).float().mean())
        self.recent.append((float(loss_class.detach()), float(loss_contrast.detach()), correct))
        self.step += 1
        if self.step % _LOG_STEPS == 0 and self.step < self.config.num_steps:  # the last line is `pretrain`'s
            self.report(is_last=False)
        if self.checkpoints.is_due():
            self.save()

    def report(self, *, is_last: bool) -> None:
        """Append a line of means to the log; with the accuracy on images never trained on now and then."""
        if not self.recent:
            return
        means = np.mean(self.recent, axis=0)
        line: dict[str, Any] = {
            "step": self.step, "seconds": round(self._spent(), 1), "learning_rate": round(self._rate(), 5),
            "side_px": self.config.side_px(self.step), "loss_class": round(float(means[0]), 4),
            "loss_contrast": round(float(means[1]), 4), "train_accuracy": round(float(means[2]), 4),
        }  # fmt: skip
        if is_last or self.step % (20 * _LOG_STEPS) == 0:
            line["val_accuracy"] = round(self._validate(), 4)
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.tell(json.dumps(line))
        self.recent = []

    def _spent(self) -> float:
        return self.seconds + time.perf_counter() - self.started

    def _validate(self) -> float:
        self.network.eval()
        correct = 0
        for rows in np.array_split(self.val_rows, math.ceil(len(self.val_rows) / 256)):
            batch = to_batch(self.store.pixels[rows], size_px=self.store.spec.side_px, mean=SPEC.mean, std=SPEC.std)
            with torch.inference_mode(), autocast("cpu", self.config.dtype):
                found = self.network(batch)
            correct += int((found.argmax(1).numpy() == self.store.targets[rows]).sum())
        return correct / len(self.val_rows)

    def _rows(self) -> np.ndarray:
        """The images of a step: the epoch's order follows from the seed, so that a resume sees the same."""
        per_step = self.config.images_per_step
        steps = max(1, len(self.train_rows) // per_step)
        epoch, position = divmod(self.step, steps)
        order = np.random.default_rng([self.config.seed, epoch]).permutation(self.train_rows)
        return np.sort(order[position * per_step : (position + 1) * per_step])

    def _rate(self) -> float:
        config = self.config
        return learning_rate_at(
            min(self.step, config.num_steps - 1),
            num_steps=config.num_steps,
            peak=config.learning_rate,
            warmup_fraction=config.warmup_fraction,
            schedule=config.schedule,
        )


def contrastive_loss(embedded: Tensor, *, temperature: float) -> Tensor:
    """NT-Xent: embeddings (2 N, D), row i and row i + N are two views of one image; all others are strangers."""
    embedded = F.normalize(embedded, dim=1)
    similarity = embedded @ embedded.T / temperature
    similarity.fill_diagonal_(-torch.inf)
    num = len(embedded) // 2
    partner = torch.arange(2 * num, device=embedded.device).roll(num)
    return F.cross_entropy(similarity, partner)


def random_views(
    pixels: Tensor, *, size_px: int, generator: torch.Generator, colour: ColourChange = ColourChange()
) -> Tensor:
    """Crop, turn, mirror, recolour uint8 (N, S, S, 3), each image by its own draw of `generator`.

    Returns (N, 3, size_px, size_px) from 0 to 1, channels_last.
    """
    num = len(pixels)
    images = pixels.permute(0, 3, 1, 2).float() / 255
    grid = F.affine_grid(_poses(num, generator), [num, 3, size_px, size_px], align_corners=False)
    views = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return _recoloured(views, generator, colour).contiguous(memory_format=torch.channels_last)


def _poses(num: int, generator: torch.Generator) -> Tensor:
    """Affine maps (N, 2, 3) from view to image: area 0.3 to 1, aspect 3:4 to 4:3, up to 15 degrees, mirrored or not."""

    def uniform(low: float, high: float) -> Tensor:
        return torch.empty(num).uniform_(low, high, generator=generator)

    scale = uniform(0.3, 1.0).sqrt()
    aspect = (uniform(-1, 1) * math.log(4 / 3) / 2).exp()
    width, height = (scale * aspect).clamp(max=1), (scale / aspect).clamp(max=1)
    angle = uniform(-math.pi / 12, math.pi / 12)
    mirror = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    cos, sin = angle.cos(), angle.sin()
    x, y = uniform(-1, 1) * (1 - width), uniform(-1, 1) * (1 - height)
    first = torch.stack([cos * width * mirror, -sin * height, x], 1)
    second = torch.stack([sin * width * mirror, cos * height, y], 1)
    return torch.stack([first, second], 1)


def _recoloured(views: Tensor, generator: torch.Generator, colour: ColourChange) -> Tensor:
    """Brightness, contrast, a random mixing of the channels, and grey for some images."""
    num = len(views)
    luma = torch.tensor([0.299, 0.587, 0.114])
    mixing = torch.eye(3) + colour.mixing * torch.randn(num, 3, 3, generator=generator)
    mixing = mixing / mixing.sum(2, keepdim=True).clamp(min=0.4)
    is_grey = torch.rand(num, 1, 1, generator=generator) < colour.grey_share
    mixing = torch.where(is_grey, luma.expand(num, 3, 3), mixing)
    contrast = torch.empty(num, 1, 1, 1).uniform_(1 - colour.contrast, 1 + colour.contrast, generator=generator)
    brightness = torch.empty(num, 1, 1, 1).uniform_(-colour.brightness, colour.brightness, generator=generator)
    centre = views.mean((1, 2, 3), keepdim=True)
    mixed = torch.einsum("nij,njhw->nihw", mixing, views)
    return ((mixed - centre) * contrast + centre + brightness).clamp(0, 1)
