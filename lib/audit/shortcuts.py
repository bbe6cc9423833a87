"""Can the class be read off something that it should not depend on: size, colour, file, border or camera alone?

For each family of facts a random forest answers images that it has not seen (patients and copies stay in one fold).
What it reaches is a balanced accuracy, beside what the same answers reach on labels that were shuffled.
"""

from collections import Counter
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from lib.audit.audited import AuditedImages, NotMeasured
from lib.audit.findings import NOTABLE, SERIOUS, Finding
from lib.data.decoder_pool import DecoderPool, num_decoders
from lib.data.splits import held_out_folds
from lib.errors import BadImage

MIN_UNITS = 10  # of a class
_NUM_FOLDS, _NUM_TREES, _MIN_LEAF = 5, 50, 5
_MOST_FITTED = 5000  # images: a forest on more would say the same to the last digit that is shown
_MOST_CAMERAS = 20
_NUM_SHUFFLED = 500
_BORDER_SHARE = 0.05
_AT_A_TIME = 256
# How far of the way from chance to perfect it must be.
_LEAST, _STRONG = 0.2, 0.5

FAMILIES = {
    "size": ("Width, height and shape of the original", "the size of the originals"),
    "file": ("Size of the file, and bytes a pixel", "the size of the files"),
    "colour": ("Mean and spread of red, green and blue", "colour and light"),
    "border": ("Mean and spread of the outermost twentieth", "the border"),
    "camera": ("Make and model that the originals name", "the camera"),
}


def shortcuts(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """One finding for each family that tells the classes apart better than chance; all families in the sentence."""
    rows, targets, units = _rows_to_fit(audited)
    facts, missing = _facts(audited, rows)
    found, said = [], []
    for done, (family, values) in enumerate(facts.items()):
        audited.progress(done, len(facts), "Looking for shortcuts")
        told, words = told_apart(values, targets, units), FAMILIES[family][1]
        if told is None:
            raise NotMeasured("No folds were found that hold every class with patients and copies kept together.")
        said.append(f"{words} {told.words}")
        if told.way < _LEAST:
            continue
        partly = "" if told.way >= _STRONG else "partly "
        found.append(
            Finding(
                kind="shortcuts",
                severity=SERIOUS if told.way >= _STRONG else NOTABLE,
                score=told.score,
                sentence=f"By {words} alone the class can {partly}be told: balanced accuracy {told.words} on "
                f"{len(rows)} images. Measured: {FAMILIES[family][0].lower()}.",
                action=_ACTIONS[family],
            )
        )
    sentence = f"Balanced accuracy of each alone, and where chance lies: {', '.join(said)}."
    why_not = (f"Not measured: {FAMILIES[family][1]} ({why})." for family, why in missing.items())
    return found, len(rows), " ".join([sentence, *why_not])


_ACTIONS = {
    "size": "Find out why classes differ in size; cut and scale the originals alike.",
    "file": "Re-encode all originals alike, and see whether it stays.",
    "colour": "If colour is not what the class is about, train with an augmentation of colour, and test on another "
    "source.",
    "border": "Look at the borders (frames, text, black); crop them off.",
    "camera": "Classes come from different cameras: mix them, or test on images of a camera that was not trained on.",
}  # fmt: skip


def _rows_to_fit(audited: AuditedImages) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, targets and units (n,) of the classes that have enough."""
    rows, targets = audited.labelled, audited.targets
    if len(audited.dataset.class_names) < 2:
        raise NotMeasured("There is one class only, so there is nothing to tell apart.")
    pairs = np.unique(np.stack([targets[rows], audited.units[rows]]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(audited.dataset.class_names))
    rows = rows[np.isin(targets[rows], np.flatnonzero(counts >= MIN_UNITS))]
    if len(np.unique(targets[rows])) < 2:
        raise NotMeasured(f"Too few images: at least {MIN_UNITS} of each of two classes (or patients) are needed.")
    if len(rows) > _MOST_FITTED:
        rows = np.sort(np.random.default_rng(0).choice(rows, _MOST_FITTED, replace=False))
    return rows, targets[rows], audited.units[rows]


@dataclass(frozen=True)
class ToldApart:
    """A balanced accuracy, and where 99 of 100 lie that answer by chance: of the same answers to shuffled labels.

    95 of 100 for each of five families would find one by chance in every fifth set.
    """

    score: float
    chance: float
    low: float
    high: float

    @property
    def way(self) -> float:
        """How far of the way from chance to perfect; 0 where chance alone may be the reason."""
        return (self.score - self.chance) / (1 - self.chance) if self.score > self.high else 0.0

    @property
    def words(self) -> str:
        """The score and its chance, for a sentence."""
        return f"{self.score:.2f} (chance {self.low:.2f} to {self.high:.2f})"


def told_apart(values: np.ndarray, targets: np.ndarray, units: np.ndarray) -> ToldApart | None:
    """What a forest reaches on values (n, D) out of fold; None where no folds hold every class.

    Labels are shuffled by whole units (n,), so that images of one patient count as little as they do.
    """
    from sklearn.ensemble import RandomForestClassifier

    classes, numbers = np.unique(targets, return_inverse=True)
    folds = held_out_folds(numbers, units, np.arange(len(numbers)), most=_NUM_FOLDS, seed=0)
    if not folds:
        return None
    answers = np.zeros(len(numbers), dtype=np.int64)
    for held in folds:
        learned = np.setdiff1d(np.arange(len(numbers)), held)
        forest = RandomForestClassifier(
            _NUM_TREES, min_samples_leaf=_MIN_LEAF, class_weight="balanced", random_state=0, n_jobs=1
        ).fit(values[learned], numbers[learned])
        answers[held] = forest.predict(values[held])
    members = np.split(np.argsort(units, kind="stable"), np.flatnonzero(np.diff(np.sort(units))) + 1)
    rows, random = np.concatenate(members), np.random.default_rng(0)
    drawn = []
    for _ in range(_NUM_SHUFFLED):
        shuffled = np.empty_like(numbers)
        shuffled[rows] = numbers[np.concatenate([members[place] for place in random.permutation(len(members))])]
        drawn.append(_recall(answers, shuffled, len(classes)))
    low, high = np.quantile(drawn, [0.005, 0.995])
    return ToldApart(_recall(answers, numbers, len(classes)), 1 / len(classes), float(low), float(high))


def _recall(answers: np.ndarray, targets: np.ndarray, num_classes: int) -> float:
    """The mean over classes of the share that is answered rightly."""
    right = np.bincount(targets[answers == targets], minlength=num_classes)
    return float((right / np.bincount(targets, minlength=num_classes)).mean())


def _facts(audited: AuditedImages, rows: np.ndarray) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Values (n, D) of each family that can be measured, and why the others cannot."""
    table, missing = audited.table.iloc[rows], {}
    width, height = (table[side].to_numpy(dtype=np.float64) for side in ("width", "height"))
    num_bytes = table["num_bytes"].to_numpy(dtype=np.float64)
    facts: dict[str, np.ndarray] = {}
    size = np.stack([width, height, width / height], axis=1)
    file = np.stack([num_bytes, num_bytes / (width * height)], axis=1)
    for family, values in (("size", size), ("file", file)):
        if (values == values[0]).all():
            missing[family] = "all are alike"
        else:
            facts[family] = values
    facts["colour"], facts["border"] = _seen(audited, rows)
    cameras = _cameras(audited, rows)
    if isinstance(cameras, str):
        missing["camera"] = cameras
    else:
        facts["camera"] = cameras
    return facts, missing


def _seen(audited: AuditedImages, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation of the channels (n, 6), of the whole square and of its border."""
    whole, border = [], []
    for start in range(0, len(rows), _AT_A_TIME):
        audited.progress(start, len(rows), "Reading colours")
        pixels = np.asarray(audited.dataset.pixels[rows[start : start + _AT_A_TIME]])
        width = max(1, round(_BORDER_SHARE * pixels.shape[1]))
        inside = pixels[:, ::4, ::4].reshape(len(pixels), -1, 3)
        edges = (pixels[:, :width], pixels[:, -width:], pixels[:, :, :width], pixels[:, :, -width:])
        edge = np.concatenate([part[:, ::2, ::2].reshape(len(pixels), -1, 3) for part in edges], axis=1)
        whole.append(_moments(inside))
        border.append(_moments(edge))
    return np.concatenate(whole), np.concatenate(border)


def _moments(pixels: np.ndarray) -> np.ndarray:
    values = pixels.astype(np.float32)
    return np.concatenate([values.mean(1), values.std(1)], axis=1)


def _cameras(audited: AuditedImages, rows: np.ndarray) -> np.ndarray | str:
    """Make and model, one column each (n, D); a sentence where they are not known."""
    paths = [audited.originals[row] for row in rows]
    if not any(paths):
        return "the originals are not there"
    found: list[str] = [""] * len(rows)
    files = {place: path for place, path in enumerate(paths) if path is not None}
    with DecoderPool(num_decoders(len(files))) as pool, closing(pool.glance_in_order(files.values())) as headers:
        for done, (place, header) in enumerate(zip(files, headers, strict=True)):
            audited.progress(done, len(files), "Reading cameras")
            if not isinstance(header, BadImage):
                found[place] = header.camera
    names = [name for name, _ in Counter(found).most_common(_MOST_CAMERAS)]
    if not any(names):
        return "no original names its camera"
    if len(names) < 2:
        return f"all were taken by {names[0]}"
    return np.array([[one == name for name in names] for one in found], dtype=np.float64)
