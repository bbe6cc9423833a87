"""What an audit finds of planted problems, what it says of a set without any, and when it computes anew."""

import dataclasses

import pytest

from lib.audit.audited import AuditedImages
from lib.audit.auditing import CHECKS, AuditQuestion, audit, last_report
from lib.audit.copies import group_leakage, near_copies
from lib.audit.findings import KINDS, open_findings
from lib.data.dataset_changes import change_dataset
from lib.data.edits import add_edit
from lib.data.importing import import_folder, import_from
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from lib.errors import Stopped, UserError
from tests.audit.conftest import BACKBONE
from tests.audit.planted import (
    BLURRED,
    BRIGHT,
    CLASH,
    COPIES,
    DARK,
    FLAT,
    LONG,
    SWAPPED,
    UNREADABLE,
    picture,
    save,
)


def paths_of(dataset, report, kind):
    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))
    return [tuple(paths[one] for one in finding.image_ids) for finding in report.of_kind(kind)]


def test_copies_across_parts_and_classes_are_found_and_nothing_else(planted):
    dataset, report = planted
    found = {frozenset(paths) for paths in paths_of(dataset, report, "copies_across_splits")}
    expected = {frozenset(pair) for pair in COPIES.items() if "exact" not in pair[0]}
    assert found == expected
    # The copy in the test part stays.
    paths = dict(zip(dataset.table["image_id"], dataset.table["path"], strict=True))
    excluded = {paths[one] for finding in report.of_kind("copies_across_splits") for one in finding.exclude}
    assert excluded == {COPIES[copy] for copy in COPIES if "exact" not in copy}
    assert {frozenset(pair) for pair in paths_of(dataset, report, "copies_across_classes")} == {frozenset(CLASH)}
    assert not report.of_kind("copies_within_split")
    (mirrored,) = [one for one in report.of_kind("copies_across_splits") if "mirrored.jpg" in one.sentence]
    assert "the same picture, mirrored: " in mirrored.sentence


def test_files_that_were_left_out_are_told_with_their_parts(planted):
    _, report = planted
    (exact,) = report.of_kind("exact_copies")
    assert set(exact.files) == {"test/rings/exact.jpg", COPIES["test/rings/exact.jpg"]}
    assert "one lies in training, one in test" in exact.sentence
    assert [one.files for one in report.of_kind("unreadable")] == [(UNREADABLE,)]


def test_spoiled_images_are_named_once_each(planted):
    dataset, report = planted
    for kind, path in (("dark", DARK), ("bright", BRIGHT), ("blurred", BLURRED), ("low_contrast", FLAT)):
        assert paths_of(dataset, report, kind) == [(path,)], kind
    assert paths_of(dataset, report, "odd_shape") == [(LONG,)]


def test_swapped_labels_are_among_the_most_suspicious(planted):
    dataset, report = planted
    suspected = [path for (path,) in paths_of(dataset, report, "label_errors")]
    assert set(SWAPPED) <= set(suspected[:5])
    finding = next(one for one in report.of_kind("label_errors") if "stripes_02.jpg" in one.sentence)
    assert finding.relabel_to == "stripes"
    assert "is labelled rings; the probe says stripes with probability" in finding.sentence


def test_each_check_says_over_how_many_images_and_how_long(planted):
    dataset, report = planted
    assert [check.name for check in report.checks] == [check.name for check in CHECKS]
    for check in report.checks:
        assert check.is_measured, check
        assert dataset.num_images <= check.num_images <= dataset.num_images + len(dataset.left_out)
        assert check.seconds >= 0
    assert {finding.kind for finding in report.findings} <= set(KINDS.names)
    shortcut = next(check for check in report.checks if check.name == "shortcuts")
    assert "Not measured: the camera (no original names its camera)." in shortcut.sentence


@pytest.mark.slow
def test_nothing_is_found_where_nothing_is_wrong(untouched):
    _, report = untouched
    assert report.findings == ()


def test_a_kept_report_is_read_and_another_version_is_audited_anew(planted, monkeypatch):
    dataset, report = planted
    monkeypatch.setattr("lib.audit.auditing.CHECKS", CHECKS)
    question = AuditQuestion(dataset, 0, BACKBONE)
    assert audit(question) == report
    assert AuditQuestion(dataset, 1, BACKBONE).read() is None
    renamed = change_dataset("kinds", SchemaChange(class_names=("circles", "lines")))
    assert AuditQuestion(renamed, 0, BACKBONE).read() is None
    assert last_report(renamed) == question.path  # of the same pixels: to be shown until it is audited again
    monkeypatch.setattr("lib.audit.audited.find_copies", None)  # what pixels decide is kept: it is not computed
    monkeypatch.setattr("lib.features.extraction.Extraction.batches", None)
    again = audit(AuditQuestion(renamed, 0, BACKBONE))
    assert [one.kind for one in again.findings] == [one.kind for one in report.findings]
    finding = next(one for one in again.of_kind("label_errors") if "stripes_02.jpg" in one.sentence)
    assert "is labelled circles; the probe says lines" in finding.sentence
    assert finding.relabel_to == "stripes"  # what the source calls it
    assert audit(AuditQuestion(dataset.at_version(dataset.version), 0, BACKBONE)) == report


def test_cancelled_in_the_middle_nothing_is_kept(planted):
    dataset, _ = planted

    def stop(done, total, what):
        if what == "Odd shapes":
            raise Stopped

    question = AuditQuestion(dataset, 7, BACKBONE)
    with pytest.raises(Stopped):
        audit(question, progress=stop)
    assert question.read() is None


def test_an_unknown_network_is_refused(planted):
    with pytest.raises(UserError, match="Unknown backbone 'bundled'"):
        audit(AuditQuestion(planted[0], 0, "bundled"))


def test_a_tiny_set_says_what_it_is_too_small_for(tmp_path):
    for kind in ("rings", "stripes"):
        for number in range(2):
            save(picture(kind, number), tmp_path / "tiny" / kind / f"{number}.jpg")
    dataset = import_folder(tmp_path / "tiny", check_splits=False)
    report = audit(AuditQuestion(dataset, 0, BACKBONE))
    missing = {check.name: check.reason for check in report.checks if not check.is_measured}
    assert "Too few images: at least 5" in missing["labels"]
    assert set(missing) == {"groups", "labels", "outliers", "shortcuts"}
    assert "at least 3 are needed" in missing["groups"]
    assert report.findings == ()


def test_one_class_and_originals_that_are_gone(tmp_path):
    for number in range(4):
        save(picture("rings", number), tmp_path / "unlabelled" / "all" / f"{number}.jpg")
    save(picture("rings", 1), tmp_path / "unlabelled" / "all" / "again.jpg", quality=60)
    dataset = import_folder(tmp_path / "unlabelled", check_splits=False)
    (tmp_path / "unlabelled").rename(tmp_path / "elsewhere")
    report = audit(AuditQuestion(open_dataset(dataset.name), 0, BACKBONE))
    missing = {check.name: check.reason for check in report.checks if not check.is_measured}
    assert missing["labels"] == "There is one class only, so no label can be another one."
    assert missing["shortcuts"] == "There is one class only, so there is nothing to tell apart."
    assert [one.kind for one in report.findings] == ["copies_within_split"]
    assert "Whether copies cross splits is not known" in report.checks[2].sentence


def test_an_unlabelled_set_is_audited_for_what_needs_no_label(tmp_path):
    folder = tmp_path / "walk"
    for number in range(12):
        save(picture("rings", number), folder / f"{number:02d}.jpg")
    save(picture("rings", 3), folder / "again.jpg", quality=60)
    save(picture("rings", 77).point(lambda value: value * 0.08), folder / "dark.jpg")
    dataset = import_from("unlabelled", {"path": folder, "classes": "cat, dog"})
    report = audit(AuditQuestion(dataset, 0, BACKBONE))
    assert sorted(one.kind for one in report.findings) == ["copies_within_split", "dark"]
    assert "no label" in report.findings[0].sentence
    missing = {check.name for check in report.checks if not check.is_measured}
    assert missing == {"groups", "labels", "outliers", "shortcuts"}
    assert open_findings(report, dataset) == report.findings
    ids = dataset.table["image_id"].tolist()
    for name, rows in (("cat", range(6)), ("dog", range(6, 12))):
        dataset = add_edit("walk", "relabel", [ids[row] for row in rows], name)
    again = audit(AuditQuestion(dataset, 0, BACKBONE))
    labels = next(check for check in again.checks if check.name == "labels")
    assert "12 images" in labels.reason + labels.sentence  # those without a label are neither judged nor learned from


def test_a_set_with_patients_and_fixed_parts_is_audited(tmp_path):
    for number, part in enumerate(["train"] * 6 + ["val"] * 3 + ["test"] * 3):
        for kind in ("rings", "stripes"):
            path = tmp_path / "eyes" / part / kind / f"{number}_left.jpg"
            save(picture(kind, number), path)
            save(picture(kind, number + 50), path.with_name(f"{number}_right.jpg"))
    audited = AuditedImages(import_folder(tmp_path / "eyes"), split_seed=3)
    assert (group_leakage(audited)[0], near_copies(audited)[0]) == ([], [])
    assert len(set(audited.units)) == 24  # two eyes each


def test_a_report_survives_the_disk(planted):
    _, report = planted
    assert type(report).from_dict(report.to_dict()) == report
    with pytest.raises(ValueError, match="An audit of format 99"):
        type(report).from_dict({**report.to_dict(), "format_version": 99})
    assert dataclasses.replace(report, findings=()).of_kind("dark") == ()
