"""What an audit finds of planted problems: `python -m tests.checks.audit_planted FOLDER [--backbone B] [--work PATH]`.

FOLDER has one sub-folder a class. A fifth of its images becomes test/, the rest train/; then 20 training images are
copied into test/ (5 exactly, 5 re-encoded, 5 at another size, 5 mirrored), 10 labels are swapped, 5 images are darkened
and 5 blurred. Printed are precision and recall of each kind, and what is reported on the folder as it was, split alike.
With --libraries, which are not among the requirements (pip install cleanvision cleanlab imagehash), also theirs.
"""

import argparse
import contextlib
import io
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter, ImageOps

from lib.audit.audited import AuditedImages
from lib.audit.auditing import AuditQuestion, audit
from lib.audit.embedding import confident_errors, margins, out_of_fold
from lib.audit.findings import SERIOUS, AuditReport
from lib.data.dataset import Dataset
from lib.data.importing import import_folder
from lib.errors import UserError

WAYS = ("exact", "re-encoded", "resized", "mirrored")
EACH, SWAPPED, SPOILED = 5, 10, 5


@dataclass
class Planted:
    """What was planted, by path below the folder.

    Attributes:
        root: of train/ and test/.
        copies: way -> pairs of copy and original.
        swapped: files under a wrong class.
        spoiled: "dark" or "blurred" -> files.
    """

    root: Path
    copies: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    swapped: list[str] = field(default_factory=list)
    spoiled: dict[str, list[str]] = field(default_factory=dict)


def plant(folder: Path, target: Path, *, with_problems: bool, seed: int = 0) -> Planted:
    """Write train/ and test/ of a folder of classes into `target`, with the problems or without."""
    random = np.random.default_rng(seed)
    classes = sorted(path.name for path in folder.iterdir() if path.is_dir())
    placed: list[tuple[str, str, Path]] = []  # split, class, file
    for name in classes:
        files = sorted(path for path in (folder / name).iterdir() if path.is_file())
        order = random.permutation(len(files))
        num_test = len(files) // 5
        placed += [("test" if turn < num_test else "train", name, files[place]) for turn, place in enumerate(order)]
    training = [number for number, one in enumerate(placed) if one[0] == "train"]
    chosen = random.permutation(training)
    to_copy, rest = chosen[: len(WAYS) * EACH], chosen[len(WAYS) * EACH :]
    swapped, dark, blurred = rest[:SWAPPED], rest[SWAPPED : SWAPPED + SPOILED], rest[SWAPPED + SPOILED :][:SPOILED]
    planted = Planted(target)
    for number, (split, name, file) in enumerate(placed):
        own = name
        if with_problems and number in swapped:
            own = classes[(classes.index(name) + 1) % len(classes)]
        key = f"{split}/{own}/{file.name}"
        path = target / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            raise SystemExit(f"{path} exists already; give an empty folder.")
        if with_problems and number in dark:
            _save(Image.open(file).convert("RGB").point(lambda value: value * 0.12), path)
            planted.spoiled.setdefault("dark", []).append(key)
        elif with_problems and number in blurred:
            image = Image.open(file).convert("RGB")
            _save(image.filter(ImageFilter.GaussianBlur(min(image.size) / 40)), path)
            planted.spoiled.setdefault("blurred", []).append(key)
        else:
            path.write_bytes(file.read_bytes())
        if with_problems and number in swapped:
            planted.swapped.append(key)
    for turn, number in enumerate(to_copy if with_problems else ()):
        _, name, file = placed[number]
        way = WAYS[turn // EACH]
        key = f"test/{name}/copy_{turn:02d}.jpg"
        _copy(file, target / key, way)
        planted.copies.setdefault(way, []).append((key, f"train/{name}/{file.name}"))
    return planted


def _save(image: Image.Image, path: Path) -> None:
    image.save(path, "JPEG", quality=90)


def _copy(file: Path, path: Path, way: str) -> None:
    if way == "exact":
        path.write_bytes(file.read_bytes())
        return
    image = Image.open(file).convert("RGB")
    if way == "resized":
        image = image.resize((image.width * 6 // 10, image.height * 6 // 10))
    elif way == "mirrored":
        image = ImageOps.mirror(image)
    image.save(path, "JPEG", quality=60 if way == "re-encoded" else 90)


def import_planted(planted: Planted, name: str) -> Dataset:
    """Import it as a data set of the library."""
    try:
        return import_folder(planted.root, name=name)
    except UserError as error:
        raise SystemExit(str(error)) from None


@dataclass(frozen=True)
class Score:
    """What a tool found of one kind."""

    tool: str
    kind: str
    found: int
    right: int
    planted: int

    def line(self) -> str:
        """As a row of a table."""
        precision = f"{self.right / self.found:.2f}" if self.found else "-"
        return f"| {self.kind} | {self.tool} | {self.right} of {self.planted} | {self.found} | {precision} |"


def audit_scores(report: AuditReport, dataset: Dataset, planted: Planted) -> list[Score]:
    """What the audit found of each kind."""
    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))
    pairs = [
        {*(paths[one] for one in finding.image_ids), *finding.files}
        for finding in report.findings
        if finding.kind.startswith("copies_") or finding.kind == "exact_copies"
    ]
    every = [pair for way in planted.copies.values() for pair in way]
    scores = []
    for way, own in planted.copies.items():
        right = sum(any(set(pair) <= found for found in pairs) for pair in own)
        scores.append(Score("audit", f"copies, {way}", right, right, len(own)))
    right = sum(any(set(pair) <= found for pair in every) for found in pairs)
    scores.append(Score("audit", "copies, all", len(pairs), right, len(every)))
    doubted = [paths[one.image_ids[0]] for one in report.of_kind("label_errors")]
    top = sum(path in planted.swapped for path in doubted[:30])
    scores.append(Score("audit", "labels, 30 most suspicious", min(30, len(doubted)), top, len(planted.swapped)))
    hits = sum(path in planted.swapped for path in doubted)
    scores.append(Score("audit", "labels, all doubted", len(doubted), hits, len(planted.swapped)))
    sure = [paths[one.image_ids[0]] for one in report.of_kind("label_errors") if one.severity == SERIOUS]
    hits = sum(path in planted.swapped for path in sure)
    scores.append(Score("audit", "labels, to fix before training", len(sure), hits, len(planted.swapped)))
    for kind in ("dark", "blurred"):
        found = [paths[one.image_ids[0]] for one in report.of_kind(kind)]
        own = planted.spoiled.get(kind, [])
        scores.append(Score("audit", kind, len(found), sum(path in own for path in found), len(own)))
    for kind in ("bright", "low_contrast", "odd_shape", "outliers", "unreadable", "groups_across_splits", "shortcuts"):
        scores.append(Score("audit", kind, len(report.of_kind(kind)), 0, 0))
    return scores


def label_scores(dataset: Dataset, planted: Planted, backbone: str) -> list[Score]:
    """cleanlab's rankings and sets against the own, on the same out-of-fold probabilities."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    audited = AuditedImages(dataset, 0, backbone)
    doubts = out_of_fold(audited, audited.features)
    targets, paths = audited.targets[doubts.rows], audited.paths[doubts.rows]
    is_wrong = np.isin(paths, planted.swapped)
    scores, num = [], len(planted.swapped)

    def ranked(tool: str, suspicion: np.ndarray) -> None:
        right = int(is_wrong[np.argsort(-suspicion, kind="stable")[:30]].sum())
        scores.append(Score(tool, "labels, 30 most suspicious", 30, right, num))

    def chosen(tool: str, mask: np.ndarray) -> None:
        scores.append(Score(tool, "labels, all doubted", int(mask.sum()), int((mask & is_wrong).sum()), num))

    started = time.process_time()
    ranked("own margin", margins(doubts, targets))
    chosen("own confident learning", confident_errors(doubts.probabilities, targets) >= 0)
    own_s, started = time.process_time() - started, time.process_time()
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        ranked(f"cleanlab {method}", -get_label_quality_scores(targets, doubts.probabilities, method=method))
    for method in ("prune_by_noise_rate", "confident_learning", "predicted_neq_given"):
        chosen(f"cleanlab {method}", find_label_issues(targets, doubts.probabilities, filter_by=method, n_jobs=1))
    print(f"probe {doubts.accuracy:.3f}; own {own_s:.2f} s, cleanlab {time.process_time() - started:.2f} s of CPU time")
    return scores


def cleanvision_scores(planted: Planted) -> list[Score]:
    """What cleanvision reports, at its own limits."""
    from cleanvision import Imagelab

    files = sorted(str(path) for path in planted.root.rglob("*") if path.is_file())
    lab = Imagelab(filepaths=files)
    with contextlib.redirect_stderr(io.StringIO()):
        lab.find_issues(n_jobs=1, verbose=False)
    short = {file: str(Path(file).relative_to(planted.root)) for file in files}
    every = [set(pair) for way in planted.copies.values() for pair in way]
    sets: list[set[str]] = []
    for kind in ("exact_duplicates", "near_duplicates"):
        sets += [{short[file] for file in one} for one in lab.info[kind]["sets"]]
    scores = [
        Score("cleanvision", f"copies, {way}", right, right, len(own))
        for way, own in planted.copies.items()
        for right in [sum(any(set(pair) <= found for found in sets) for pair in own)]
    ]
    right = sum(any(pair <= found for pair in every) for found in sets)
    scores.append(Score("cleanvision", "copies, all", len(sets), right, len(every)))
    for ours, theirs in (
        ("dark", "dark"), ("blurred", "blurry"), ("bright", "light"), ("low_contrast", "low_information"),
        ("odd_shape", "odd_aspect_ratio"),
    ):  # fmt: skip
        issues = lab.issues[f"is_{theirs}_issue"]
        found = [short[str(file)] for file in issues.index[issues]]
        own = planted.spoiled.get(ours, [])
        scores.append(Score("cleanvision", ours, len(found), sum(path in own for path in found), len(own)))
    return scores


def imagehash_scores(planted: Planted) -> list[Score]:
    """Perceptual hashes within some bits, also of the mirrored picture."""
    import imagehash

    files = sorted(path for path in planted.root.rglob("*") if path.is_file())
    names = [str(path.relative_to(planted.root)) for path in files]
    images = [Image.open(path).convert("RGB") for path in files]
    plain = np.array([imagehash.phash(image).hash.ravel() for image in images])
    turned = np.array([imagehash.phash(ImageOps.mirror(image)).hash.ravel() for image in images])
    every = {frozenset(pair): way for way, pairs in planted.copies.items() for pair in pairs}
    scores = []
    distance = np.minimum(
        (plain[:, None] != plain[None]).sum(-1), (turned[:, None] != plain[None]).sum(-1)
    )  # fmt: skip
    for bits in (4, 8, 12):
        found = [
            frozenset((names[first], names[second]))
            for first, second in np.argwhere(distance <= bits)
            if first < second
        ]
        tool = f"imagehash phash, {bits} bits, mirrored too"
        for way in planted.copies:
            right = sum(every.get(pair) == way for pair in found)
            scores.append(Score(tool, f"copies, {way}", right, right, len(planted.copies[way])))
        scores.append(Score(tool, "copies, all", len(found), sum(pair in every for pair in found), len(every)))
    return scores


def main() -> None:
    """Plant, import, audit, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--backbone", action="append")
    parser.add_argument("--work", type=Path, help="where to write, kept afterwards; else a temporary folder and home")
    parser.add_argument("--libraries", action="store_true", help="beside cleanvision, cleanlab and imagehash")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        if options.work is None:
            os.environ["TRANSFERSCOPE_HOME"] = str(work / "home")
        backbones = options.backbone or ["efficientnet_lite0"]
        print("| kind | tool | found of planted | reported | precision |\n| --- | --- | --- | --- | --- |")
        for title, with_problems in (("planted", True), ("untouched", False)):
            planted = plant(
                options.folder, work / f"{title}-{options.seed}", with_problems=with_problems, seed=options.seed
            )
            dataset = import_planted(planted, f"{title}-{options.seed}")
            print(f"| **{title}**: {dataset.num_images} images | | | | |")
            for backbone in backbones:
                report = audit(AuditQuestion(dataset, 0, backbone))
                print(f"| by {backbone} | | | | |")
                print("\n".join(score.line() for score in audit_scores(report, dataset, planted)))
                for check in report.checks:
                    words = f"{check.num_images} images, {check.seconds:.1f} s. {check.sentence}{check.reason}"
                    print(f"  {check.title}: {words}")
                if options.libraries:
                    print("\n".join(score.line() for score in label_scores(dataset, planted, backbone)))
            if options.libraries:
                print("\n".join(score.line() for score in cleanvision_scores(planted)))
                print("\n".join(score.line() for score in imagehash_scores(planted)))


if __name__ == "__main__":
    main()
