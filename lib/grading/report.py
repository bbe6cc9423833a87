"""Grades as a table, CSV, JSON and a self-contained HTML page. Names in them come from strangers: all is escaped."""

import dataclasses
import json
import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from lib.csv_text import csv_of_table
from lib.grading.grades import Grade, ReportHeader
from lib.grading.html_report import to_html

__all__ = ["to_csv", "to_html", "to_json", "to_table"]

FORMAT_VERSION = 1


def to_table(grades: Sequence[Grade], header: ReportHeader) -> pd.DataFrame:
    """One row a file: what its verdict says, a column a class, distance, limit, reason, notices.

    The expected grade has a column where it decides; then `confidence` need not be the largest probability of the row.
    """
    expected = ["expected grade"] if header.is_by_expected_grade else []
    rows = []
    for grade in grades:
        row: dict[str, Any] = {
            "file": grade.name, "status": grade.status, "class": grade.class_name or "", "confidence": grade.confidence,
            "expected grade": grade.expected_grade, "decided by": grade.rule if grade.is_graded else "",
            "close call": ("yes" if grade.is_close_call else "no") if grade.is_graded else "",
        }  # fmt: skip
        row |= {f"probability of {name}": grade.probabilities.get(name) for name in header.class_names}
        row |= {"distance": grade.distance, "limit": grade.threshold}
        row |= {"reason": grade.explanation, "notices": "; ".join(grade.notices)}
        rows.append(row)
    numeric = ["confidence", *expected, *(f"probability of {name}" for name in header.class_names)]
    columns = ["file", "status", "class", *numeric, "distance", "limit"]
    table = pd.DataFrame(rows, columns=[*columns, "decided by", "close call", "reason", "notices"])
    numeric += ["distance", "limit"]
    return table.astype(dict.fromkeys(numeric, "float64"))


def to_csv(grades: Sequence[Grade], header: ReportHeader) -> str:
    """The table as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe in front.

    A medical data set's notice stands in a last column, in each row: a row may be copied without its head.
    """
    table = to_table(grades, header)
    table["run"] = header.run
    if header.notice:
        table["notice"] = header.notice
    return csv_of_table(table, digits=6)


def to_json(grades: Sequence[Grade], header: ReportHeader) -> str:
    """One JSON object on one line: what graded, how many of each status, and the images in order."""
    content = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(header),
        "notice": header.notice,
        "seen_sentence": header.seen_sentence,
        "rule": header.rule,
        "confidence_meaning": header.confidence_sentence,
        "counts": {
            status: sum(grade.status == status for grade in grades) for status in ("graded", "unlike", "refused")
        },
        "images": [_image(grade) for grade in grades],
    }
    return json.dumps(content, ensure_ascii=True, allow_nan=False)


def _image(grade: Grade) -> dict[str, Any]:
    # What the network computed for an image that was turned away is no answer, so it is in no file.
    left_out = {"pixels", "cam", "scores", "limits"}
    kept = {field.name: getattr(grade, field.name) for field in dataclasses.fields(grade) if field.name not in left_out}
    kept["seen_sentence"] = grade.seen_sentence
    kept |= {"rule": grade.rule, "expected_grade": grade.expected_grade, "is_close_call": grade.is_close_call}
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value for key, value in kept.items()
    }
