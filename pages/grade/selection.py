"""Which of the graded images are shown, and in which order: the same in every view, and in the link."""

from typing import Any

import streamlit as st

from lib.grading.grades import STATUS_WORDS, Grade
from pages.common import controls, state
from pages.common.text import readable
from pages.grade.scene import Scene

Row = tuple[Grade, bytes | None]
ORDERS = {"file": "As they came", "risk": "Highest risk", "doubtful": "Least sure", "sure": "Most sure"}


def choose_rows(scene: Scene) -> list[Row]:
    """Draw status, class, decision and order, each only where there is a choice, and return the rows."""
    rows = scene.rows
    grades = [grade for grade, _ in rows]
    statuses = [status for status in STATUS_WORDS if any(grade.status == status for grade in grades)]
    classes = [name for name in scene.grader.class_names if any(grade.class_name == name for grade in grades)]
    decisions = list(dict.fromkeys(grade.decision.action for grade in grades if grade.decision))
    filters = (
        ("status", "Status", {status: STATUS_WORDS[status] for status in statuses}),
        ("given", "Class", {name: readable(name) for name in classes}),
        ("decision", "Decision", {action: action.capitalize() for action in decisions}),
    )
    chosen: dict[str, str] = {}
    shown: dict[str, Any] = {"width": 190, "label_visibility": "collapsed"}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for key, label, titles in filters:
            if len(titles) > 1:
                chosen[key] = controls.choose(label, {"": f"{label}: all"} | titles, key, key=f"grade_{key}", **shown)
        if len(rows) > 1:
            orders = {name: title for name, title in ORDERS.items() if name != "risk" or decisions}
            order = controls.choose("Order", orders, "order", key="grade_order", **shown)
        else:
            order = "file"
    status, given, decision = (chosen.get(key, "") for key, _, _ in filters)
    kept = [
        row for row in rows
        if (not status or row[0].status == status)
        and (not given or row[0].class_name == given)
        and (not decision or (row[0].decision is not None and row[0].decision.action == decision))
    ]  # fmt: skip
    return sorted_rows(kept, order)


def sorted_rows(rows: list[Row], order: str) -> list[Row]:
    """By risk or confidence; files without an answer stand last, whatever the order."""
    if order == "risk":
        return sorted(rows, key=lambda row: _last_without(risk_of(row[0]), -1))
    if order in ("sure", "doubtful"):
        sign = -1 if order == "sure" else 1
        return sorted(rows, key=lambda row: _last_without(row[0].confidence, sign))
    return rows


def _last_without(value: float | None, sign: int) -> float:
    return 2.0 if value is None else sign * value


def risk_of(grade: Grade) -> float | None:
    """P(referable), where the classes have an order."""
    return grade.decision.probability if grade.decision else None


def image_of(grade: Grade) -> str:
    """What the key `image` of the link says of a graded image."""
    return f"{state.GRADED}{grade.sha256[:16]}"
