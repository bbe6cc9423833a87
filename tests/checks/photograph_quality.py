"""What the gate of picture quality turns away, on generated eyes: `python -m tests.checks.photograph_quality [--fit]`.

With `--fit` the model in `assets/` is made anew from eyes of its own seeds, and its limit by their out-of-fold scores.
The table is of 1,000 good eyes and 100 of each kind of another seed, also at other sizes and compressions.
"""

import argparse
import csv
import io
import json
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from lib.data.fundus.generation import Spoiling, generate
from lib.data.fundus.photograph import UNGRADABLE_KINDS
from lib.data.images import decode_bytes
from lib.data.photograph_quality import MEASURE_NAMES, measure_photograph
from lib.grading.quality import MODEL_FILE, quality_model
from lib.settings import ASSETS_DIR

FIT_SEEDS, FIT_PER_CLASS, FIT_SHARE = (7001, 7002, 7003, 7004, 7005), 160, 0.4
CHECK_SEED, CHECK_PER_CLASS, CHECK_SHARE = 9301, 280, 2 / 7
FALSE_ALARMS = 0.05
SIDES_PX = (384, 288)


def drawn(folder: Path, *, seed: int, per_class: int, share: float) -> list[tuple[str, bytes]]:
    """(kind or "", file) of eyes that are drawn into a folder unless they are there."""
    if not (folder / "metadata.csv").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        generate(folder, per_class=per_class, size_px=512, seed=seed, spoiling=Spoiling(share))
    with (folder / "metadata.csv").open(encoding="utf-8", newline="") as opened:
        rows = [*csv.DictReader(opened)]
    return [(row["flags"].removeprefix("ungradable: "), (folder / row["path"]).read_bytes()) for row in rows]


def measures(data: bytes, side_px: int) -> list[float]:
    """The measures of a file, as a classifier with a store of that side reads it."""
    found = measure_photograph(decode_bytes(data, side_px=side_px, crop_policy="retina_box").pixels)
    return [found.values[name] for name in MEASURE_NAMES]


def fit(files: list[tuple[str, bytes]]) -> dict[str, object]:
    """The content of the model's file."""
    kinds = ("", *UNGRADABLE_KINDS)
    values = np.array([[measures(data, side) for side in SIDES_PX] for _, data in files])
    return fit_values(values, np.array([kinds.index(kind) for kind, _ in files]))


def fit_values(by_eye: np.ndarray, faults: np.ndarray) -> dict[str, object]:
    """The same of measures (N, sides, D) and faults (N,) as numbers, 0 for none."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GroupKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    kinds, values = ("", *UNGRADABLE_KINDS), by_eye.reshape(-1, by_eye.shape[-1])
    targets, groups = (np.repeat(one, len(SIDES_PX)) for one in (faults, np.arange(len(faults))))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    folds = cross_val_predict(model, values, targets, groups=groups, cv=GroupKFold(5), method="predict_proba")
    # One score an eye: the conformal rank counts eyes, not their two sizes.
    good = np.sort((1 - folds[:, 0]).reshape(-1, len(SIDES_PX))[targets[:: len(SIDES_PX)] == 0].max(axis=1))
    limit = good[int(np.ceil((len(good) + 1) * (1 - FALSE_ALARMS))) - 1]
    scaler, linear = model.fit(values, targets)
    parts = {"centre": scaler.mean_, "scale": scaler.scale_, "weights": linear.coef_, "biases": linear.intercept_}
    return {
        "format_version": 1, "measures": MEASURE_NAMES, "kinds": kinds, "limit": round(float(limit), 4),
        "false_alarm_rate": FALSE_ALARMS, "num_calibration": len(good),
        **{name: np.round(part, 6).tolist() for name, part in parts.items()},
    }  # fmt: skip


def variants(data: bytes) -> dict[str, bytes]:
    """The same photograph larger, smaller and compressed again."""
    image, made = Image.open(io.BytesIO(data)).convert("RGB"), {"as drawn": data}
    for name, factor, quality in (("1,024 px", 2.0, 90), ("384 px", 0.75, 90), ("JPEG 75", 1.0, 75)):
        size = (round(image.width * factor), round(image.height * factor))
        opened = io.BytesIO()
        image.resize(size, Image.Resampling.BICUBIC).save(opened, "JPEG", quality=quality)
        made[name] = opened.getvalue()
    return made


def interval(count: int, total: int) -> str:
    """A share in percent with its 95 % interval (Wilson)."""
    z, share = 1.96, count / total
    middle, spread = share + z * z / (2 * total), z * np.sqrt(share * (1 - share) / total + z * z / (4 * total**2))
    low, high = ((middle + sign * spread) / (1 + z * z / total) for sign in (-1, 1))
    return f"{100 * share:.1f} % ({100 * low:.1f} to {100 * high:.1f}; {count} of {total})"


def report(files: list[tuple[str, bytes]]) -> None:
    """Print what is turned away, by kind and by variant."""
    model, kinds = quality_model(), np.array([kind for kind, _ in files])
    for side in SIDES_PX:
        values = np.array([measures(data, side) for _, data in files])
        stopped = 1 - model.probabilities(values)[:, 0] > model.limit
        print(f"store of {side} px")
        groups = {
            "false alarms": ("",),
            "blur": ("blurred",),
            "light": UNGRADABLE_KINDS[1:3],
            "haze": (UNGRADABLE_KINDS[3],),
        }
        for name, members in {**groups, **{kind: (kind,) for kind in UNGRADABLE_KINDS[1:3]}}.items():
            chosen = stopped[np.isin(kinds, members)]
            print(f"  {name}: {interval(int(chosen.sum()), len(chosen))}")
    some = [files[row] for row in np.random.default_rng(0).permutation(len(files))[:200]]
    found: dict[str, list[bool]] = {}
    for _, data in some:
        for name, file in variants(data).items():
            score = 1 - model.probabilities(np.array([measures(file, SIDES_PX[0])]))[0, 0]
            found.setdefault(name, []).append(bool(score > model.limit))
    for name, answers in found.items():
        flipped = int(np.sum(np.array(answers) != found["as drawn"]))
        print(f"{name}: {flipped} of {len(answers)} verdicts differ from the file as drawn")


def main() -> None:
    """Fit if asked, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--folder", type=Path, help="keep the drawn eyes here")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        if asked.fit:
            files = [
                file
                for seed in FIT_SEEDS
                for file in drawn(folder / f"fit_{seed}", seed=seed, per_class=FIT_PER_CLASS, share=FIT_SHARE)
            ]
            (ASSETS_DIR / MODEL_FILE).write_text(json.dumps(fit(files)) + "\n", encoding="utf-8")
        report(drawn(folder / "check", seed=CHECK_SEED, per_class=CHECK_PER_CLASS, share=CHECK_SHARE))


if __name__ == "__main__":
    main()
