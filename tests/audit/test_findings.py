"""What is left of a report after edits, in one line, and as a table."""

import dataclasses

import pytest

from lib.audit.findings import KINDS, Finding, findings_table, open_findings, summary
from lib.data.edits import add_edit, undo_edit


def id_of(dataset, path):
    return dataset.table["image_id"].iloc[dataset.table["path"].tolist().index(path)]


def test_an_excluded_image_leaves_all_its_findings_until_it_is_restored(planted):
    dataset, report = planted
    dark = report.of_kind("dark")[0].image_ids[0]
    before = open_findings(report, dataset)
    assert before == report.findings
    edited = add_edit("kinds", "exclude", [dark])
    left = open_findings(report, edited)
    assert all(dark not in finding.image_ids for finding in left)
    assert len(left) == len(before) - sum(finding.image_ids == (dark,) for finding in before)
    assert open_findings(report, undo_edit("kinds", edited.edits[-1].edit_id)) == before


def test_of_two_copies_one_alone_is_no_finding_and_of_three_two_stay(planted):
    dataset, report = planted
    pair = report.of_kind("copies_across_splits")[0]
    third = dataset.table["image_id"].iloc[0]
    three = dataclasses.replace(pair, image_ids=(*pair.image_ids, third), exclude=(pair.image_ids[1], third))
    report = dataclasses.replace(report, findings=(pair, three))
    edited = add_edit("kinds", "exclude", [pair.image_ids[1]])
    (left,) = open_findings(report, edited)
    assert left.image_ids == (pair.image_ids[0], third)
    assert left.exclude == (third,)


def test_relabelled_as_suggested_it_is_settled(planted):
    dataset, report = planted
    swapped = id_of(dataset, "train/rings/stripes_02.jpg")
    clash = id_of(dataset, "train/rings/also_rings.jpg")
    edited = add_edit("kinds", "relabel", [swapped, clash], "stripes", who="audit")
    left = open_findings(report, edited)
    assert not [one for one in left if one.kind == "label_errors" and swapped in one.image_ids]
    assert not [one for one in left if one.kind == "copies_across_classes"]  # both say stripes now
    assert [one for one in report.findings if swapped in one.image_ids]
    # An earlier version is what it was.
    assert open_findings(report, edited.at_version(dataset.version)) == report.findings


def test_the_summary_counts_by_severity_and_says_what_was_not_measured(planted):
    _, report = planted
    found = (
        Finding(kind="dark", severity="notable", image_ids=("a",)),
        Finding(kind="dark", severity="notable", image_ids=("b",)),
        Finding(kind="shortcuts", severity="serious"),
    )
    checks = (dataclasses.replace(report.checks[0], is_measured=False, reason="no"), *report.checks[1:])
    said = summary(found, dataclasses.replace(report, checks=checks))
    assert said == (
        "To fix before training: the class can be read off something else (1). To look at: dark (2). "
        "Not measured: exact copies."
    )
    assert summary((), report) == "Nothing was found."


def test_the_table_names_the_files(planted):
    dataset, report = planted
    table = findings_table(report.findings, dataset)
    assert len(table) == len(report.findings)
    row = table[table["kind"] == "copies_across_classes"].iloc[0]
    assert set(row["files"].split("; ")) == {"train/rings/also_rings.jpg", "train/stripes/stripes_09.jpg"}
    assert set(table["kind"]) <= set(KINDS.names)
    assert findings_table((), dataset).empty


def test_an_unknown_kind_is_a_mistake_of_the_program():
    from lib.errors import UserError

    with pytest.raises(UserError, match="kind of finding"):
        KINDS.get("nonsense")
