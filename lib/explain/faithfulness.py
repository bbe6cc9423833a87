"""Does a map say what the network leaned on? Controls, removal curves and agreement of maps; arrays in, numbers out.

A map alone cannot be judged: places that any picture of an edge or the middle would name lower a score as well. So each
number here is meant to be read less that of controls (`control_maps`). Ranks only: how a map is scaled does not count.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from lib.explain.pictures import resample

FloatArray = np.ndarray[Any, np.dtype[np.float64]]
Answers = Callable[[FloatArray], FloatArray]  # images (N, 3, H, W) to the probability (N,) of what is explained

SHARES = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.75, 1.0)  # of the pixels that are removed or inserted
ROAD_SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)
ROAD_CELL_PX = 8  # pixels are imputed in squares of this side
_NOISE = 0.01  # of imputed values, as in the paper
_SMOOTH = 0.18  # of the side: the width of the centred Gaussian


def enlarge(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """A map (h, w) at the image's size (H, W), bilinear; maps of that size already stay as they are."""
    return np.asarray(values if values.shape == size else resample(values, size), dtype=np.float64)


def ranked(values: FloatArray, *, seed: int = 0) -> np.ndarray:
    """The indices of the places of a map, most relevant first; equal places in random order, drawn from the seed.

    An order by position would remove the top left corner first wherever a map is zero.
    """
    flat = np.asarray(values, dtype=np.float64).ravel()
    return np.lexsort((np.random.default_rng(seed).random(len(flat)), -flat))


def removed(values: FloatArray, share: float, *, seed: int = 0) -> np.ndarray:
    """Which places (h, w) the most relevant share is, exactly that share (rounded to whole places)."""
    order, mask = ranked(values, seed=seed), np.zeros(values.size, dtype=bool)
    mask[order[: round(share * values.size)]] = True
    return mask.reshape(values.shape)


def control_maps(image: FloatArray, cells: tuple[int, int], *, seed: int = 0) -> dict[str, FloatArray]:
    """What any map has to beat: an edge map, a centred Gaussian and a random map, each of `cells` (h, w).

    `image` is the brightness (H, W). As coarse as the map that is judged, since a coarse one is removed in lumps.
    """
    from scipy.ndimage import sobel

    edges = np.hypot(sobel(image, axis=0), sobel(image, axis=1))
    height, width = image.shape
    rows = (np.arange(height) + 0.5) / height - 0.5
    columns = (np.arange(width) + 0.5) / width - 0.5
    middle = np.exp(-(rows[:, None] ** 2 + columns[None] ** 2) / (2 * _SMOOTH**2))
    noise = np.random.default_rng(seed).random(cells)
    return {"edges": shrink(edges, cells), "middle": shrink(middle, cells), "random": noise}


def shrink(values: FloatArray, cells: tuple[int, int]) -> FloatArray:
    """The mean of (H, W) over each of `cells` (h, w)."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize(cells[::-1], Image.Resampling.BOX), dtype=np.float64)


@dataclass(frozen=True)
class Faithfulness:
    """What removing and inserting by a map does to the explained probability.

    Attributes:
        deletion: area under the probability while the most relevant pixels go first; lower is better.
        insertion: the same while they come first into a blurred image; higher is better.
        road: probability left after the least relevant went, less that after the most relevant, halved; higher is
            better.
    """

    deletion: float
    insertion: float
    road: float

    @property
    def gain(self) -> float:
        """All three as one number, higher is better: insertion less deletion, and ROAD, each between -1 and 1."""
        return (self.insertion - self.deletion + self.road) / 2

    def less(self, other: "Faithfulness") -> "Faithfulness":
        """The difference of each number to another's."""
        return Faithfulness(
            self.deletion - other.deletion, self.insertion - other.insertion, self.road - other.road
        )  # fmt: skip


def mean_faithfulness(found: "list[Faithfulness]") -> Faithfulness:
    """The mean of each number."""
    return Faithfulness(*(float(np.mean([getattr(one, name) for one in found])) for name in
                          ("deletion", "insertion", "road")))  # fmt: skip


def faithfulness(image: FloatArray, values: FloatArray, answers: Answers, *, seed: int = 0) -> Faithfulness:
    """Deletion and insertion (Petsiuk et al. 2018, arXiv:1806.07421) and ROAD (Rong et al. 2022, arXiv:2202.00449).

    Args:
        image: (3, H, W) as the network takes it.
        values: the map (h, w), higher is more relevant.
        answers: the probability of what is explained; called once.
        seed: of ties and of the noise in imputed pixels.
    """
    image = np.asarray(image, dtype=np.float32)
    size = image.shape[1:]
    order = ranked(enlarge(values, size), seed=seed)
    blurred = _blurred(image)
    images = [_mixed(blurred, image, order, share) for share in SHARES]  # the most relevant blurred away
    images += [_mixed(image, blurred, order, share) for share in SHARES]  # the most relevant coming in
    cells = (max(1, size[0] // ROAD_CELL_PX), max(1, size[1] // ROAD_CELL_PX))
    coarse = enlarge(shrink(enlarge(values, size), cells), cells)
    for share in ROAD_SHARES:
        images += [imputed(image, removed(sign * coarse, share, seed=seed), seed=seed) for sign in (1.0, -1.0)]
    found = np.asarray(answers(np.stack(images)), dtype=np.float64)
    count = len(SHARES)
    deletion, insertion = (float(np.trapezoid(part, SHARES)) for part in (found[:count], found[count : 2 * count]))
    most, least = found[2 * count :: 2], found[2 * count + 1 :: 2]
    return Faithfulness(deletion, insertion, float((least - most).mean() / 2))


def _blurred(image: FloatArray) -> FloatArray:
    from scipy.ndimage import gaussian_filter

    sigma = max(image.shape[1:]) / 12
    return np.stack([gaussian_filter(channel, sigma, mode="nearest") for channel in image])


def _mixed(first: FloatArray, second: FloatArray, order: np.ndarray, share: float) -> FloatArray:
    """`second` with its first places of `order` taken from `first`."""
    mixed = second.reshape(len(second), -1).copy()
    taken = order[: round(share * len(order))]
    mixed[:, taken] = first.reshape(len(first), -1)[:, taken]
    return mixed.reshape(second.shape)


def imputed(image: FloatArray, mask: np.ndarray, *, seed: int = 0) -> FloatArray:
    """The image (3, H, W) without the cells of `mask` (h, w): each becomes the weighted mean of its neighbours.

    Straight neighbours weigh 1/6, diagonal ones 1/12 (noisy linear imputation); the equations of all removed cells are
    solved together, so that no outline of the mask is left for the network to read.
    """
    from scipy.sparse import csr_matrix
    from scipy.sparse.linalg import spsolve

    height, width = mask.shape
    means = np.stack([shrink(channel, (height, width)) for channel in image])
    gone = np.flatnonzero(mask.ravel())
    if not len(gone):
        return image.copy()
    number = np.full(mask.size, -1)
    number[gone] = np.arange(len(gone))
    rows, columns, weights = [np.arange(len(gone))], [np.arange(len(gone))], [np.ones(len(gone))]
    known = np.zeros((3, len(gone)))
    total = np.zeros(len(gone))
    r, c = np.divmod(gone, width)
    neighbours = [(dr, dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1) if dr or dc]
    inside = {step: (r + step[0] >= 0) & (r + step[0] < height) & (c + step[1] >= 0) & (c + step[1] < width)
              for step in neighbours}  # fmt: skip
    share = {step: 1 / 12 if all(step) else 1 / 6 for step in neighbours}
    for step in neighbours:
        total += share[step] * inside[step]
    for step in neighbours:
        at = np.flatnonzero(inside[step])
        place = (r[at] + step[0]) * width + c[at] + step[1]
        weight = share[step] / total[at]
        unknown = number[place] >= 0
        rows.append(at[unknown])
        columns.append(number[place[unknown]])
        weights.append(-weight[unknown])
        for channel in range(3):
            known[channel, at[~unknown]] += weight[~unknown] * means[channel].ravel()[place[~unknown]]
    matrix = csr_matrix((np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns))))
    if len(gone) == mask.size:  # nothing is left to impute from: the mean colour
        values = np.repeat(means.mean(axis=(1, 2))[:, None], len(gone), axis=1)
    else:
        values = np.asarray(spsolve(matrix.tocsc(), known.T)).reshape(len(gone), 3).T
    spread = _NOISE * image.std()
    values = values + np.random.default_rng(seed).normal(0.0, spread, values.shape)
    return _filled(image, mask, values)


def _filled(image: FloatArray, mask: np.ndarray, values: FloatArray) -> FloatArray:
    size = image.shape[1:]
    cells = np.zeros((3, mask.size))
    cells[:, mask.ravel()] = values
    row = np.minimum(np.arange(size[0]) * mask.shape[0] // size[0], mask.shape[0] - 1)
    column = np.minimum(np.arange(size[1]) * mask.shape[1] // size[1], mask.shape[1] - 1)
    large = cells.reshape(3, *mask.shape)[:, row][:, :, column]
    return np.where(mask[row][:, column], large, image).astype(image.dtype)


def rank_correlation(first: FloatArray, second: FloatArray) -> float:
    """Spearman's correlation of two maps, the coarser one enlarged; NaN where one of them is constant."""
    from scipy.stats import spearmanr

    size = first.shape if first.size >= second.size else second.shape
    one, other = enlarge(first, size).ravel(), enlarge(second, size).ravel()
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(spearmanr(one, other).statistic)


def structural_similarity(first: FloatArray, second: FloatArray) -> float:
    """SSIM (Wang et al. 2004) of two maps of one shape, each scaled to 0..1; NaN below 3 x 3 cells."""
    from skimage.metrics import structural_similarity as ssim

    side = min(first.shape)
    if side < 3:
        return float("nan")
    window = min(7, side if side % 2 else side - 1)
    return float(ssim(_scaled(first), _scaled(second), win_size=window, data_range=1.0))


def _scaled(values: FloatArray) -> FloatArray:
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values, dtype=np.float64)


@dataclass(frozen=True)
class Localisation:
    """Where a map lies against a mask, and what a map without knowledge would reach by the mask's area.

    Attributes:
        area: the mask's share of the image.
        pointing: whether the most relevant place lies in the mask, or within one cell of it.
        pointing_chance: the share of the image that counts as a hit.
        mass: the share of the relevance inside the mask; by chance `area`.
        iou: overlap of the mask with as many of the most relevant pixels, over their union.
        iou_chance: the same of pixels drawn at random: a / (2 - a) for an area a.
    """

    area: float
    pointing: bool
    pointing_chance: float
    mass: float
    iou: float

    @property
    def iou_chance(self) -> float:
        """Of pixels drawn at random."""
        return self.area / (2 - self.area)


def localisation(values: FloatArray, mask: np.ndarray, *, seed: int = 0) -> Localisation | None:
    """A map (h, w) against a mask (H, W); None where the mask is empty or the map has no evidence.

    What speaks against the answer (below zero) has no mass.
    """
    from scipy.ndimage import maximum_filter

    positive = np.maximum(values, 0.0)
    if not mask.any() or positive.max() <= 0:
        return None
    size = (int(mask.shape[0]), int(mask.shape[1]))
    large = np.maximum(enlarge(positive, size), 0.0)
    cell = max(1, round(size[0] / values.shape[0])), max(1, round(size[1] / values.shape[1]))
    near = maximum_filter(mask, (2 * cell[0] + 1, 2 * cell[1] + 1))
    area = float(mask.mean())
    best = ranked(large, seed=seed)[0]
    chosen = removed(large, area, seed=seed)
    return Localisation(
        area=area,
        pointing=bool(near.ravel()[best]),
        pointing_chance=float(near.mean()),
        mass=float(large[mask].sum() / large.sum()),
        iou=float((chosen & mask).sum() / (chosen | mask).sum()),
    )
