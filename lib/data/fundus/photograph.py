"""One generated fundus photograph: the same case gives the same pixels, with and without its lesions.

From reflectance to a photograph go colour, exposure, haze, blur, dust and noise, which are drawn apart from the grade.
"""

from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from lib.data.fundus.drawing import BOTH_EYES, Rng, component_rng, enlarged, smooth_noise
from lib.data.fundus.geometry import Camera, choose_camera, choose_eye, field_mask
from lib.data.fundus.lesion_drawing import paint_lesions, with_beading
from lib.data.fundus.lesion_plan import Lesion, plan_lesions
from lib.data.fundus.retina import paint_retina
from lib.data.fundus.vessels import grow_vessels, paint_vessels
from lib.data.grades import GRADE_NAMES, grade_from_lesions

# Channel means (0 to 255) over photographs: mean, deviation and correlation, between those of public collections.
_MEANS = np.array([139.0, 95.0, 68.0])
_DEVIATIONS = np.array([47.0, 34.0, 31.0])
_CORRELATION = np.array([[1.0, 0.84, 0.64], [0.84, 1.0, 0.90], [0.64, 0.90, 1.0]])
_LOWEST, _HIGHEST = (34, 20, 5), (232, 182, 160)
# Colour casts of makers and lamps: share of photographs, factors of red, green and blue.
_CASTS = (
    (0.42, (1.00, 1.00, 1.00)),  # warm orange
    (0.22, (1.12, 0.86, 0.72)),  # saturated red
    (0.18, (0.98, 1.04, 1.22)),  # pale pink
    (0.08, (0.97, 1.04, 0.65)),  # yellow
    (0.10, (0.86, 1.10, 0.84)),  # green, of older lamps
)
# Ranges of contrast, blur, noise and compression are set so that the statistics of `tests.checks.fundus` are those of
# photographs.
_CONTRAST = (0.90, 1.45)
_BLUR_PX = (0.5, 1.7, 1.5)  # at 512 px: lowest, highest, and the power by which draws crowd at the lowest
_SHARPENED_SHARE, _SHARPENING, _SHARPENING_PX = 0.16, (0.2, 0.6), 2.0  # by the camera: amount, and radius at 512 px
_NOISE = (0.6, 2.6)  # deviation in levels
_JPEG_QUALITIES = ((0.45, 40, 65), (0.40, 65, 86), (0.15, 86, 97))  # share, lowest, highest
_DUST = 0.6  # specks a photograph
_HALO_SHARE, _CRESCENT_SHARE = 0.45, 0.40
_SHOULDER = np.float32(190)
UNGRADABLE_KINDS = ("blurred", "underexposed", "overexposed", "covered by haze")
DEFAULT_UNGRADABLE_SHARE = 0.04


@dataclass(frozen=True)
class Exposure:
    """How one photograph was taken; `ungradable` names what spoils it, or is empty."""

    means: tuple[float, float, float]
    contrast: float
    blur_px: float  # at 512 px
    sharpening: float  # 0 for none
    noise: float
    jpeg_quality: int
    ungradable: str = ""


def choose_exposure(shared: Rng, own: Rng, *, ungradable: str = "") -> Exposure:
    """Draw colour, contrast, blur, noise and compression of a photograph that `ungradable` spoils, or nothing."""
    spread = np.linalg.cholesky(_CORRELATION)
    draw = spread @ (0.85 * shared.standard_normal(3) + 0.53 * own.standard_normal(3))
    means = np.clip(_MEANS + _DEVIATIONS * draw, _LOWEST, _HIGHEST)
    shares = [share for share, _ in _CASTS]
    means *= _CASTS[int(shared.choice(len(_CASTS), p=shares))][1]
    means[1] = min(means[1], 1.02 * means[0])
    means[2] = min(means[2], 0.84 * means[1])
    low, high, crowding = _BLUR_PX
    blur = float(low + (high - low) * own.uniform() ** crowding)
    shares = [share for share, _, _ in _JPEG_QUALITIES]
    _, worst, best = _JPEG_QUALITIES[int(shared.choice(len(_JPEG_QUALITIES), p=shares))]
    return Exposure(
        means=(float(means[0]), float(means[1]), float(means[2])),
        contrast=float(own.uniform(*_CONTRAST)),
        blur_px=blur,
        sharpening=float(own.uniform(*_SHARPENING)) if own.random() < _SHARPENED_SHARE else 0.0,
        noise=float(own.uniform(*_NOISE)),
        jpeg_quality=int(own.integers(worst, best)),
        ungradable=ungradable,
    )


def field_means(planes: np.ndarray, camera: Camera) -> np.ndarray:
    """Mean of each plane (3,) over the field, from every sixth pixel."""
    x, y = camera.grid()
    inside = np.hypot(x[:, ::6], y[::6]) < 0.95
    return np.array([plane[::6, ::6][inside].mean() for plane in planes])


def expose(planes: np.ndarray, camera: Camera, exposure: Exposure, *, reference: np.ndarray, rng: Rng) -> np.ndarray:
    """Turn relative reflectance (3, h, w) into a photograph, uint8 (h, w, 3).

    `reference` (3,) are the means of the retina without lesions, so that lesions do not move the exposure.
    """
    unit = camera.radius_px / 250
    shape = camera.shape
    small = (max(8, shape[0] // 4), max(8, shape[1] // 4))
    contrast, means, blur = exposure.contrast, np.array(exposure.means), exposure.blur_px
    veil: np.ndarray = np.zeros(small, dtype=np.float32)
    if exposure.ungradable == "blurred":
        blur = 5.0 + 4.0 * rng.random()
    elif exposure.ungradable == "underexposed":
        means = means * (0.20 + 0.12 * rng.random())
    elif exposure.ungradable == "overexposed":
        means = np.minimum(means * 2.3, 252)
    elif exposure.ungradable:
        contrast *= 0.25
        veil = 60 * np.clip(smooth_noise(small, 3, rng) + 0.6, 0, 2)
    dust, grain = _dust(camera, rng), _grain(shape, exposure.noise, rng)
    light, black = field_mask(camera), np.float32(rng.uniform(0, 5))
    fog = enlarged(veil + _haze(camera, small, rng), shape)
    picture = np.empty((*shape, 3), dtype=np.uint8)
    for channel, plane in enumerate(planes):
        level = plane * np.float32(contrast * means[channel] / reference[channel])
        level += np.float32((1 - contrast) * means[channel])
        level += fog * np.float32((0.65, 1.0, 1.05)[channel])
        level *= dust
        level = _blurred(level, blur * unit)
        if exposure.sharpening:
            level += np.float32(exposure.sharpening) * (level - _blurred(level, _SHARPENING_PX * unit))
        level += grain[channel]
        _roll_off(level)
        level -= black
        level *= light
        level += black + np.float32(0.5)
        picture[..., channel] = np.clip(level, 0, 255, out=level)
    return picture


def _blurred(plane: np.ndarray, sigma: float) -> np.ndarray:
    if sigma < 0.3:
        return plane
    return gaussian_filter(plane, sigma, truncate=3)


def _haze(camera: Camera, shape: tuple[int, int], rng: Rng) -> np.ndarray:
    """Light scattered by lens and lashes, in levels: often a pale crescent at one side of the rim, or a halo."""
    x, y = camera.grid(shape)
    draws = rng.uniform(size=6)
    angle = 2 * np.pi * draws[0]
    near = np.hypot(x - 1.25 * np.cos(angle), y - 1.25 * np.sin(angle))
    crescent = (draws[1] < _CRESCENT_SHARE) * 80 * draws[2] ** 2 * np.exp(-((near / 0.42) ** 2))
    gap = np.maximum(1 - np.hypot(x, y), 0) / (0.02 + 0.06 * draws[3])
    around = 0.6 + 0.4 * (x * np.cos(angle) + y * np.sin(angle))
    halo = (draws[4] < _HALO_SHARE) * 38 * draws[5] * around * np.exp(-gap)
    return np.asarray(crescent + halo, dtype=np.float32)


def _dust(camera: Camera, rng: Rng) -> np.ndarray:
    """Specks on the lens: blurred dark discs, rarely a bright ring; a factor (h, w)."""
    factor = np.ones(camera.shape, dtype=np.float32)
    for _ in range(int(rng.poisson(_DUST))):
        place = rng.uniform(-0.9, 0.9, 2)
        radius = rng.uniform(0.006, 0.03)
        depth = rng.uniform(0.06, 0.22) * (1 if rng.random() < 0.75 else -0.6)
        if window := camera.window(place, 2.2 * radius):
            x, y = camera.grid()
            distance = np.hypot(x[:, window[1]] - place[0], y[window[0]] - place[1])
            factor[window] *= 1 - depth * np.exp(-((distance / radius) ** 4))
    return factor


def _grain(shape: tuple[int, int], noise: float, rng: Rng) -> list[np.ndarray]:
    """Sensor noise in levels for red, green and blue: mostly brightness, a little colour, which demosaicing smears."""
    brightness = np.float32(0.9 * noise) * rng.standard_normal(shape, dtype=np.float32)
    half = (max(8, shape[0] // 2), max(8, shape[1] // 2))
    red, blue = (
        enlarged(np.float32(0.5 * noise) * rng.standard_normal(half, dtype=np.float32), shape) for _ in range(2)
    )
    return [brightness + red, brightness - np.float32(0.5) * red, brightness + blue]


def _roll_off(level: np.ndarray) -> None:
    """Compress highlights in place, as cameras do, so that the disc keeps its structure; 255 is never reached."""
    over = np.maximum(level - _SHOULDER, 0)
    level -= over
    room = np.float32(255 - _SHOULDER)
    over /= 1 + over / room
    level += over


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

    def rng(self, component: str) -> Rng:
        """This eye's stream of random numbers for one part of the picture."""
        return component_rng(self.seed, self.patient, int(self.is_right), component)

    def shared_rng(self, component: str) -> Rng:
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
