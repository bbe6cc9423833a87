"""Explore data, view "Audit": the offer, the findings with their pictures, exclusion and relabelling with undo."""

import shutil

import pytest

from lib.atomic import write_json
from lib.audit.auditing import AuditQuestion
from lib.audit.findings import AuditReport, CheckResult, Finding
from lib.data.dataset_changes import change_dataset
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from pages.common import background, resources
from tests.audit.conftest import BACKBONE, audited_home
from tests.pages.scene import CLASSES, html_of, make_dataset, open_page, words


def finding(kind, severity, ids, **changes):
    return Finding(kind=kind, severity=severity, image_ids=tuple(ids), exclude=tuple(ids), sentence="*said*", **changes)


@pytest.fixture
def kinds(home):
    shutil.copytree(audited_home(with_problems=True), home)
    resources.dataset_summaries.clear()
    return open_dataset("kinds")


def opened():
    return open_page("explore_data", dataset="kinds", backbone=BACKBONE, tab="audit")


def titles(at):
    return [one.label for one in at.expander]


def test_a_copy_is_excluded_with_one_click_leaves_the_list_and_comes_back(kinds):
    at = opened()
    assert not at.exception
    said = words(at)
    assert "to fix before training" in said
    assert ":red[**The same picture in two parts**] · 3" in titles(at)
    assert r"Both show the same picture\, mirrored" in said
    assert html_of(at).count("<img ") >= 6
    (button,) = [one for one in at.button if one.label == "Exclude both"]
    copies = [one for one in at.button if one.label == "Exclude the copy"]
    assert len(copies) == 3
    copies[0].click().run()
    assert not at.exception
    now = open_dataset("kinds")
    assert now.is_excluded.sum() == 1
    assert now.edits[-1].who == "audit"
    assert now.edits[-1].reason == "The same picture in two parts"
    assert len([one for one in at.button if one.label == "Exclude the copy"]) == 2
    assert "That was another version or network" in words(at)
    at.button(key="undo_audited image_button").click().run()
    assert not open_dataset("kinds").is_excluded.any()
    assert len([one for one in at.button if one.label == "Exclude the copy"]) == 3
    assert button.key in [one.key for one in at.button]


def test_a_label_is_changed_to_what_is_suggested_and_all_of_a_kind_are_asked_for_first(kinds):
    at = opened()
    relabel = next(one for one in at.button if one.label.startswith("Relabel as"))
    image_id = relabel.key.removeprefix("audit_relabel_label_errors_")
    before = kinds.class_of(int(kinds.indices([image_id])[0]))
    relabel.click().run()
    assert not at.exception
    now = open_dataset("kinds")
    assert now.class_of(int(now.indices([image_id])[0])) != before
    assert relabel.key not in [one.key for one in at.button]
    at.button(key="undo_audited image_dismiss").click().run()
    at.button(key="audit_all_copies_across_splits_kinds").click().run()
    assert open_dataset("kinds").is_excluded.sum() == 3
    assert not [title for title in titles(at) if "The same picture in two parts" in title]


def test_before_a_report_the_audit_is_offered_and_started(monkeypatch):
    name = make_dataset()
    started = []
    monkeypatch.setattr(background, "start_measurement", lambda *asked: started.append(asked))
    at = open_page("explore_data", tab="audit", backbone=BACKBONE)
    assert not at.exception
    assert "Audit it before you train" in words(at)
    at.button(key=f"audit_start_{name}").click().run()
    assert started[0][2] == ["datasets", "audit", name, "--backbone", BACKBONE, "--split-seed", "0"]


def test_any_report_is_shown_whatever_names_are_and_what_was_not_measured():
    name = make_dataset()
    dataset = open_dataset(name)
    ids = dataset.table["image_id"].tolist()
    first = dataset.class_names.index(CLASSES[0])
    row = dataset.table["target"].tolist().index(1 - first)
    found = (
        finding("label_errors", "serious", [ids[row]], relabel_to=dataset.class_sources[first]),
        *(finding("dark", "notable", [one]) for one in ids[:7]),
        Finding(kind="shortcuts", severity="serious", sentence="The *border* alone tells the class."),
        Finding(kind="unreadable", severity="notable", sentence="<b>a.jpg</b> is cut off.", files=("a.jpg",)),
    )
    question = AuditQuestion(dataset, 0, BACKBONE)
    check = CheckResult(
        name="labels", title="Likely label errors", num_images=0, seconds=0.1, num_findings=0, reason="Too few images.",
        is_measured=False,
    )  # fmt: skip
    report = AuditReport(
        dataset=name, version=dataset.version, content_version=dataset.content_version, split_seed=0,
        backbone=BACKBONE, num_images=20, created_s=1.7e9, checks=(check,), findings=found,
    )  # fmt: skip
    write_json(question.path, report.to_dict())
    at = open_page("explore_data", tab="audit", backbone=BACKBONE)
    assert not at.exception
    said = words(at)
    assert "not measured: likely label errors" in said
    assert r"The \*border\* alone tells the class" in said
    assert "no diagnosis" not in said
    assert "2 to fix before training" in said
    assert "8 to look at" in said
    change_dataset(name, SchemaChange(is_medical=True))
    resources.dataset_summaries.clear()
    at.run()
    assert "no diagnosis" in words(at)
    assert "That was another version or network" in words(at)
