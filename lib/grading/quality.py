"""Whether a fundus photograph is good enough to be graded, by what kind of fault it is not, and how to take it again.

A multinomial logistic regression on the measures of `lib.data.photograph_quality`, fitted on generated eyes that are
spoiled on purpose; kept as numbers in `assets/fundus_quality.json` and made anew by
`python -m tests.checks.photograph_quality --fit`. Its limit is the conformal rank at 5 % of good eyes turned away.
"""

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.atomic import read_json
from lib.data.input_transform import InputTransform
from lib.data.photograph_quality import MEASURE_NAMES, WORKING_SIDE_PX, PhotographMeasures, measure_photograph
from lib.grading.grades import QualityReading
from lib.settings import ASSETS_DIR

MODEL_FILE = "fundus_quality.json"
_GOOD = ""
# How each kind of the generated set is called, and what to do about it.
_WORDS = {
    "blurred": (
        "Blurred: vessels and spots have no edges.",
        "Take it again: focus on the vessels beside the optic disc, and let the patient rest the head and look still.",
    ),
    "underexposed": (
        "Too dark: little light came back from the retina.",
        "Take it again: more flash, a wider pupil (wait in the dark, or drops), the camera centred on the pupil.",
    ),
    "overexposed": (
        "Too bright: the light of the retina is washed out.",
        "Take it again: less flash or gain.",
    ),
    "covered by haze": (
        "Covered by haze: the retina is pale and without contrast.",
        "Take it again: clean the lens, keep lashes away and the right distance; a cloudy lens of the eye stays so.",
    ),
}


@dataclass(frozen=True, eq=False)
class QualityModel:
    """A linear model: weights (K, D) and biases (K,) of standardised measures; the first kind is "" for good."""

    kinds: tuple[str, ...]
    centre: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    biases: np.ndarray
    limit: float
    false_alarm_rate: float
    num_calibration: int

    def probabilities(self, values: np.ndarray) -> np.ndarray:
        """(N, K) of measures (N, D)."""
        logits = (values - self.centre) / self.scale @ self.weights.T + self.biases
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))


@functools.cache
def quality_model() -> QualityModel:
    """The model that comes with the program."""
    content = read_json(ASSETS_DIR / MODEL_FILE)
    if tuple(content["measures"]) != MEASURE_NAMES:
        raise RuntimeError(f"{MODEL_FILE} was made for other measures; fit it again.")
    arrays: dict[str, Any] = {name: np.array(content[name]) for name in ("centre", "scale", "weights", "biases")}
    plain: dict[str, Any] = {name: content[name] for name in ("limit", "false_alarm_rate", "num_calibration")}
    return QualityModel(kinds=tuple(content["kinds"]), **arrays, **plain)


@dataclass(frozen=True)
class ReadQuality:
    """The reading of one picture; `is_eye` says that it is a fundus photograph, whatever its quality."""

    reading: QualityReading | None
    is_eye: bool = False


NOT_READ = ReadQuality(None)


def reads_quality(inputs: InputTransform) -> bool:
    """Whether quality is asked of a classifier's images: fundus photographs, kept large enough to see blur."""
    return inputs.crop_policy == "retina_box" and inputs.decoded_side_px >= WORKING_SIDE_PX


def read_quality(square: np.ndarray, measured: PhotographMeasures | None = None) -> ReadQuality:
    """The quality of a stored square (S, S, 3) that is cropped to the retina's box, by its measures if known."""
    model, measured = quality_model(), measured or measure_photograph(square)
    shares = model.probabilities(np.array([[measured.values[name] for name in MEASURE_NAMES]]))[0]
    good = model.kinds.index(_GOOD)
    score = float(1 - shares[good])
    values = {name: round(value, 4) for name, value in measured.values.items()}
    if score <= model.limit:
        return ReadQuality(QualityReading(score=score, limit=model.limit, measures=values), measured.is_eye)
    kind = max((share, name) for share, name in zip(shares, model.kinds, strict=True) if name != _GOOD)[1]
    reason, hint = _WORDS[kind]
    reading = QualityReading(
        score=score, limit=model.limit, kind=kind, reason=reason, hint=hint, measures=values
    )  # fmt: skip
    return ReadQuality(reading, measured.is_eye)
