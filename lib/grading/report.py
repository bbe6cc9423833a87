"""Grades as a table, CSV, JSON and a self-contained HTML page. Names in them come from strangers: all is escaped."""

import base64
import dataclasses
import html
import importlib.metadata
import json
import math
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import pandas as pd

from lib.csv_text import csv_of_table
from lib.evaluation.verdict import REFUSED, describe_share
from lib.grading.grades import STATUS_WORDS, DomainDistance, Grade, ReportHeader
from lib.grading.patients import PatientGrade, join_patients

FORMAT_VERSION = 2  # 2: sets, decisions, quality, domain and cases of an image; later: patients
PAPER_NOTICE = "Research and education only. Not a medical device."

_NEWER = ("prediction set", "coverage", "decision", "probability of referable", "quality", "quality score", "domain",
          "nearest cases", "set in words")  # fmt: skip


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
        row |= {
            "prediction set": "; ".join(grade.prediction_set),
            "coverage": grade.coverage,
            "set in words": prediction_words(grade),
            "decision": grade.decision.action if grade.decision else "",
            "probability of referable": grade.decision.probability if grade.decision else None,
            "quality": grade.quality.kind if grade.quality and not grade.quality.is_passed else "",
            "quality score": grade.quality.score if grade.quality else None,
            "domain": "; ".join(f"{one.title} {one.value:.3f} of {one.limit:.3f}" for one in grade.domain),
            "nearest cases": "; ".join(f"{one.class_name} ({one.image_id}, {one.distance:.3f})" for one in grade.cases),
        }
        rows.append(row)
    numeric = ["confidence", *expected, *(f"probability of {name}" for name in header.class_names)]
    columns = ["file", "status", "class", *numeric, "distance", "limit"]
    table = pd.DataFrame(rows, columns=[*columns, "decided by", "close call", "reason", "notices", *_NEWER])
    numeric += ["distance", "limit", "coverage", "probability of referable", "quality score"]
    return table.astype(dict.fromkeys(numeric, "float64"))


def to_csv(
    grades: Sequence[Grade],
    header: ReportHeader,
    *,
    folder: Sequence[str] = (),
    patients: Sequence[PatientGrade] | None = None,
) -> str:
    """The table as CSV; a cell that a spreadsheet would take for a formula gets an apostrophe in front.

    Sentences on the `folder` as a whole and a medical data set's notice stand in last columns, in each row: a row may
    be copied without its head. So do each file's patient and what is said of both eyes, where some have one.
    """
    table = to_table(grades, header)
    table["run"] = header.run
    if joined := joined_patients(grades, patients):
        of_grade = {id(grade): one for one in joined for _, grade in one.eyes}
        found = [of_grade.get(id(grade)) for grade in grades]
        table["patient"] = [one.patient if one else "" for one in found]
        table["decision of the patient"] = [one.action if one else "" for one in found]
        table["eyes of the patient"] = [one.sentence if one else "" for one in found]
    if folder:
        table["folder"] = " ".join(folder)
    if header.notice:
        table["notice"] = header.notice
    return csv_of_table(table, digits=6)


def joined_patients(grades: Sequence[Grade], patients: Sequence[PatientGrade] | None) -> Sequence[PatientGrade]:
    """The patients of a report: those that are given (of a table), else by the names of the files."""
    return join_patients(grades) if patients is None else patients


def to_json(
    grades: Sequence[Grade],
    header: ReportHeader,
    *,
    folder: Sequence[str] = (),
    patients: Sequence[PatientGrade] | None = None,
) -> str:
    """One JSON object on one line: what graded, how many of each status, the `folder` in words, the images in order.

    Then the `patients`, by the names of the files where none are given.
    """
    content = {
        "format_version": FORMAT_VERSION,
        **dataclasses.asdict(header),
        "notice": header.notice,
        "seen_sentence": header.seen_sentence,
        "rule": header.rule,
        "confidence_meaning": header.confidence_sentence,
        "folder": list(folder),
        "counts": {status: sum(grade.status == status for grade in grades) for status in STATUS_WORDS},
        "images": [image_entry(grade) for grade in grades],
        "patients": [
            {
                "patient": one.patient, "decision": one.action, "highest_grade": one.class_name,
                "sentence": one.sentence, "eyes": [{"side": side, "file": grade.name} for side, grade in one.eyes],
            }
            for one in joined_patients(grades, patients)
        ],
    }  # fmt: skip
    return json.dumps(content, ensure_ascii=True, allow_nan=False)


def image_entry(grade: Grade) -> dict[str, Any]:
    """What JSON says of one image, in reports and in the answers of the service; no number in it is not finite."""
    # What the network computed for an image that was turned away is no answer, so it is in no file.
    left_out = {"pixels", "cam", "scores", "limits", "is_left_out"}
    kept = {field.name: getattr(grade, field.name) for field in dataclasses.fields(grade) if field.name not in left_out}
    kept["seen_sentence"] = grade.seen_sentence
    kept |= {"set_caveats": grade.set_caveats, "is_outside_set": grade.is_outside_set}
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
td.file { overflow-wrap: anywhere; min-width: 9rem; max-width: 16rem; }
.grade { font-size: 1.5rem; line-height: 1.2; } img { width: 96px; height: 96px; margin-right: 8px; }
img.case { width: 64px; height: 64px; }
td:first-child { white-space: nowrap; } .paper { display: none; } td.file { unicode-bidi: isolate; }
.bar { display: inline-block; width: 96px; height: 8px; background: var(--line); position: relative;
  margin-right: 8px; }
.bar i { display: block; height: 8px; background: var(--graded); } .bar i.over { background: var(--stopped); }
.bar b { position: absolute; top: -2px; width: 2px; height: 12px; background: var(--ink); }
@media print { :root { color-scheme: light; --ink: #111827; --muted: #5b6472; --line: #d8dedd; --paper: #fff;
  --graded: #0f766e; --caution: #92400e; --stopped: #b91c1c; } body { margin: 0; } * { print-color-adjust: exact; }
  .paper { display: table-cell; border: 0; padding: 0 0 .5rem; font-weight: 600; color: var(--caution); } }
.graded, .unlike, .refused { font-weight: 600; } .graded { color: var(--graded); }
.unlike, .refused, .ungradable { font-weight: 600; color: var(--stopped); }
.unsure { font-weight: 600; color: var(--caution); }
"""


def to_html(
    grades: Sequence[Grade],
    header: ReportHeader,
    *,
    folder: Sequence[str] = (),
    patients: Sequence[PatientGrade] | None = None,
) -> str:
    """A page with a row a file: picture, Grad-CAM overlay if there is one, status, class with its probabilities.

    `folder` are sentences on all files together, `patients` those of `joined_patients`. Where a case has its picture,
    that is shown.
    """
    counts = Counter(grade.status for grade in grades)
    summary = ", ".join(f"{counts[status]} {words}" for status, words in STATUS_WORDS.items() if counts[status])
    notice = f'<p class="notice" role="note">{html.escape(header.notice)}</p>' if header.notice else ""
    rows = "\n".join(_row(grade) for grade in grades)
    joined = _patient_rows(joined_patients(grades, patients)) if len(grades) > 1 else ""
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>Grades by {html.escape(header.run[:8] or header.dataset)}</title><style>{_STYLE}</style></head><body>
<h1>Grades of {len(grades)} files</h1>{notice}
<p>{html.escape(summary)}.</p>{"".join(f"<p>{html.escape(one)}</p>" for one in folder)}
<p class="muted">{html.escape(_about(header))}</p>
<table><thead><tr><td class="paper" colspan="4">{PAPER_NOTICE}</td></tr>
<tr><th scope="col">Image</th><th scope="col">File</th><th scope="col">Status</th>
<th scope="col">Result</th></tr></thead><tbody>
{rows}
</tbody></table>{joined}
<p class="muted">{html.escape(packages())}</p>{notice}<p class="muted">{PAPER_NOTICE}</p></body></html>
"""


def _patient_rows(patients: Sequence[PatientGrade]) -> str:
    if not patients:
        return ""
    rows = "".join(
        f"<tr><td class='file'>{html.escape(one.patient)}</td><td><strong>{html.escape(one.action)}</strong></td>"
        f"<td>{html.escape(one.class_name or '')}</td><td>{html.escape(one.sentence)}</td></tr>"
        for one in patients
    )
    return (
        f'<table><thead><tr><td class="paper" colspan="4">{PAPER_NOTICE}</td></tr><tr><th scope="col">Patient</th>'
        '<th scope="col">Decision</th><th scope="col">Highest grade</th><th scope="col">Eyes; the more pressing one '
        f"decides</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def about(header: ReportHeader) -> list[str]:
    """What a report says of the classifier beyond its name, a sentence each."""
    return [*filter(None, (
        header.result_sentence,
        f"Stored operating point: {header.operating_point}" if header.operating_point else "",
        *header.calibration_card,
        header.gate_sentence, header.rule_sentence, header.confidence_sentence, header.seen_sentence,
        header.split_caveat,
    ))]  # fmt: skip


def packages() -> str:
    """The versions of what grades, as "torch 2.5.1, ..."."""
    found = []
    for name in ("torch", "torchvision", "numpy", "pillow", "onnxruntime"):
        with suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{name} {importlib.metadata.version(name)}")
    return ", ".join(found)


def prediction_words(grade: Grade) -> str:
    """The conformal set as a sentence; "" where the classifier was not calibrated."""
    if not grade.prediction_set or grade.coverage is None:
        return ""
    said = (
        f"With {grade.coverage_words} the right class is among: {', '.join(grade.prediction_set)} (so for images like "
        "those of the training, on average)."
    )
    return " ".join((said, *grade.set_caveats))


def quality_words(grade: Grade) -> str:
    """Whether the picture is good enough, as a sentence; "" where that was not asked."""
    found = grade.quality
    if found is None:
        return ""
    numbers = f"score {found.score:.2f}, limit {found.limit:.2f}"
    if found.is_passed:
        return f"Good enough to be graded: {numbers}."
    return " ".join(filter(None, (f"{found.reason.rstrip('.')} ({numbers}).", found.hint)))


def domain_rows(grade: Grade) -> list[tuple[str, float, float, str, bool]]:
    """Bars of likeness: title, value and limit as shares of the bar, words, whether it passed."""
    found = grade.domain
    if not found and grade.distance is not None and grade.threshold is not None:  # of a gate with one distance
        found = (DomainDistance(title="Feature distance", value=grade.distance, limit=grade.threshold),)
    rows = []
    for one in found:
        low = min(0.0, one.value, one.limit)
        span = 1.25 * max(one.value - low, one.limit - low) or 1.0
        if math.isfinite(span):
            shares = (one.value - low) / span, (one.limit - low) / span
            rows.append((one.title, *shares, f"{one.value:.3f}, limit {one.limit:.3f}", one.is_passed))
    return rows


def _about(header: ReportHeader) -> str:
    parts = [f"Classifier: {header.strategy or 'saved classifier'}, {header.backbone}, trained on {header.dataset}"]
    parts += [f"data version {header.dataset_version}"] if header.dataset_version else []
    parts += [f"run {header.run}"] if header.run else []
    parts += [f"classes {', '.join(header.class_names)}", f"graded {header.created}"]
    return " ".join(["; ".join(parts) + ".", *about(header)])


def _row(grade: Grade) -> str:
    mark, words = _MARKS[grade.status], STATUS_WORDS[grade.status]
    result = _probabilities(grade) if grade.is_graded else ""
    decided, why = grade.decision.parts if grade.decision else ("", "")
    if decided:
        result = f"<div><strong>{html.escape(decided)}</strong></div>{result}"
    if why:
        result += f"<div>{html.escape(why)}</div>"
    reason = html.escape(" ".join([grade.explanation, *grade.notices]).strip())
    reason += "".join(
        f"<div>{html.escape(one)}</div>" for one in (prediction_words(grade), quality_words(grade)) if one
    )
    reason += "".join(
        f'<div><span class="bar"><i{"" if is_well else " class=over"} style="width:{100 * value:.1f}%"></i>'
        f'<b style="left:{100 * limit:.1f}%"></b></span>{html.escape(f"{title}: {words}")}</div>'
        for title, value, limit, words, is_well in domain_rows(grade)
    )
    if grade.cases:
        named = ", ".join(f"{one.class_name} ({one.distance:.3f})" for one in grade.cases)
        reason += f"<div>Nearest training images: {html.escape(named)}.</div>"
        pictured = [one for one in grade.cases if one.jpeg]
        reason += "".join(_picture(one.jpeg or b"", f"Training image of {one.class_name}", "case") for one in pictured)
    if grade.map_verdict:
        reason += f"<div>{html.escape(grade.map_verdict)}</div>"
    return (
        f"<tr><td>{_pictures(grade)}</td><td class='file'>{html.escape(grade.name)}</td>"
        f"<td class='{grade.status}'>{mark} {words}</td><td>{result}<div class='muted'>{reason}</div></td></tr>"
    )


def _probabilities(grade: Grade) -> str:
    shares = ", ".join(
        f"{html.escape(name)} {describe_share(value)}".replace(" %", "&nbsp;%")
        for name, value in grade.probabilities.items()
    )
    said = html.escape(grade.sentence)
    named = f"<div class='grade'><strong>{html.escape(grade.class_name or '')}</strong></div>"
    return f"{named}<div>{said}</div><div>{shares}</div>"


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

    return _picture(to_jpeg(pixels, max_side_px=_THUMBNAIL_PX), alt)


def _picture(jpeg: bytes, alt: str, kind: str = "") -> str:
    data = base64.b64encode(jpeg).decode()
    named = f' class="{kind}"' if kind else ""
    return f'<img{named} alt="{html.escape(alt)}" src="data:image/jpeg;base64,{data}">'
