"""Trains the bundled network to name the program behind an image, and to recognise the same image in two views."""

import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.networks import PROJECTION_DIM, BundledVGG
from lib.precision import autocast
from lib.pretraining.families import FAMILIES
from lib.pretraining.store import ImageStore
from lib.pretraining.views import ColourChange, random_views
from lib.training.checkpoints import CheckpointStore
from lib.training.optimization import learning_rate_at, set_learning_rate

LOG_FILE = "pretraining_log.jsonl"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_LOG_STEPS = 50


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
        torch.manual_seed(config.seed)
        self.network = BundledVGG(len(store.spec.classes)).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # Thrown away afterwards: the contrastive loss is taken on a projection of its own (SimCLR, section 4.2).
        self.contrast_head = nn.Sequential(
            nn.Linear(PROJECTION_DIM, PROJECTION_DIM), nn.ReLU(), nn.Linear(PROJECTION_DIM, 128)
        )
        everything = [*self.network.parameters(), *self.contrast_head.parameters()]
        groups = [
            {"params": [p for p in everything if p.ndim > 1], "weight_decay": config.weight_decay},
            {"params": [p for p in everything if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.SGD(groups, lr=config.learning_rate, momentum=config.momentum, nesterov=True)
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
        state = {"network": self.network.state_dict(), "contrast_head": self.contrast_head.state_dict()}
        spent = self.seconds + time.perf_counter() - self.started
        self.checkpoints.save({**state, "optimizer": self.optimizer.state_dict(), "step": self.step, "seconds": spent})

    def train_step(self) -> None:
        """One step on two views of a batch; the batch follows from seed and step alone."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + self.step)
        rows = self._rows()
        pixels = torch.from_numpy(np.ascontiguousarray(self.store.pixels[rows]))
        targets = torch.from_numpy(self.store.targets[rows]).repeat(2)
        side_px, colour = config.side_px(self.step), config.colour
        twice = pixels.repeat(2, 1, 1, 1)
        views = _normalised(random_views(twice, size_px=side_px, generator=generator, colour=colour))
        set_learning_rate(self.optimizer, self._rate())
        self.network.train()
        with autocast("cpu", config.dtype):
            hidden = self.network.projection(self.network.features(views))
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
        spent = self.seconds + time.perf_counter() - self.started
        line: dict[str, Any] = {
            "step": self.step, "seconds": round(spent, 1), "learning_rate": round(self._rate(), 5),
            "side_px": self.config.side_px(self.step), "loss_class": round(float(means[0]), 4),
            "loss_contrast": round(float(means[1]), 4), "train_accuracy": round(float(means[2]), 4),
        }  # fmt: skip
        if is_last or self.step % (20 * _LOG_STEPS) == 0:
            line["val_accuracy"] = round(self._validate(), 4)
        with (self.folder / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        self.tell(json.dumps(line))
        self.recent = []

    def _validate(self) -> float:
        self.network.eval()
        correct = 0
        for rows in np.array_split(self.val_rows, math.ceil(len(self.val_rows) / 256)):
            pixels = torch.from_numpy(self.store.pixels[rows]).permute(0, 3, 1, 2).float() / 255
            with torch.inference_mode(), autocast("cpu", self.config.dtype):
                found = self.network(_normalised(pixels.contiguous(memory_format=torch.channels_last)))
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


def _normalised(views: Tensor) -> Tensor:
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (views - mean) / std
