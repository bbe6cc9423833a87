"""What is wrong with the data set before a model learns it: findings with their pictures, each to be acted on."""

import time
from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from lib.audit.auditing import CHECKS, AuditQuestion, last_report
from lib.audit.findings import (
    KINDS,
    MINOR,
    NOTABLE,
    SERIOUS,
    SEVERITY_TITLES,
    AuditReport,
    Finding,
    FindingKind,
    findings_table,
    open_findings,
)
from lib.data.dataset import Dataset
from lib.data.edit_log import AUDIT, EXCLUDE, RELABEL
from lib.data.edits import add_edit, undo_edit
from lib.models.backbones import BACKBONES
from lib.progress import duration
from pages.common import background, clicks, controls, resources, state
from pages.common.text import count, plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.data.pictures import split_title
from pages.data.scene import Scene

_PER_PAGE, _MOST_PICTURES, _SIDE_PX = 3, 4, 192
_UNDO, _EDITED = "audited image", "audit_edited"
_SAID = {"label_errors": "labels", "ungradable": "spoiled", "shortcuts": "shortcuts"}  # kinds -> check to be quoted
_COLOURS = {SERIOUS: "red", NOTABLE: "orange", MINOR: "gray"}
_ICONS = {SERIOUS: ":material/error:", NOTABLE: ":material/warning:", MINOR: ":material/info:"}
_MEDICAL = (
    "Medical images, for research and education only: what the probe says is no diagnosis. Let a grader decide before "
    "a grade is changed."
)


def draw(scene: Scene) -> None:
    """The summary, then a section for each kind of finding; before there is a report, what it would be of."""
    dataset = scene.dataset
    question = AuditQuestion(dataset, scene.split_seed, state.current_backbone())
    task = f"audit {question.path.stem}"
    background.show_measurement_failure(task)
    report = _kept(question)
    if background.is_measuring(task) or report is None:
        if not background.is_measuring(task):
            _offer(question, task)
        background.watch(task)
    if report is None:
        return
    findings = _open(dataset.name, dataset.version, report.created_s, _report=report, _dataset=dataset)
    split = scene.parts
    _draw_summary(question, report, findings, task)
    sections = {kind: [one for one in findings if one.kind == kind.name] for kind in KINDS}
    shown = sorted(filter(sections.get, sections), key=lambda kind: _rank(sections[kind]))
    edited = st.session_state.get(_EDITED)
    if edited not in [kind.title for kind in shown]:  # its section is gone
        controls.show_undo(_UNDO)
    for place, kind in enumerate(shown):
        said = next((check.sentence for check in report.checks if check.name == _SAID.get(kind.name)), "")
        _draw_kind(dataset, split, kind, sections[kind], is_first=place == 0, said=said)
    _draw_checks(report, [kind.title.lower() for kind in KINDS if not sections[kind]])


def _rank(findings: Sequence[Finding]) -> int:
    """0 where the worst of them is serious, and so on."""
    return min(list(SEVERITY_TITLES).index(one.severity) for one in findings)


@st.cache_resource(max_entries=8, show_spinner=False)
def _open(name: str, version: str, created_s: float, *, _report: AuditReport, _dataset: Dataset) -> tuple[Finding, ...]:
    """What is left of a report at a version, found once."""
    return open_findings(_report, _dataset)


def _kept(question: AuditQuestion) -> AuditReport | None:
    """The report of the version, else the newest of the same pixels and split."""
    found = background.kept_measurement(question.path, AuditReport.from_dict)
    path = None if found is not None else last_report(question.dataset, question.split_seed)
    return found or (background.kept_measurement(path, AuditReport.from_dict) if path is not None else None)


def _start(question: AuditQuestion, task: str) -> None:
    arguments = ["datasets", "audit", question.dataset.name, "--backbone", question.backbone]
    arguments += ["--split-seed", str(question.split_seed)]
    background.start_measurement(task, f"Auditing {question.dataset.spec.title or question.dataset.name} …", arguments)


def _offer(question: AuditQuestion, task: str) -> None:
    """What an audit looks for, and the button that starts it."""
    names = ", ".join(check.title[:1].lower() + check.title[1:] for check in CHECKS)
    with st.container(border=True):
        st.markdown(
            "**Audit it before you train.** A model learns what is wrong with its images as willingly as the rest."
        )
        st.button(
            "Audit", icon=":material/fact_check:", type="primary", key=f"audit_start_{question.dataset.name}",
            on_click=_start, args=(question, task),
        )  # fmt: skip
        st.caption(
            f"{count(question.dataset.num_images, 'image')} once through "
            f"{plain(BACKBONES.get(question.backbone).title)}, unless that was done before. Looked for: "
            f"{plain(names, 400)}. Nothing is changed: you decide on each finding."
        )


# The summary


def _draw_summary(question: AuditQuestion, report: AuditReport, findings: Sequence[Finding], task: str) -> None:
    """The report in a line of traffic lights; whether it is of the present version; what may be taken away."""
    counts = {severity: sum(one.severity == severity for one in findings) for severity in SEVERITY_TITLES}
    lights = [
        f":{_COLOURS[severity]}-badge[{_ICONS[severity]} {number:,} {SEVERITY_TITLES[severity]}]"
        for severity, number in counts.items()
        if number
    ]
    if not lights:
        lights = [":green-badge[:material/check_circle: nothing was found]"]
    missing = [check.title.lower() for check in report.checks if not check.is_measured]
    if missing:
        lights.append(f":gray-badge[:material/help: not measured: {plain(', '.join(missing), 300)}]")
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(" ".join(lights), width="stretch")
        dataset = question.dataset
        controls.download_csv(lambda: findings_table(findings, dataset), key="audit", label="Findings as CSV")
        controls.copy_command(f"python -m lib datasets audit {dataset.name} --out findings.csv")
    is_present = (report.version, report.backbone) == (question.dataset.version, question.backbone)
    moment = time.strftime("%Y-%m-%d %H:%M", time.localtime(report.created_s))
    network = BACKBONES.get(report.backbone).title if report.backbone in BACKBONES else report.backbone
    said = f"{count(report.num_images, 'image')}, by {plain(network)}, on {moment}, in {duration(report.seconds)}."
    if is_present:
        st.caption(said)
        return
    words, again = st.columns([7.8, 2.2], vertical_alignment="center")
    words.caption(
        f"{said} That was another version or network: what you excluded or relabelled since has left the list; the "
        "rest is judged anew by another audit."
    )
    with again:
        if not background.is_measuring(task):
            st.button(
                "Audit again", icon=":material/refresh:", key=f"audit_again_{question.dataset.name}", on_click=_start,
                args=(question, task),
            )  # fmt: skip


def _draw_checks(report: AuditReport, quiet: Sequence[str]) -> None:
    """What was looked for and not found, how long each check took, and why one was not measured."""
    section = st.expander("What was checked", key="audit_checks", on_change="rerun", icon=":material/checklist:")
    if not section.open:
        return
    with section:
        if quiet:
            st.markdown(f"Not found: {plain(', '.join(quiet), 1000)}.")
        table: dict[str, list[object]] = {
            "Check": [check.title for check in report.checks],
            "Images": [check.num_images for check in report.checks],
            "Findings": [f"{check.num_findings:,}" if check.is_measured else "not measured" for check in report.checks],
            "Took": [duration(check.seconds) for check in report.checks],
            "In all": [check.reason or check.sentence for check in report.checks],
        }
        st.table(
            {key: [plain(value, 700) for value in values] for key, values in table.items()}, border="horizontal",
            alt="Checks of the audit: images, findings, time, and what was found in all",
        )  # fmt: skip


# One kind


def _draw_kind(
    dataset: Dataset, split: np.ndarray, kind: FindingKind, findings: Sequence[Finding], *, is_first: bool,
    said: str,
) -> None:  # fmt: skip
    """A section: what the kind means, and its findings page by page; only an open one is drawn."""
    worst = list(SEVERITY_TITLES)[_rank(findings)]
    key = f"audit_{kind.name}_{dataset.name}"
    is_edited = st.session_state.get(_EDITED) == kind.title
    section = st.expander(
        f":{_COLOURS[worst]}[**{kind.title}**] · {len(findings):,}", is_first or is_edited or worst == SERIOUS, key=key,
        on_change="rerun", icon=_ICONS[worst],
    )  # fmt: skip
    if not section.open:
        return
    with section:
        if is_edited:
            controls.show_undo(_UNDO)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(kind.meaning, width="stretch")
            _offer_all(dataset, kind, findings)
        if said:
            st.caption(plain(said, 800))
        if kind.name == "label_errors" and dataset.spec.is_medical:
            st.warning(_MEDICAL, icon=":material/info:")
        num_pages = -(-len(findings) // _PER_PAGE)
        page = min(int(st.session_state.get(f"{key}_page") or 1), num_pages)
        for finding in findings[(page - 1) * _PER_PAGE :][:_PER_PAGE]:
            _draw_finding(dataset, split, finding)
        if num_pages > 1:
            st.pagination(num_pages, key=f"{key}_page")


def _offer_all(dataset: Dataset, kind: FindingKind, findings: Sequence[Finding]) -> None:
    """Exclude what all findings of the kind suggest, after a second look at how many that are."""
    ids = list(dict.fromkeys(one for finding in findings for one in finding.exclude))
    if len(findings) < 2 or not ids:
        return
    with st.popover(f"Exclude all {len(ids):,} …", icon=":material/block:", key=f"audit_all_{kind.name}"):
        st.markdown(
            f"{count(len(ids), 'image')} of {count(dataset.num_images, 'image')} would no longer train, validate or "
            "test. Files are not touched, and it can be undone."
        )
        st.button(
            f"Exclude {count(len(ids), 'image')}", type="primary", key=f"audit_all_{kind.name}_{dataset.name}",
            on_click=_exclude, args=(dataset, ids, kind.title),
        )  # fmt: skip


def _draw_finding(dataset: Dataset, split: np.ndarray, finding: Finding) -> None:
    """Pictures side by side, the sentence, and what can be done with one click."""
    token = "_".join([finding.kind, *finding.image_ids[:2]])
    with st.container(border=True):
        if not finding.image_ids:
            st.markdown(f"{plain(finding.sentence, 800)}  \n{plain(finding.action, 400)}")
            return
        rows = dataset.indices(finding.image_ids[:_MOST_PICTURES]).tolist()
        pictures, words = st.columns([min(5.0, 1.6 * len(rows)), 6.4], vertical_alignment="center", gap="medium")
        with pictures:
            draw_tiles([_tile(dataset, row, split[row]) for row in rows], columns=len(rows), least_px=80)
        with words:
            st.markdown(f"{plain(finding.sentence, 800)}  \n:gray[{plain(finding.action, 400)}]")
            with st.container(horizontal=True):
                _draw_buttons(dataset, finding, token)


def _draw_buttons(dataset: Dataset, finding: Finding, token: str) -> None:
    """Relabel to what is suggested, exclude what is suggested, or one of several."""
    reason = KINDS.get(finding.kind).title
    if finding.relabel_to and finding.relabel_to in dataset.class_sources:
        name = dataset.class_names[dataset.class_sources.index(finding.relabel_to)]
        st.button(
            f"Relabel as {plain(name, 40)}", icon=":material/label:", key=f"audit_relabel_{token}", on_click=_relabel,
            args=(dataset, finding.image_ids[0], finding.relabel_to, reason),
        )  # fmt: skip
    if finding.exclude:
        number = len(finding.exclude)
        titles = {1: "Exclude it" if len(finding.image_ids) == 1 else "Exclude the copy", 2: "Exclude both"}
        title = titles.get(number, f"Exclude {number:,}")
        st.button(
            title, icon=":material/block:", key=f"audit_exclude_{token}", on_click=_exclude,
            args=(dataset, list(finding.exclude), reason),
        )  # fmt: skip
    if len(finding.image_ids) > 1:
        with st.popover("Another choice", type="tertiary", key=f"audit_choose_{token}"):
            for place, image_id in enumerate(finding.image_ids[:_MOST_PICTURES], start=1):
                path = str(dataset.table["path"].iloc[dataset.indices([image_id])[0]])
                st.button(
                    f"Exclude {plain(path, 60)}", key=f"audit_one_{token}_{place}", on_click=_exclude,
                    args=(dataset, [image_id], reason),
                )  # fmt: skip


def _tile(dataset: Dataset, row: int, split: str) -> EncodedTile:
    name, part = dataset.class_of(row), split_title(str(split))
    content = resources.cached_thumbnail(dataset.name, dataset.version, row, _SIDE_PX)
    path = str(dataset.table["path"].iloc[row])
    link = state.page_link("explore_data", tab="images", open=str(dataset.table["image_id"].iloc[row]))
    alt = readable(f"{name}, {part.lower()}: {path}; opens it in full")
    return EncodedTile(content, readable(name, 40), part, alt, link=link)


# What a click does


def _exclude(dataset: Dataset, image_ids: list[str], reason: str) -> None:
    _edit(
        dataset.name, lambda: add_edit(dataset.name, EXCLUDE, image_ids, reason=reason, who=AUDIT),
        word="Excluded", image_ids=image_ids, reason=reason,
    )  # fmt: skip


def _relabel(dataset: Dataset, image_id: str, source: str, reason: str) -> None:
    _edit(
        dataset.name, lambda: add_edit(dataset.name, RELABEL, [image_id], source, reason=reason, who=AUDIT),
        word="Relabelled", image_ids=[image_id], reason=reason,
    )  # fmt: skip


def _edit(name: str, edit: Callable[[], Dataset], *, word: str, image_ids: list[str], reason: str) -> None:
    """One edit, once, with a way back in the section of its reason."""
    if clicks.is_repeat(f"{word} {image_ids} of {name}"):
        return
    with controls.keep_error("explore", "edit the data set"):
        edit_id = edit().edits[-1].edit_id
        resources.dataset_summaries.clear()

        def take_back() -> None:
            undo_edit(name, edit_id)
            resources.dataset_summaries.clear()

        st.session_state[_EDITED] = reason
        controls.offer_undo(_UNDO, count(len(image_ids), "image"), take_back, word)
