"""Grades images with a finished run: readable, then like the training images, then class and probabilities."""

import copy
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lib.data.images import DecodedImage
from lib.data.input_transform import InputTransform
from lib.data.statistics import quality_words
from lib.errors import BadImage, UserError
from lib.evaluation.calibration import checked_coverage
from lib.evaluation.headline import Score
from lib.evaluation.verdict import GRADED, REFUSED, UNGRADABLE, UNLIKE, Verdict, decide
from lib.explain.methods import DEFAULT_METHOD, METHODS
from lib.features.engine import FrozenPart, batch_size_of
from lib.features.frozen_stages import FrozenStages
from lib.grading.decision import cutoff_of, decide_next, point_fits
from lib.grading.domain import DomainGate, Likeness, case_picture
from lib.grading.grades import (
    NOT_CHECKED,
    ROTATED,
    ROTATED_CALIBRATED,
    USUAL_OPTIONS,
    Decision,
    Grade,
    GradingOptions,
    NearestCase,
    ReportHeader,
)
from lib.grading.imported import sound_manifest
from lib.grading.manifest import (
    decision_limits,
    find_bundle,
    is_medical,
    manifest_calibration,
    manifest_class_names,
    manifest_engine,
    manifest_num_folds,
)
from lib.grading.model_card import card_sentences
from lib.grading.operating_point import OperatingPoint, read_operating_point
from lib.grading.quality import NOT_READ, ReadQuality, read_quality, reads_quality
from lib.models.bundle_files import unpacked_bundle
from lib.models.gate import GATE_FILE, Gate, false_alarm_range, load_gate
from lib.models.heads import HEADS
from lib.models.seen_images import SeenImages, image_id_of
from lib.precision import autocast
from lib.progress import Progress, ignore_progress
from lib.runtime import pick_device
from lib.tracking.state import PREDICTIONS_FILE
from lib.training.preparation import seen_by
from lib.training.strategies import keeps_stages

if TYPE_CHECKING:
    from torch import Tensor

    from lib.data.photograph_quality import PhotographMeasures
    from lib.explain.method_spec import MethodSpec
    from lib.models.classifier import Classifier

Named = tuple[str, Path | bytes]
MAX_PICTURED = 100  # files whose report shows their nearest training images
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
        operating_point: OperatingPoint | None = None,
        run: str = "",
        predictions: Path | None = None,
        device: str = "cpu",
        options: GradingOptions = USUAL_OPTIONS,
    ) -> None:
        self.classifier = classifier.to(device).eval()
        self.manifest = manifest
        self.gate = gate
        self.seen = seen or SeenImages(is_complete=False)
        self.operating_point = operating_point
        self.run = run
        self._predictions = predictions
        self._cards: dict[float, tuple[str, ...]] = {}  # by coverage
        self.device = device
        self.class_names = manifest_class_names(manifest, classifier.num_classes)
        self.calibration = manifest_calibration(manifest, classifier.num_classes)
        self.options = _checked_options(options)
        self.thresholds = decision_limits(manifest, classifier.num_classes) if options.by_thresholds else None
        self.preprocessing: dict[str, Any] = manifest["preprocessing"]
        self.inputs = InputTransform.of(self.preprocessing)
        name, stage = manifest_engine(manifest)
        is_on = name == "onnx" and device == "cpu" and stage in classifier.stages
        engine, last = ("onnx", stage) if is_on else ("torch", classifier.feature_stage)
        self.network = FrozenStages(self.classifier.stages, size_px=self.inputs.size_px, engine=engine, last=last)
        # Weights and seed say nothing on the speed of a network, and a trial is known without them.
        part = FrozenPart(classifier.spec.name, "", 0, last, self.inputs.size_px, self._dtype)
        self.batch_size = batch_size_of(part, engine, device)
        self.domain = None if gate is None else DomainGate(gate, classifier, manifest, device=device)

    @classmethod
    def open(
        cls, run_or_bundle: str | Path, *, device: str = "auto", options: GradingOptions = USUAL_OPTIONS
    ) -> "Grader":
        """Load the classifier of a run (id or its beginning) or of a bundle (folder or zip).

        With `options.by_thresholds` an image gets the grade that its expected grade reaches, by limits fitted on the
        answers in validation, instead of the most probable one.

        Raises:
            UserError: no such run or bundle, a run that has no classifier yet, or a damaged bundle.
        """
        from lib.models.bundles import load_bundle

        path, run = find_bundle(run_or_bundle)
        with unpacked_bundle(path) as folder, nullcontext() if run else sound_manifest(path.name):
            loaded = load_bundle(folder)
            gate = load_gate(folder / GATE_FILE) if (folder / GATE_FILE).is_file() else None
            seen = seen_by(folder, loaded.manifest, path.parent / PREDICTIONS_FILE if run else None)
            point = read_operating_point(folder)
        return cls(
            loaded.classifier, loaded.manifest, gate=gate, seen=seen, operating_point=point, run=run,
            predictions=path.parent / PREDICTIONS_FILE if run else None, device=pick_device(device), options=options,
        )  # fmt: skip

    def deciding(self, options: GradingOptions) -> "Grader":
        """The same network, gate and preprocessing with other choices.

        Raises:
            UserError: the classifier has no limits of the expected grade, and they are to decide; a coverage, a size
                of sets or a prevalence that there is not.
        """
        other, number = copy.copy(self), self.classifier.num_classes
        other.options = _checked_options(options)
        other.thresholds = decision_limits(self.manifest, number) if options.by_thresholds else None
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
            is_medical=is_medical(self.manifest),
            false_alarm_rate=self.gate.false_alarm_rate if self.gate else None,
            num_calibration=self.gate.num_calibration if self.gate else 0,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            is_by_expected_grade=self.thresholds is not None,
            is_calibrated=self.calibration is not None,
            knows_seen_images=self.seen.is_complete,
            split_caveat=str(about.get("split_caveat") or ""),
            num_folds=manifest_num_folds(self.manifest),
            result=_result_words(self.manifest),
            dataset_version=str(about.get("version") or "") if isinstance(dataset, dict) else "",
            operating_point=self.operating_point.sentence if self.operating_point else "",
            calibration_card=self.calibration_card,
            false_alarm_range=false_alarm_range(self.gate.num_calibration) if self.gate else None,
        )

    @property
    def calibration_card(self) -> tuple[str, ...]:
        """What its calibration is worth, a sentence each; its intervals take a second, once."""
        coverage = self.options.coverage
        if coverage not in self._cards:
            self._cards[coverage] = card_sentences(
                self.manifest, len(self.class_names), coverage=coverage, predictions=self._predictions
            )
        return self._cards[coverage]

    @property
    def has_maps(self) -> bool:
        """Whether there is a network with maps; hand-made measures and networks of tokens have none."""
        return bool(self.classifier.spec.map_stages)

    @property
    def map_method(self) -> "MethodSpec":
        """How its maps are made: the method that the bundle names, Grad-CAM where it names none."""
        return METHODS.get(str(self.manifest.get("map_method") or DEFAULT_METHOD))

    @property
    def has_cam(self) -> bool:
        """Whether its method of maps fits this classifier."""
        return not self.map_method.misfit(self.classifier)

    @property
    def why_no_cam(self) -> str:
        """Why there is no map of this classifier, as the beginning of a sentence; "" where there is."""
        if self.has_cam:
            return ""
        stages = self.classifier.spec.stages
        if any(stage.output == "tokens" for stage in stages):
            return "This network works on tokens, not on maps"
        if not self.has_maps:
            return "This run has no network"
        if not HEADS.get(self.classifier.head_options["name"]).is_differentiable:
            return "This head passes no gradient to the image"
        return self.map_method.misfit(self.classifier).rstrip(".")

    @property
    def is_ordinal(self) -> bool | None:
        """Whether the classes are grades in their order; None in a bundle that does not say."""
        dataset = self.manifest.get("dataset")
        said = dataset.get("is_ordinal") if isinstance(dataset, dict) else None
        return None if said is None else bool(said)

    def grade(
        self,
        items: Iterable[Named],
        *,
        progress: Progress = ignore_progress,
    ) -> Iterator[Grade]:
        """Grade named files, given as paths or as bytes of unknown origin; one grade each, in the same order.

        With `options.with_maps` each graded image has its map, where the classifier has maps.
        """
        waiting, done = list(items), 0
        pool = self.inputs.kept_decoders(is_measured=reads_quality(self.inputs))
        # While the network looks at one batch, the next ones are decoded and measured beside it.
        with closing(pool.decode_in_order([source for _, source in waiting])) as decoded:
            while part := list(islice(decoded, self.batch_size)):
                graded = iter(self._grade_images([image for image in part if isinstance(image, DecodedImage)]))
                for image in part:
                    refused = isinstance(image, BadImage)
                    grade = Grade("", status=REFUSED, reason=str(image)) if refused else next(graded)
                    yield replace(grade, name=waiting[done][0])
                    done += 1
                    progress(done, len(waiting), "Grading images")

    def answer(self, pixels: np.ndarray, *, is_own: bool = False) -> Verdict:
        """The verdict on one stored square (S, S, 3), as `grade` gives it for the file that it came from.

        `is_own` says that it belongs to the data set that the network was trained on: it is never turned away, but its
        distance is told.
        """
        scores, looks = self._scores(pixels[None], self.inputs.batch(pixels[None], device=self.device))
        return self._decide(pixels, scores[0], looks[0], is_own=is_own, quality=self._quality(pixels))

    def scores(self, pixels: np.ndarray) -> tuple[np.ndarray, list[float | None]]:
        """Probabilities (N, K) and distances to the training images (None without a gate) of squares (N, S, S, 3)."""
        scores, looks = self._scores(pixels, self.inputs.batch(pixels, device=self.device))
        return scores, [look.distance for look in looks]

    def case_picture(self, image_id: str) -> bytes | None:
        """The picture (JPEG) of a training image that `Grade.cases` names, where its data set is at hand; slow."""
        return case_picture(self.manifest, image_id)

    def with_case_pictures(self, grades: Sequence[Grade]) -> list[Grade]:
        """The same with pictures of their nearest training images, for reports; of long ones none has them."""
        if len(grades) > MAX_PICTURED:
            return list(grades)
        pictures = {one.image_id: b"" for grade in grades for one in grade.cases}
        pictures = {image_id: self.case_picture(image_id) or b"" for image_id in pictures}
        return [
            replace(grade, cases=tuple(replace(one, jpeg=pictures[one.image_id] or None) for one in grade.cases))
            for grade in grades
        ]

    def _scores(self, pixels: np.ndarray, batch: "Tensor") -> tuple[np.ndarray, list[Likeness]]:
        import torch

        from lib.models.classifier import as_vectors

        with torch.inference_mode():
            parts = batch.split(self.batch_size)
            whole = [self._read(part) for part in parts]
            features = torch.cat([one for one, _ in whole])
            read = {name: torch.cat([one[name] for _, one in whole]).cpu().numpy() for name in whole[0][1]}
            upright = probabilities = self._probabilities(features)
            if self.options.rotations:  # the gate judges the upright image, as it met the training images
                turned = [
                    torch.cat([self._read(torch.rot90(part, turns, (2, 3)).contiguous())[0] for part in parts])
                    for turns in (1, 2, 3)
                ]
                probabilities = (upright + sum(self._probabilities(one) for one in turned)) / 4
        if self.domain is None:
            return probabilities, [Likeness()] * len(probabilities)
        vectors = as_vectors(features).cpu().numpy()
        return probabilities, self.domain.likenesses(pixels, vectors, read, upright)

    def _grade_images(self, images: list[DecodedImage]) -> list[Grade]:
        """Grades without names of readable images."""
        if not images:
            return []
        pixels = np.stack([image.pixels for image in images])
        batch = self.inputs.batch(pixels, device=self.device)
        probabilities, looks = self._scores(pixels, batch)
        qualities = [self._quality(image.pixels, image.measures) for image in images]
        roles = self.seen.roles([image_id_of(image.sha256) for image in images])
        grades = [
            Grade.of(
                self._decide(image.pixels, probabilities[row], looks[row], quality=qualities[row]),
                notices=(*image.notices, *self._notices),
                seen=str(roles[row]),
                sha256=image.sha256,
                pixels=self.inputs.framed(image.pixels),
                domain=looks[row].domain,
                quality=qualities[row].reading,
            )
            for row, image in enumerate(images)
        ]
        grades = [replace(grade, decision=self.decision(grade)) for grade in grades]
        grades = [
            grade if grade.status == UNLIKE else replace(grade, cases=self._cases(looks[row], images[row], grade))
            for row, grade in enumerate(grades)
        ]
        return self._with_cams(grades, batch) if self.options.with_maps and self.has_cam else grades

    def decision(self, verdict: Verdict) -> Decision | None:
        """What to do next; None where the image is unlike the training images, or nothing says what to refer.

        Ordered grades say it, and an operating point that was stored for two classes.
        """
        if not self.is_ordinal and not point_fits(self.operating_point, self.class_names):
            return None
        cutoff = cutoff_of(self.class_names, point=self.operating_point, calibration=self.calibration)
        return decide_next(verdict, self.class_names, cutoff=cutoff, prevalence=self.options.prevalence)

    @property
    def _notices(self) -> tuple[str, ...]:
        """What is said of every image by these options."""
        rotated = (ROTATED_CALIBRATED if self.calibration else ROTATED,) if self.options.rotations else ()
        return (*rotated, *(() if self.gate else (NOT_CHECKED,)))

    def _cases(self, look: Likeness, image: DecodedImage, grade: Grade) -> tuple[NearestCase, ...]:
        if self.domain is None:
            return ()
        image_id = image_id_of(image.sha256)
        return self.domain.cases(look.similarities, image_id, self.options.num_cases, is_seen=bool(grade.seen))

    def _read(self, batch: "Tensor") -> "tuple[Tensor, dict[str, Tensor]]":
        """What the head reads, by the engine and in the precision in which head and gate met it; stages on the way."""
        wanted = self.domain.own_poolings if self.domain else {}
        with autocast(self.device, self._dtype):
            hidden, read = self.network.read(batch, self.classifier.feature_stage, wanted)
        return self.classifier.pooled(hidden.float()), read

    def _probabilities(self, features: "Tensor") -> np.ndarray:
        found: np.ndarray = self.classifier.head(features).float().softmax(1).cpu().numpy().astype(np.float64)
        return found

    @property
    def _dtype(self) -> str:
        is_frozen = keeps_stages(str(self.manifest.get("strategy")))
        return str(self.preprocessing.get("dtype", "float32")) if is_frozen else "float32"

    def _quality(self, pixels: np.ndarray, measures: "PhotographMeasures | None" = None) -> ReadQuality:
        return read_quality(pixels, measures) if reads_quality(self.inputs) else NOT_READ

    def _decide(
        self,
        pixels: np.ndarray,
        scores: np.ndarray,
        look: Likeness,
        *,
        is_own: bool = False,
        quality: ReadQuality = NOT_READ,
    ) -> Verdict:
        status, reason = self._judge(pixels, look, is_own=is_own)
        # An eye too blurred or dark is also unlike the training images; how to take it again says more than that.
        is_like = status == GRADED and self.gate is not None
        if not is_own and quality.reading and not quality.reading.is_passed and (is_like or quality.is_eye):
            status, reason = UNGRADABLE, f"{quality.reading.reason} {quality.reading.hint}"
        seen = Verdict(
            status=status,
            distance=look.distance if look.distance is not None and np.isfinite(look.distance) else None,
            threshold=look.limit,
            reason=reason,
        )
        return decide(
            scores, self.class_names, limits=self.thresholds, seen=seen, calibration=self.calibration,
            coverage=self.options.coverage, largest_set=self.options.largest_set,
        )  # fmt: skip

    def _judge(self, pixels: np.ndarray, look: Likeness, *, is_own: bool) -> tuple[str, str]:
        """Status and reason before any class is looked at."""
        numbers = look.numbers
        if is_own:
            known = "An image of the data set that this network was trained on"
            return GRADED, f"{known}: {numbers}." if numbers else f"{known}."
        if _is_blank(pixels):
            return UNLIKE, "The image is blank: its pixels all have nearly one colour."
        if not numbers:
            return GRADED, ""
        if not look.is_passed:
            words = quality_words(pixels, self.manifest.get("picture_quality"))
            than = f"{words} than nearly all of them; " if words else ""
            return UNLIKE, f"Unlike the training images: {than}{numbers}."
        return GRADED, f"Looks like the training images: {numbers}."

    def _with_cams(self, grades: list[Grade], batch: "Tensor") -> list[Grade]:
        from lib.explain.attribution_map import attribute
        from lib.explain.network import default_map_stage

        rows = [row for row, grade in enumerate(grades) if grade.status == GRADED]
        if not rows:
            return grades
        targets = [grades[row].target or 0 for row in rows]  # of the verdict: what card and table name
        stage = default_map_stage(self.classifier) if self.map_method.is_at_stage else None
        found = attribute(self.classifier, batch[rows], method=self.map_method.name, stage=stage, target=targets)
        maps = {row: one.scaled.clip(0, 1) for row, one in zip(rows, found, strict=True)}
        return [
            replace(grade, cam=maps[row], map_stage=stage or "") if row in maps else grade
            for row, grade in enumerate(grades)
        ]


def _is_blank(pixels: np.ndarray) -> bool:
    """Whether a square (S, S, 3) has nearly one colour: no channel has more than sensor noise."""
    counts = np.array(Image.fromarray(pixels).histogram(), dtype=np.float64).reshape(3, 256)
    shares, levels = counts / counts.sum(1, keepdims=True), np.arange(256)
    means = shares @ levels
    return bool((shares @ levels**2 - means**2).max() < _BLANK_STD**2)


def _checked_options(options: GradingOptions) -> GradingOptions:
    checked_coverage(options.coverage)
    if options.largest_set is not None and options.largest_set < 1:
        raise UserError(f"The largest set must hold 1 class at least, received {options.largest_set}.")
    if options.prevalence is not None and not 0 < options.prevalence < 1:
        raise UserError(f"The prevalence must lie between 0 and 1, received {options.prevalence:g}.")
    return options


def _result_words(manifest: dict[str, Any]) -> str:
    """What the classifier reached on its test images, in a line; "" in a bundle that is older than that."""
    score = Score.of(manifest["result"]) if isinstance(manifest.get("result"), dict) else None
    return f"{score.words}; n = {score.num}" if score else ""
