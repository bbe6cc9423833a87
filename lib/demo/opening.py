"""The first picture: one eye of the demo through three networks, by a rule; shipped as files, shown without torch."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from lib.atomic import read_json, write_json
from lib.demo.recording import FOLDER, OPENING_FOLDER
from lib.training.strategies import STRATEGIES

if TYPE_CHECKING:
    from lib.data.dataset import Dataset
    from lib.data.input_transform import InputTransform
    from lib.grading.grader import Grader

EYE_FILE, ABOUT_FILE = "eye.jpg", "opening.json"
NETWORKS = ("pretrained", "tuned", "scratch")
TITLES = {"pretrained": "Pretrained", "tuned": "Tuned", "scratch": "From scratch"}
_MOST_LOOKED_AT = 60  # eyes
_NEAR = 1 / 64  # of the side: how far around a lesion a cell of a map still counts as on it


@dataclass(frozen=True, kw_only=True)
class View:
    """What one network makes of the eye.

    `on_lesions` is the share of its map that lies on lesions, `typical` the median over all eyes looked at of how far
    that goes beyond the lesions' share of the picture.
    """

    network: str
    strategy: str
    run_id: str
    score: float  # the network's probability of the true class
    on_lesions: float
    typical: float

    @property
    def file(self) -> str:
        """The picture's name."""
        return f"{self.network}.jpg"


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The eye, how it was chosen, and its three views; `lesion_area` is the share of the picture that lesions take."""

    folder: Path
    image_id: str
    class_name: str
    num_looked_at: int
    lesion_area: float
    finding: str
    views: tuple[View, ...]

    @property
    def rule(self) -> str:
        """How the eye was chosen, in a sentence."""
        return (
            f"Chosen by a rule: of the {self.num_looked_at} bleeding eyes of the test images that the tuned network "
            "grades right, the one whose map lies most on its lesions beyond what their area would give by chance. It "
            "is not typical: over all of them that surplus has a median of "
            + ", ".join(f"{view.typical:+.2f} ({TITLES[view.network].lower()})" for view in self.views)
            + "."
        )


def read_opening(folder: Path | None = None) -> Opening | None:
    """The picture of a recording, by default of the one that ships; None where there is none or it is damaged."""
    folder = (folder or FOLDER) / OPENING_FOLDER
    try:
        content: dict[str, Any] = read_json(folder / ABOUT_FILE)
        views = tuple(View(**view) for view in content.pop("views"))
        found = Opening(folder=folder, views=views, **content)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    files = [EYE_FILE, *(view.file for view in views)]
    return found if all((folder / name).is_file() for name in files) else None


def write_opening(folder: Path, dataset: "Dataset", runs: Mapping[str, str], kappas: Mapping[str, float]) -> bool:
    """Choose the eye and draw its maps; False where no eye fits the rule.

    Args:
        folder: of the recording.
        dataset: of the demo, with masks.
        runs: strategy -> run id; the probe (as the pretrained network with a new head), one or both kinds of
            fine-tuning, and training from scratch.
        kappas: strategy -> quadratic kappa on the test images, to say what was found.
    """
    from lib.explain.pictures import overlay, to_jpeg
    from lib.grading.grader import Grader

    tuned = max((name for name in ("partial_finetuning", "full_finetuning") if name in runs), key=kappas.__getitem__)
    strategies = dict(zip(NETWORKS, ("linear_probe", tuned, "from_scratch"), strict=True))
    graders = {name: Grader.open(runs[strategy], device="cpu") for name, strategy in strategies.items()}
    rows = _bleeding_eyes(dataset, graders["tuned"])
    if not len(rows):
        return False
    inputs = graders["tuned"].inputs  # the three see the same square
    lesions = [_lesions(inputs, dataset, row) for row in rows]
    maps = {name: [_map(grader, dataset, row) for row in rows] for name, grader in graders.items()}
    areas = np.array([where.mean() for where in lesions])
    shares = {name: np.array(list(map(_share_on, cams, lesions))) for name, cams in maps.items()}
    best = int((shares["tuned"] - areas).argmax())
    row = int(rows[best])
    target = int(dataset.table["target"].iloc[row])
    pixels = np.asarray(dataset.pixels[row])
    framed = inputs.framed(pixels)
    target_folder = folder / OPENING_FOLDER
    target_folder.mkdir(parents=True, exist_ok=True)
    (target_folder / EYE_FILE).write_bytes(to_jpeg(framed))
    views = []
    for name, grader in graders.items():
        view = View(
            network=name, strategy=strategies[name], run_id=runs[strategies[name]],
            score=float(grader.scores(pixels[None])[0][0][target]), on_lesions=float(shares[name][best]),
            typical=float(np.median(shares[name] - areas)),
        )  # fmt: skip
        (target_folder / view.file).write_bytes(to_jpeg(overlay(framed, maps[name][best])))
        views.append(view)
    opening = Opening(
        folder=target_folder, image_id=str(dataset.table["image_id"].iloc[row]), num_looked_at=len(rows),
        class_name=dataset.class_names[target], lesion_area=float(areas[best]), finding=finding(kappas, tuned),
        views=tuple(views),
    )  # fmt: skip
    write_json(target_folder / ABOUT_FILE, {key: value for key, value in asdict(opening).items() if key != "folder"})
    return True


def finding(kappas: Mapping[str, float], tuned: str) -> str:
    """What the demo found, in a sentence; whatever came of it."""
    borrowed, retrained, scratch = (kappas[name] for name in ("linear_probe", tuned, "from_scratch"))
    how = STRATEGIES.get(tuned).title.lower()
    best = "more" if retrained > borrowed else "no more"
    return (
        f"On the same drawn eyes, borrowed features with a new last layer reach a kappa of {borrowed:.2f}, {how} "
        f"{retrained:.2f}, {best} than that, and the same network from random weights {scratch:.2f}."
    )


def _bleeding_eyes(dataset: "Dataset", tuned: "Grader") -> np.ndarray:
    """Test images of the two gravest grades with lesions, which the tuned network grades right; at most so many."""
    targets = dataset.table["target"].to_numpy()
    is_asked = (dataset.split(0) == "test") & (targets >= dataset.spec.num_classes - 2)
    rows = [row for row in np.flatnonzero(is_asked) if (mask := dataset.mask(int(row))) is not None and mask.any()]
    if not rows:
        return np.array([], dtype=np.int64)
    asked = np.array(rows)[:_MOST_LOOKED_AT]
    answers = np.concatenate([tuned.scores(np.asarray(dataset.pixels[[row]]))[0].argmax(1) for row in asked])
    return asked[answers == targets[asked]]


def _map(grader: "Grader", dataset: "Dataset", row: int) -> np.ndarray:
    """Grad-CAM (h, w) of the true class at the last stage with a map."""
    from lib.explain.attribution import grad_cam
    from lib.explain.network import map_stage_names

    batch = grader.inputs.batch(np.asarray(dataset.pixels[[row]]), device=grader.device)
    stage, target = map_stage_names(grader.classifier)[-1], int(dataset.table["target"].iloc[row])
    return grad_cam(grader.classifier, batch, stage=stage, target=target).maps[0]


def _lesions(inputs: "InputTransform", dataset: "Dataset", row: int) -> np.ndarray:
    """Where lesions are, or next to one, bool (S, S), in the frame that the network sees."""
    from scipy.ndimage import maximum_filter

    mask = dataset.mask(row)
    assert mask is not None  # noqa: S101  (rows were chosen by it)
    framed = inputs.framed_mask(mask > 0)
    assert framed is not None  # noqa: S101  (the demo's networks see the whole retina)
    return maximum_filter(framed, size=2 * round(_NEAR * framed.shape[0]) + 1) > 0


def _share_on(cam: np.ndarray, lesions: np.ndarray) -> float:
    """The share of a map's evidence that lies on lesions; 0 for an empty map."""
    side = lesions.shape[0]
    large = np.asarray(Image.fromarray(cam.astype(np.float32)).resize((side, side), Image.Resampling.BILINEAR))
    total = float(large.sum())
    return float(large[lesions].sum()) / total if total > 0 else 0.0
