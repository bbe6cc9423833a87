"""The confusion matrices of the validation images, one an epoch, as a run has written them so far."""

import json

import numpy as np

from lib.tracking.state import CONFUSION_FILE, run_folder


def validation_confusions(run_id: str, prefix: str = "") -> dict[int, np.ndarray]:
    """Epoch -> counts (K, K), row = true class, column = predicted, in the order of the epochs.

    The last matrix of an epoch counts, since a resumed run repeats some; a line that a killed process left half
    written is passed over.

    Args:
        run_id: the run; one without matrices (an old one, a fitted head) has an empty answer.
        prefix: of the fold, such as "fold_1_"; "" without folds.
    """
    path = run_folder(run_id) / CONFUSION_FILE
    if not path.is_file():
        return {}
    found: dict[int, np.ndarray] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            entry = json.loads(line)
            if entry["prefix"] == prefix:
                found[int(entry["epoch"])] = np.asarray(entry["matrix"], dtype=np.int64)
        except (ValueError, KeyError, TypeError):
            continue
    return dict(sorted(found.items()))
