"""The check on planted problems plants what it says, and scores what a report found of it."""

import hashlib

from PIL import Image

from lib.audit.findings import AuditReport, Finding
from lib.data.importing import import_folder
from tests.checks.audit_planted import WAYS, audit_scores, plant
from tests.data.folders import picture


def test_what_is_planted_is_known_and_scored(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for number in range(30):
            path = tmp_path / "pets" / kind / f"{kind}.{number}.jpg"
            picture(100 * len(kind) + number + (kind == "dog") * 1000, width=40).save(path, quality=95)
    planted = plant(tmp_path / "pets", tmp_path / "planted", with_problems=True)
    assert {way: len(pairs) for way, pairs in planted.copies.items()} == dict.fromkeys(WAYS, 5)
    assert len(planted.swapped) == 10
    assert all(path.split("/")[1] not in path.split("/")[2] for path in planted.swapped)
    assert {kind: len(paths) for kind, paths in planted.spoiled.items()} == {"dark": 5, "blurred": 5}
    digests = {
        path.relative_to(planted.root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in planted.root.rglob("*.jpg")
    }
    assert len(digests) == 80
    for way, pairs in planted.copies.items():
        assert all((digests[copy] == digests[original]) == (way == "exact") for copy, original in pairs)
        assert all(copy.startswith("test/") and original.startswith("train/") for copy, original in pairs)
    with Image.open(planted.root / planted.copies["resized"][0][0]) as small:
        assert small.size == (24, 19)
    untouched = plant(tmp_path / "pets", tmp_path / "untouched", with_problems=False)
    assert len(list(untouched.root.rglob("*.jpg"))) == 60

    dataset = import_folder(planted.root, name="planted")
    ids = dict(zip(dataset.table["path"], dataset.table["image_id"], strict=True))
    copy, original = planted.copies["mirrored"][0]
    right, wrong = planted.swapped[0], original
    found = (
        Finding(kind="copies_across_splits", severity="serious", image_ids=(ids[copy], ids[original])),
        Finding(kind="label_errors", severity="serious", image_ids=(ids[right],)),
        Finding(kind="label_errors", severity="notable", image_ids=(ids[wrong],)),
    )
    report = AuditReport(
        dataset="planted", version="", content_version="", split_seed=0, backbone="", num_images=75, created_s=0.0,
        checks=(), findings=found,
    )  # fmt: skip
    scores = {score.kind: (score.right, score.found, score.planted) for score in audit_scores(report, dataset, planted)}
    assert scores["copies, mirrored"] == (1, 1, 5)
    assert scores["copies, all"] == (1, 1, 20)
    assert scores["labels, all doubted"] == (1, 2, 10)
    assert scores["dark"] == (0, 0, 5)
