"""One generated fundus photograph: the same case gives the same pixels, with and without its lesions."""

from dataclasses import dataclass, field

import numpy as np

from lib.data.fundus.anatomy import choose_eye
from lib.data.fundus.blood_vessels import paint_vessels
from lib.data.fundus.camera import choose_camera
from lib.data.fundus.exposure import UNGRADABLE_KINDS, choose_exposure, expose, field_means
from lib.data.fundus.lesion_drawing import paint_lesions, with_beading
from lib.data.fundus.lesion_plan import Lesion, plan_lesions
from lib.data.fundus.random_streams import BOTH_EYES, component_rng
from lib.data.fundus.retina import paint_retina
from lib.data.fundus.severity_scale import GRADE_NAMES, grade_from_lesions
from lib.data.fundus.vessels import grow_vessels


@dataclass(frozen=True)
class FundusCase:
    """What is to be photographed: one eye of one patient, with its grade (0 to 4)."""

    seed: int
    patient: int
    is_right: bool
    grade: int

    @property
    def laterality(self) -> str:
        """Which eye it is: "left" or "right"."""
        return "right" if self.is_right else "left"

    def rng(self, component: str) -> np.random.Generator:
        """This eye's stream of random numbers for one part of the picture."""
        return component_rng(self.seed, self.patient, int(self.is_right), component)

    def shared_rng(self, component: str) -> np.random.Generator:
        """The stream of what both eyes of the patient share."""
        return component_rng(self.seed, self.patient, BOTH_EYES, component)


@dataclass(frozen=True, eq=False)
class FundusPhotograph:
    """Pixels uint8 (h, w, 3), mask uint8 (h, w) of `LesionKind` values, and what is known of both."""

    pixels: np.ndarray
    mask: np.ndarray
    lesions: tuple[Lesion, ...] = field(default_factory=tuple)
    ungradable: str = ""  # what spoils the picture, one of `exposure.UNGRADABLE_KINDS`
    jpeg_quality: int = 90

    @property
    def grade(self) -> int:
        """The grade by the scale's rules, from the lesions that were drawn."""
        return grade_from_lesions((lesion.kind, lesion.quadrant) for lesion in self.lesions)


def draw_photograph(
    case: FundusCase, *, size_px: int, with_lesions: bool = True, ungradable: str = ""
) -> FundusPhotograph:
    """Draw one photograph, about `size_px` wide.

    Without lesions it is the twin: the same eye, light and noise. `ungradable` is one of
    `exposure.UNGRADABLE_KINDS`, or empty for a picture that can be graded.
    """
    camera = choose_camera(case.shared_rng("camera"), size_px)
    eye = choose_eye(case.shared_rng("anatomy"), case.rng("view"), is_right=case.is_right)
    vessels = grow_vessels(eye, case.rng("vessels"))
    planes = paint_retina(camera, eye, case.shared_rng("retina"), case.rng("retina"))
    reference = field_means(planes, camera)
    lesions: list[Lesion] = []
    if with_lesions:
        lesions = plan_lesions(case.grade, eye, camera, vessels, case.rng("lesions"))
    beaded = with_beading(vessels, lesions)
    paint_vessels(planes, beaded, camera, case.rng("blood"))
    visibility = float(case.rng("visibility").uniform(0.55, 1.0))
    mask = paint_lesions(planes, lesions, beaded, eye=eye, camera=camera, visibility=visibility)
    exposure = choose_exposure(case.shared_rng("exposure"), case.rng("exposure"), ungradable=ungradable)
    pixels = expose(planes, camera, exposure, reference=reference, rng=case.rng("photograph"))
    return FundusPhotograph(pixels, mask, tuple(lesions), exposure.ungradable, exposure.jpeg_quality)


def draw_example(grade: int, *, size_px: int = 512, seed: int = 0, is_ungradable: bool = False) -> FundusPhotograph:
    """Draw a single example of a grade (0 to 4), gradable unless asked otherwise.

    Raises ValueError for another grade.
    """
    if not 0 <= grade < len(GRADE_NAMES):
        raise ValueError(f"The grade must be 0 to {len(GRADE_NAMES) - 1}, not {grade}.")
    # Numbers of patients that no data set reaches.
    case = FundusCase(seed, 10**9 + grade, bool(seed % 2), grade)
    kind = UNGRADABLE_KINDS[seed % len(UNGRADABLE_KINDS)] if is_ungradable else ""
    return draw_photograph(case, size_px=size_px, ungradable=kind)
