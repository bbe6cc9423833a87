"""How alike an image is to those that a classifier was trained on: comparisons with their limits, nearest cases."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.features.judge import JUDGE, Judge, default_judge
from lib.grading.grades import DomainDistance, NearestCase
from lib.models.gate import OWN_STAGES, Gate

if TYPE_CHECKING:
    from lib.models.classifier import Classifier, Poolings

_PICTURE_PX = 192
_OTHER_NETWORK = "The gate of this classifier belongs to another network; train the run again."
Readings = Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Likeness:
    """What the gate says of one image.

    Attributes:
        distance: to the training images, within `limit` where it passes; None without a gate. Of several comparisons
            it is the largest, in units of its limit.
        domain: every comparison.
        similarities: (M,) to the training images that are kept, by which the nearest of them are found.
    """

    distance: float | None = None
    limit: float | None = None
    domain: tuple[DomainDistance, ...] = ()
    similarities: np.ndarray | None = None

    @property
    def is_passed(self) -> bool:
        """Whether nothing is beyond its limit."""
        return self.distance is None or self.limit is None or self.distance <= self.limit

    @property
    def numbers(self) -> str:
        """The comparison that comes nearest to its limit, or is farthest beyond, in words; "" without a gate."""
        if self.distance is None or self.limit is None:
            return ""
        if not self.domain:
            return f"feature distance {self.distance:.3f}, limit {self.limit:.3f}"
        worst = max(self.domain, key=lambda one: one.value / one.limit)
        said = f"{worst.title[:1].lower()}{worst.title[1:]}"
        what = "" if said.startswith("energy") else ": distance"
        return f"{said}{what} {worst.value:.3f}, limit {worst.limit:.3f}"


class DomainGate:
    """The gate of a classifier at work, with the network whose features it compares."""

    def __init__(self, gate: Gate, classifier: "Classifier", manifest: Mapping[str, Any], *, device: str) -> None:
        """Check that the gate is of this classifier.

        Raises:
            UserError: it is of another one, or of a network that this program does not know.
        """
        self.gate, self.manifest, self.device = gate, manifest, device
        widths = [one.reference.shape[1] for one in gate.stages]
        if not gate.stages:
            if gate.reference.shape[1] != classifier.head_options["feature_dim"]:
                raise UserError(_OTHER_NETWORK)
        elif gate.judge == OWN_STAGES:
            names = [one.name for one in gate.stages]
            channels = [classifier.spec.stage(name).num_channels for name in names if name in classifier.stages]
            if channels != widths:
                raise UserError(_OTHER_NETWORK)
        elif gate.judge != JUDGE:
            raise UserError(
                f"The gate of this classifier compares features of {gate.judge!r}, which this program does not use; "
                "update the program or run: python -m lib calibrate --run ID"
            )
        self.own_poolings: Poolings = {}
        if gate.judge == OWN_STAGES:
            from lib.models.classifier import stage_poolings

            self.own_poolings = stage_poolings(classifier.spec, [one.name for one in gate.stages])

    @cached_property
    def judge(self) -> Judge | None:
        """The network that is asked beside the classifier; None where its own stages say it."""
        return default_judge(self.device) if self.gate.judge == JUDGE else None

    def likenesses(
        self, pixels: np.ndarray, vectors: np.ndarray, read: Readings, probabilities: np.ndarray
    ) -> list[Likeness]:
        """Of each of N images.

        Args:
            pixels: stored squares (N, S, S, 3).
            vectors: what the head read, (N, D).
            read: pooled outputs of the classifier's own stages, where these are compared.
            probabilities: the network's own, (N, K).
        """
        gate = self.gate
        if not gate.stages:
            return [Likeness(float(one), gate.threshold) for one in gate.distance(vectors)]
        readings = self.judge.read(pixels) if self.judge else read
        comparisons, similarities = gate.compare(readings, probabilities)
        found = []
        for row, compared in enumerate(comparisons):
            domain = tuple(DomainDistance(title=title, value=value, limit=limit) for title, value, limit in compared)
            ratio = max(one.value / one.limit for one in domain)
            found.append(Likeness(ratio, gate.threshold, domain, similarities[row]))
        return found

    def cases(
        self, similarities: np.ndarray | None, image_id: str, num: int, *, is_seen: bool
    ) -> tuple[NearestCase, ...]:
        """The nearest training images, without the image itself and, as far as is known, its own patient.

        Args:
            similarities: of the image, as `Likeness` has them.
            image_id: of the image.
            num: how many at most.
            is_seen: whether it is of the classifier's own data set.
        """
        images = self.gate.images
        if images is None or similarities is None or num < 1:
            return ()
        others = self._same_patient(image_id) if is_seen and image_id not in images.image_ids else ()
        nearest = self.gate.nearest(similarities, num, images.is_related(image_id, others))
        return tuple(
            NearestCase(
                image_id=images.image_ids[row], class_name=images.class_names[images.targets[row]], distance=distance
            )
            for row, distance in nearest
        )

    def _same_patient(self, image_id: str) -> Sequence[str]:
        dataset = _dataset_of(*_origin(self.manifest))
        if dataset is None:
            return ()
        table = dataset.table
        group = table["group_id"][table["image_id"] == image_id]
        if group.empty or group.isna().any():
            return ()
        return [str(one) for one in table["image_id"][table["group_id"] == group.iloc[0]]]


def case_picture(manifest: Mapping[str, Any], image_id: str) -> bytes | None:
    """A training image as JPEG of 192 px, from its data set where that is here as it was; else None."""
    dataset = _dataset_of(*_origin(manifest))
    if dataset is None or image_id not in set(dataset.table["image_id"]):
        return None
    return bytes(dataset.thumbnail(int(dataset.indices([image_id])[0]), _PICTURE_PX))


def _origin(manifest: Mapping[str, Any]) -> tuple[str, str]:
    about = manifest.get("dataset")
    return (str(about.get("name")), str(about.get("version"))) if isinstance(about, dict) else ("", "")


@lru_cache(maxsize=4)
def _opened(name: str, version: str) -> Any:
    return open_dataset(name, version=version)


def _dataset_of(name: str, version: str) -> Any | None:
    try:
        return _opened(name, version) if name else None
    except UserError:
        return None
