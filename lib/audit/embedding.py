"""Checks on the features of a pretrained network: labels that are likely wrong, and images unlike their class.

A label is judged by a probe that was fitted without the image, its patient and its copies. Confident learning
(Northcutt et al. 2021, arXiv 1911.00068) decides how many are doubted: an image whose probability of another class is
at least what that class's own images have on average, and larger than that of every other such class. Beside those,
what the probe takes for another class is shown among the `_MOST_SUSPICIOUS` by margin: where classes are easy, few
images reach the average of theirs. A weak probe is often wrong itself, so of it no more than those are shown.
"""

from dataclasses import dataclass

import numpy as np

from lib.audit.audited import AuditedImages, NotMeasured
from lib.audit.findings import MINOR, NOTABLE, SERIOUS, Finding
from lib.data.splits import held_out_folds

MIN_UNITS = 5  # patients (or images that stand alone) of a class: with fewer, no fold is left to judge them by
_NUM_FOLDS = 5
_NUM_COMPONENTS = 256  # of the features, where images are many: the fits would take minutes
_MANY = 2000
_MOST_SUSPICIOUS, _SURE = 30, 0.9
# Of the way from chance to perfect: below the first a probe says nothing, below the second its doubts are mostly wrong.
_LEAST_WAY, _STRONG_WAY = 0.1, 0.5
_STEP = "Looking for wrong labels"


@dataclass(frozen=True, eq=False)
class Doubts:
    """Out-of-fold answers of the probe.

    Attributes:
        rows: the images that were judged (n,).
        probabilities: (n, K); 0 for classes that were not judged.
        accuracy: share of them whose label the probe gives, the mean over classes.
        chance: one over the number of classes that were judged.
    """

    rows: np.ndarray
    probabilities: np.ndarray
    accuracy: float
    chance: float

    @property
    def way(self) -> float:
        """How far the probe came on the way from chance to perfect."""
        return (self.accuracy - self.chance) / (1 - self.chance)


def out_of_fold(audited: AuditedImages, features: np.ndarray) -> Doubts:
    """Fit the probe on all folds but one, and judge that one, for each; patients and copies stay in one fold.

    Raises:
        NotMeasured: fewer than two classes have enough images.
    """
    targets, rows = audited.targets, audited.labelled
    pairs = np.unique(np.stack([targets[rows], audited.units[rows]]), axis=1)
    counts = np.bincount(pairs[0], minlength=len(audited.dataset.class_names))
    judged = np.flatnonzero(counts >= MIN_UNITS)
    if len(audited.dataset.class_names) < 2:
        raise NotMeasured("There is one class only, so no label can be another one.")
    if len(judged) < 2:
        raise NotMeasured(f"Too few images: at least {MIN_UNITS} of each of two classes (or patients) are needed.")
    rows = rows[np.isin(targets[rows], judged)]
    folds = held_out_folds(targets, audited.units, rows, most=_NUM_FOLDS, seed=0)
    if not folds:
        raise NotMeasured("No folds were found that hold every class with patients and copies kept together.")
    values = _reduced(features[rows]) if len(rows) > _MANY else features[rows]
    place = {int(row): number for number, row in enumerate(rows)}
    probabilities = np.zeros((len(rows), len(counts)))
    for done, fold in enumerate(folds):
        audited.progress(done, len(folds), _STEP)
        held = np.array([place[int(row)] for row in fold])
        learned = np.setdiff1d(np.arange(len(rows)), held)
        model = probe(values[learned], targets[rows[learned]])
        probabilities[np.ix_(held, model[-1].classes_)] = model.predict_proba(values[held])
    is_right = probabilities.argmax(1) == targets[rows]
    accuracy = float(np.mean([is_right[targets[rows] == k].mean() for k in judged]))
    return Doubts(rows, probabilities, accuracy, 1 / len(judged))


def probe(features: np.ndarray, targets: np.ndarray):  # type: ignore[no-untyped-def]  # noqa: ANN201
    """A logistic regression on standardised features (n, D), fitted to targets (n,)."""
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from threadpoolctl import threadpool_limits

    # On one thread: products this small end before a second one has woken.
    model = make_pipeline(StandardScaler(), LogisticRegression(C=10 / features.shape[1], tol=1e-3, max_iter=200))
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features.astype(np.float64), targets)


def _reduced(features: np.ndarray) -> np.ndarray:
    from sklearn.decomposition import PCA

    if features.shape[1] <= _NUM_COMPONENTS:
        return features
    return np.asarray(PCA(_NUM_COMPONENTS, svd_solver="randomized", random_state=0).fit_transform(features))


def margins(doubts: Doubts, targets: np.ndarray) -> np.ndarray:
    """How much more probable another class is than the given one, (n,), from -1 to 1."""
    given = doubts.probabilities[np.arange(len(doubts.rows)), targets]
    others = doubts.probabilities.copy()
    others[np.arange(len(doubts.rows)), targets] = -1.0
    return np.asarray(others.max(1) - given)


def confident_errors(probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The class (n,) that confident learning takes an image for where it is not its own; -1 elsewhere.

    Args:
        probabilities: out of fold (n, K).
        targets: the given classes (n,).
    """
    num_classes = probabilities.shape[1]
    limits = np.array(
        [probabilities[targets == k, k].mean() if (targets == k).any() else np.inf for k in range(num_classes)]
    )
    sure = np.where(probabilities >= limits, probabilities, -1.0)
    best = sure.argmax(1)
    return np.where((sure.max(1) >= 0) & (best != targets), best, -1)


def label_errors(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Labels that the probe doubts, the most suspicious first."""
    if len(audited.dataset.class_names) < 2:
        raise NotMeasured("There is one class only, so no label can be another one.")
    doubts = out_of_fold(audited, audited.features)
    targets = audited.targets[doubts.rows]
    suspected, margin = confident_errors(doubts.probabilities, targets), margins(doubts, targets)
    reached = f"{100 * doubts.accuracy:.1f} % of the labels of {len(doubts.rows)} images (mean over classes; chance is "
    reached += f"{100 * doubts.chance:.1f} %)"
    if doubts.way < _LEAST_WAY:
        raise NotMeasured(
            f"A probe on features of {audited.backbone} gives only {reached} back: its doubts would say nothing."
        )
    found, is_weak = [], doubts.way < _STRONG_WAY
    for rank, place in enumerate(np.argsort(-margin, kind="stable")):
        is_suspicious = rank < _MOST_SUSPICIOUS and margin[place] > 0
        if not is_suspicious and (is_weak or suspected[place] < 0):
            continue
        other = int(suspected[place] if suspected[place] >= 0 else doubts.probabilities[place].argmax())
        found.append(_doubted(audited, doubts, int(place), other, float(margin[place]), is_weak=is_weak))
    said = f"A probe on features of {audited.backbone} gives {reached} back without having seen them."
    if is_weak:
        said += (
            f" That is weak: where it differs, mostly the probe is wrong, so only the {_MOST_SUSPICIOUS} most "
            "suspicious are listed. Another backbone may see more."
        )
    return found, len(doubts.rows), said


def _doubted(
    audited: AuditedImages, doubts: Doubts, place: int, other: int, margin: float, *, is_weak: bool
) -> Finding:
    """One label that the probe doubts."""
    names, row = audited.dataset.class_names, int(doubts.rows[place])
    given, probability = int(audited.targets[row]), float(doubts.probabilities[place, other])
    is_near = audited.dataset.spec.is_ordinal and abs(other - given) == 1
    beside = " That is one grade away, where graders often differ." if is_near else ""
    return Finding(
        kind="label_errors",
        severity=MINOR if is_near or is_weak else SERIOUS if probability >= _SURE else NOTABLE,
        image_ids=audited.ids([row]),
        score=margin,
        exclude=audited.ids([row]),
        sentence=f"{audited.named(row)} is labelled {names[given]}; the probe says {names[other]} with probability "
        f"{probability:.2f} and {names[given]} with {doubts.probabilities[place, given]:.2f}.{beside}",
        action=f"Look at it; relabel it to {names[other]}, exclude it, or leave it.",
        relabel_to=audited.dataset.class_sources[other],
    )


_NEIGHBOURS = 5
_FAR = 6.0  # deviations (robust) above the median of the class
_MIN_CLASS = 20


def outliers(audited: AuditedImages) -> tuple[list[Finding], int, str]:
    """Images far from the nearest others of their class, in the features of a pretrained network."""
    from sklearn.neighbors import NearestNeighbors

    targets, rows = audited.targets, audited.labelled
    classes = [own for k in np.unique(targets[rows]) if len(own := rows[targets[rows] == k]) >= _MIN_CLASS]
    if not classes:
        raise NotMeasured(f"Too few images: at least {_MIN_CLASS} of one class are needed.")
    features, found = audited.features, []
    for own in classes:
        values = features[own]
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
        distances = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(values).kneighbors(values)[0][:, 1:].mean(1)
        centre = float(np.median(distances))
        spread = 1.4826 * float(np.median(np.abs(distances - centre)))
        deviations = (distances - centre) / max(spread, 1e-9)
        for place in np.flatnonzero(deviations >= _FAR):
            row = int(own[place])
            found.append(
                Finding(
                    kind="outliers",
                    severity=NOTABLE,
                    image_ids=audited.ids([row]),
                    score=float(deviations[place]),
                    exclude=audited.ids([row]),
                    action="Look whether it belongs to the data set; exclude it if not.",
                    sentence=f"{audited.named(row)} is {deviations[place]:.1f} deviations farther from its nearest "
                    f"{_NEIGHBOURS} of {audited.class_of(row)} than is usual there.",
                )
            )
    return found, sum(map(len, classes)), ""
