"""Grades as a table, CSV, JSON and a self-contained HTML page. Names in them come from strangers: all is escaped."""

import base64
import dataclasses
import html
import json
import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from lib.csv_text import csv_of_table
from lib.evaluation.verdict import REFUSED
from lib.grading.grades import STATUS_WORDS, Grade, ReportHeader

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
        "counts": {status: sum(grade.status == status for grade in grades) for status in STATUS_WORDS},
        "images": [image_entry(grade) for grade in grades],
    }
    return json.dumps(content, ensure_ascii=True, allow_nan=False)


def image_entry(grade: Grade) -> dict[str, Any]:
    """What JSON says of one image, in reports and in the answers of the service; no number in it is not finite."""
    # What the network computed for an image that was turned away is no answer, so it is in no file.
    left_out = {"pixels", "cam", "scores", "limits"}
    kept = {field.name: getattr(grade, field.name) for field in dataclasses.fields(grade) if field.name not in left_out}
    kept["seen_sentence"] = grade.seen_sentence
    kept |= {"rule": grade.rule, "expected_grade": grade.expected_grade, "is_close_call": grade.is_close_call}
    return {key: _plain(value) for key, value in kept.items()}


def _plain(value: Any) -> Any:
    """What JSON can hold: parts of a grade as objects, pictures left out, null for what is no finite number."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items() if not isinstance(entry, bytes)}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_THUMBNAIL_PX = 192
_MARKS = {"graded": "✓", "unsure": "?", "ungradable": "✕", "unlike": "✕", "refused": "✕"}
_STYLE = """
:root { color-scheme: light dark; --ink: #111827; --muted: #5b6472; --line: #d8dedd; --paper: #fcfcfb;
  --graded: #0f766e; --caution: #92400e; --stopped: #b91c1c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e5e7eb; --muted: #9ca3af; --line: #2a3432; --paper: #0f1413;
  --graded: #2dd4bf; --caution: #fbbf24; --stopped: #f87171; } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.75rem; margin: 0 0 .5rem; } p { margin: .5rem 0; } .muted { color: var(--muted); }
.notice { border: 2px solid var(--caution); padding: .5rem 1rem; font-weight: 600; }
table { border-collapse: collapse; width: 100%; margin-top: 1.5rem; } tr { break-inside: avoid; }
th, td { text-align: left; vertical-align: top; padding: .75rem .75rem .75rem 0; border-bottom: 1px solid var(--line); }
td.file { overflow-wrap: anywhere; max-width: 16rem; } img { width: 96px; height: 96px; margin-right: 8px; }
td:first-child { white-space: nowrap; }
.graded, .unlike, .refused { font-weight: 600; } .graded { color: var(--graded); }
.unlike, .refused { color: var(--stopped); }
"""


def to_html(grades: Sequence[Grade], header: ReportHeader) -> str:
    """A page with a row a file: picture, Grad-CAM overlay if there is one, status, class with its probabilities."""
    counts = Counter(grade.status for grade in grades)
    summary = ", ".join(f"{counts[status]} {words}" for status, words in STATUS_WORDS.items() if counts[status])
    notice = f'<p class="notice" role="note">{html.escape(header.notice)}</p>' if header.notice else ""
    rows = "\n".join(_row(grade) for grade in grades)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Grades by {html.escape(header.run[:8] or header.dataset)}</title><style>{_STYLE}</style></head><body>
<h1>Grades of {len(grades)} files</h1>{notice}
<p>{html.escape(summary)}.</p>
<p class="muted">{html.escape(_about(header))}</p>
<table><thead><tr><th scope="col">Image</th><th scope="col">File</th><th scope="col">Status</th>
<th scope="col">Result</th></tr></thead><tbody>
{rows}
</tbody></table>{notice}</body></html>
"""


def _about(header: ReportHeader) -> str:
    parts = [f"Classifier: {header.strategy or 'saved classifier'}, {header.backbone}, trained on {header.dataset}"]
    parts += [f"run {header.run}"] if header.run else []
    parts += [f"classes {', '.join(header.class_names)}", f"graded {header.created}"]
    sentences = (
        *(
            header.result_sentence,
            f"Stored operating point: {header.operating_point}" if header.operating_point else "",
            header.gate_sentence,
            header.rule_sentence,
            header.confidence_sentence,
            header.seen_sentence,
        ),
        header.split_caveat,
    )
    return " ".join(["; ".join(parts) + ".", *filter(None, sentences)])


def _row(grade: Grade) -> str:
    mark, words = _MARKS[grade.status], STATUS_WORDS[grade.status]
    result = _probabilities(grade) if grade.is_graded else ""
    reason = html.escape(" ".join([grade.explanation, *grade.notices]).strip())
    return (
        f"<tr><td>{_pictures(grade)}</td><td class='file'>{html.escape(grade.name)}</td>"
        f"<td class='{grade.status}'>{mark} {words}</td><td>{result}<div class='muted'>{reason}</div></td></tr>"
    )


def _probabilities(grade: Grade) -> str:
    shares = ", ".join(f"{html.escape(name)} {100 * value:.1f}&nbsp;%" for name, value in grade.probabilities.items())
    said = html.escape(grade.sentence)
    return f"<strong>{html.escape(grade.class_name or '')}</strong><div>{said}</div><div>{shares}</div>"


def _pictures(grade: Grade) -> str:
    if grade.pixels is None or grade.status == REFUSED:
        return ""
    from lib.explain.pictures import overlay

    pictures = _image(grade.pixels, f"The graded square of {grade.name}")
    if grade.cam is not None:
        pictures += _image(overlay(grade.pixels, grade.cam), f"Where {grade.class_name} is seen in {grade.name}")
    return pictures


def _image(pixels: np.ndarray, alt: str) -> str:
    from lib.explain.pictures import to_jpeg

    data = base64.b64encode(to_jpeg(pixels, max_side_px=_THUMBNAIL_PX)).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/jpeg;base64,{data}">'
