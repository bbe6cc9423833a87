"""Grades images with a finished run: readable, then like the training images, then class and probabilities."""

import copy
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.decoder_pool import DecoderPool
from lib.data.enhancement import chain_of
from lib.data.images import DecodedImage
from lib.errors import UserError
from lib.evaluation.thresholds import grades_by_thresholds
from lib.grading.bundle import find_bundle, manifest_class_names, manifest_thresholds
from lib.grading.grades import GRADED, NOT_CHECKED, REFUSED, UNLIKE, Grade, ReportHeader, skipped_grades
from lib.models.gate import GATE_FILE, Gate, load_gate
from lib.models.seen_images import SeenImages, image_id_of
from lib.progress import Progress, ignore_progress
from lib.settings import DEFAULT_STORE_SIDE_PX
from lib.tracking.state import PREDICTIONS_FILE
from lib.training.fit_splits import seen_by
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from torch import Tensor

    from lib.models.classifier import Classifier

__all__ = ["Grader", "skipped_grades"]

BATCH_SIZE = 16
# Pixel values of a blank photograph differ by sensor noise and compression: about one level of 255.
_BLANK_STD = 1.5


class Grader:
    """A trained classifier, its gate and its preprocessing. Keeps no images; may be shared by threads."""

    def __init__(
        self,
        classifier: "Classifier",
        manifest: dict[str, Any],
        *,
        gate: Gate | None = None,
        seen: SeenImages | None = None,
        run: str = "",
        device: str = "cpu",
        by_thresholds: bool = False,
    ) -> None:
        self.classifier = classifier.to(device).eval()
        self.manifest = manifest
        self.gate = gate
        self.seen = seen or SeenImages(is_complete=False)
        self.run = run
        self.device = device
        self.class_names = manifest_class_names(manifest, classifier.num_classes)
        self.thresholds = manifest_thresholds(manifest, classifier.num_classes) if by_thresholds else None
        self.preprocessing: dict[str, Any] = manifest["preprocessing"]
        self.enhancement = chain_of(self.preprocessing)
        num_features = classifier.head_options["feature_dim"]
        if gate is not None and gate.reference.shape[1] != num_features:
            raise UserError("The gate of this classifier belongs to another network; train the run again.")

    @classmethod
    def open(cls, run_or_bundle: str | Path, *, device: str = "auto", by_thresholds: bool = False) -> "Grader":
        """Load the classifier of a run (id or its beginning) or of a bundle (folder or zip).

        With `by_thresholds` an image gets the grade that its expected grade reaches, by limits that were fitted on the
        validation images, instead of the most probable one.

        Raises:
            UserError: no such run or bundle, a run that has no classifier yet, or a damaged bundle.
        """
        from lib.models.bundle_files import unpacked_bundle
        from lib.models.bundles import load_bundle
        from lib.runtime import pick_device

        path, run = find_bundle(run_or_bundle)
        with unpacked_bundle(path) as folder:
            loaded = load_bundle(folder)
            gate = load_gate(folder / GATE_FILE) if (folder / GATE_FILE).is_file() else None
            seen = seen_by(folder, loaded.manifest, path.parent / PREDICTIONS_FILE if run else None)
        return cls(
            loaded.classifier, loaded.manifest, gate=gate, seen=seen, run=run, device=pick_device(device),
            by_thresholds=by_thresholds,
        )  # fmt: skip

    def deciding(self, *, by_thresholds: bool) -> "Grader":
        """The same network, gate and preprocessing with the other rule; raises UserError if there are no limits."""
        other = copy.copy(self)
        other.thresholds = manifest_thresholds(self.manifest, self.classifier.num_classes) if by_thresholds else None
        return other

    @property
    def header(self) -> ReportHeader:
        """What reports say of this classifier, with the present time."""
        dataset = self.manifest.get("dataset")
        about = dataset if isinstance(dataset, dict) else {"name": dataset, **self.manifest}
        return ReportHeader(
            run=self.run or str(self.manifest.get("run_id") or ""),
            dataset=str(about.get("title") or about.get("name") or ""),
            backbone=self.classifier.spec.title,
            strategy=str(self.manifest.get("strategy") or ""),
            class_names=self.class_names,
            is_medical=bool(about.get("is_medical", False)),
            false_alarm_rate=self.gate.false_alarm_rate if self.gate else None,
            num_calibration=self.gate.num_calibration if self.gate else 0,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            is_by_expected_grade=self.thresholds is not None,
            knows_seen_images=self.seen.is_complete,
        )

    @property
    def has_maps(self) -> bool:
        """Whether there is a network with maps; hand-made measures have none."""
        return bool(self.classifier.spec.map_stages)

    @property
    def has_cam(self) -> bool:
        """Whether there are maps and a head that passes gradients, which Grad-CAM needs."""
        from lib.models.heads import HEADS

        return self.has_maps and HEADS.get(self.classifier.head_options["name"]).is_differentiable

    def grade(
        self,
        items: Iterable[tuple[str, Path | bytes]],
        *,
        with_cam: bool = False,
        progress: Progress = ignore_progress,
    ) -> Iterator[Grade]:
        """Grade named files, given as paths or as bytes of unknown origin; one grade each, in the same order."""
        waiting = list(items)
        side_px = int(self.preprocessing.get("store_side_px", DEFAULT_STORE_SIDE_PX))
        crop_policy = str(self.preprocessing.get("crop_policy", "center_square"))
        with DecoderPool(2, side_px=side_px, crop_policy=crop_policy) as pool:
            for start in range(0, len(waiting), BATCH_SIZE):
                names, sources = zip(*waiting[start : start + BATCH_SIZE], strict=True)
                decoded = dict(pool.decode_many(sources))
                images = {row: image for row, image in sorted(decoded.items()) if isinstance(image, DecodedImage)}
                graded = dict(zip(images, self._grade_images(list(images.values()), with_cam=with_cam), strict=True))
                for row, name in enumerate(names):
                    yield replace(graded.get(row) or Grade(name, REFUSED, reason=str(decoded[row])), name=name)
                    progress(start + row + 1, len(waiting), "Grading images")

    def _grade_images(self, images: list[DecodedImage], *, with_cam: bool) -> list[Grade]:
        """Grades without names of readable images."""
        import torch

        from lib.models.classifier import as_vectors

        if not images:
            return []
        batch = self._to_batch(images)
        with torch.inference_mode():
            features = self._features(batch)
            probabilities = self.classifier.head(features).float().softmax(1).cpu().numpy().astype(np.float64)
        vectors = as_vectors(features).cpu().numpy()
        distances = self.gate.distance(vectors) if self.gate else [None] * len(images)
        grades = [
            self._to_grade(image, probabilities[row], distance)
            for row, (image, distance) in enumerate(zip(images, distances, strict=True))
        ]
        return self._with_cams(grades, batch) if with_cam and self.has_cam else grades

    def _features(self, batch: "Tensor") -> "Tensor":
        """What the head reads, in the precision in which head and gate of a frozen backbone met it."""
        from lib.models.classifier import pool_features
        from lib.number_format import autocast

        dtype = str(self.preprocessing.get("dtype", "float32")) if self._is_frozen else "float32"
        with autocast(self.device, dtype):
            hidden = self.classifier.forward_until(batch, self.classifier.feature_stage)
        return pool_features(hidden.float(), self.classifier.pooling)

    @property
    def _is_frozen(self) -> bool:
        strategy = str(self.manifest.get("strategy"))
        return strategy in STRATEGIES and STRATEGIES.get(strategy).trains_backbone == "none"

    def _to_batch(self, images: list[DecodedImage]) -> "Tensor":
        from lib.data.preprocessing import to_batch

        return to_batch(
            self.enhancement(np.stack([image.pixels for image in images])),
            size_px=int(self.preprocessing["input_size_px"]),
            mean=self.preprocessing["mean"],
            std=self.preprocessing["std"],
            device=self.device,
        )

    def _to_grade(self, image: DecodedImage, probabilities: np.ndarray, distance: float | None) -> Grade:
        status, reason = self._judge(image, distance)
        seen = Grade(
            name="",
            status=status,
            distance=float(distance) if distance is not None and np.isfinite(distance) else None,
            threshold=self.gate.threshold if self.gate else None,
            reason=reason,
            notices=image.notices if self.gate else (*image.notices, NOT_CHECKED),
            pixels=self.enhancement.framed(image.pixels[None])[0],
            seen=self.seen.role(image_id_of(image.sha256)),
        )
        if status != GRADED:
            return seen
        if not np.isfinite(probabilities).all():
            return replace(seen, status=REFUSED, reason="The network answers with no number; train the run again.")
        target = int(probabilities.argmax())
        if self.thresholds is not None:
            target = int(grades_by_thresholds(probabilities[None], self.thresholds)[0])
        return replace(
            seen,
            class_name=self.class_names[target],
            target=target,
            confidence=float(probabilities[target]),
            probabilities=dict(zip(self.class_names, map(float, probabilities), strict=True)),
        )

    def _judge(self, image: DecodedImage, distance: float | None) -> tuple[str, str]:
        """Status and reason before any class is looked at."""
        if float(image.pixels.std(axis=(0, 1)).max()) < _BLANK_STD:
            return UNLIKE, "The image is blank: its pixels all have nearly one colour."
        if distance is None or self.gate is None:
            return GRADED, ""
        numbers = f"feature distance {distance:.3f}, limit {self.gate.threshold:.3f}"
        if distance > self.gate.threshold:
            return UNLIKE, f"Unlike the training images: {numbers}."
        return GRADED, f"Like the training images: {numbers}."

    def _with_cams(self, grades: list[Grade], batch: "Tensor") -> list[Grade]:
        from lib.explain.attribution import grad_cam
        from lib.explain.network import map_stage_names

        rows = [row for row, grade in enumerate(grades) if grade.status == GRADED]
        stages = map_stage_names(self.classifier)
        if not rows or not stages:
            return grades
        targets = [grades[row].target or 0 for row in rows]
        cams = grad_cam(self.classifier, batch[rows], stage=stages[-1], target=targets)
        maps = dict(zip(rows, cams.maps, strict=True))
        return [replace(grade, cam=maps[row]) if row in maps else grade for row, grade in enumerate(grades)]
