"""Grades as a PDF: a summary first, then a page an image (few images) or a row an image (many), and the classifier.

The fonts are DejaVu Sans, embedded as subsets, so that names in other scripts are kept; what they lack is drawn as a
box. Nothing of the files' own metadata is in it. With the same header (which holds the time) the bytes are the same.
"""

import html
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from lib.evaluation.verdict import REFUSED, describe_share
from lib.grading.grades import NOT_REACHED, PASSED, STATUS_WORDS, STOPPED, Grade, ReportHeader, check_gates
from lib.grading.patients import PatientGrade
from lib.grading.report import (
    PAPER_NOTICE,
    about,
    domain_rows,
    joined_patients,
    packages,
    prediction_words,
    quality_words,
)

MAX_PAGES_OF_IMAGES = 20
_FONT, _BOLD = "DejaVuSans", "DejaVuSans-Bold"
_PICTURE_PX, _THUMBNAIL_PX, _ROWS_AT_ONCE = 448, 120, 40
_MAX_NAME_LETTERS, _MAX_TEXT_LETTERS = 240, 1_500
_INK, _MUTED, _LINE, _GOOD, _STOP, _AMBER = "#111827", "#5b6472", "#d8dedd", "#0f766e", "#b91c1c", "#92400e"


def to_pdf(
    grades: Sequence[Grade],
    header: ReportHeader,
    *,
    folder: Sequence[str] = (),
    patients: Sequence[PatientGrade] | None = None,
) -> bytes:
    """The report as the bytes of a PDF.

    Args:
        grades: one a file; up to 20 have a page of their own, more have a row each.
        header: what graded, with the time of grading.
        folder: sentences on the folder as a whole (`lib.grading.batch`), for the summary.
        patients: those of a table; by the names of the files where none are given.
    """
    from reportlab.lib.pagesizes import A4
    from reportlab.platypus import PageBreak, SimpleDocTemplate

    _register_fonts()
    buffer = io.BytesIO()
    document = SimpleDocTemplate(
        buffer,
        pagesize=A4,
        leftMargin=42,
        rightMargin=42,
        topMargin=60,
        bottomMargin=60,
        invariant=1,
        title=f"Grades of {len(grades)} files",
        author="",
        subject=PAPER_NOTICE,
        creator="",
        lang="en",
    )
    story: list[Any] = [] if len(grades) == 1 else _summary(grades, header, folder)
    story += _patients(joined_patients(grades, patients)) if story else []
    if len(grades) <= MAX_PAGES_OF_IMAGES:
        for number, grade in enumerate(grades):
            story += [PageBreak()] if number or story else []
            story += _passport(grade)
    else:
        story += _rows(grades)
    story += _card(header)
    document.build(story, canvasmaker=_numbered_canvas(header))
    return buffer.getvalue()


def _numbered_canvas(header: ReportHeader) -> type:
    """A canvas that knows at the end how many pages there are, and writes head and foot of each."""
    from reportlab.pdfgen.canvas import Canvas

    class Numbered(Canvas):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802  (reportlab's name)
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, page in enumerate(self._pages, start=1):
                self.__dict__.update(page)
                self._draw_edges(number)
                super().showPage()
            super().save()

        def _draw_edges(self, number: int) -> None:
            width, height = self._pagesize
            self.setFont(_BOLD, 8)
            self.setFillColor(_AMBER)
            self.drawString(48, height - 36, PAPER_NOTICE)
            self.setFont(_FONT, 8)
            self.setFillColor(_MUTED)
            self.drawRightString(width - 48, height - 36, plain(header.created))
            self.drawString(
                48, 32, plain(f"Run {header.run[:12]}, {header.dataset}" if header.run else header.dataset, 80)
            )
            self.drawRightString(width - 48, 32, f"Page {number} of {len(self._pages)}")

    return Numbered


def plain(text: str, max_letters: int = _MAX_TEXT_LETTERS) -> str:
    """Text of bounded length without control letters: none may turn a line around or hide a part of it."""
    shown = "".join(
        " " if letter in "\n\r\t" else "\ufffd" if unicodedata.category(letter)[0] == "C" else letter
        for letter in text[: max_letters + 1]
    )
    return shown if len(text) <= max_letters else f"{shown[: max_letters - 1]}…"


@cache
def _register_fonts() -> None:
    import matplotlib
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    for name in (_FONT, _BOLD):
        pdfmetrics.registerFont(TTFont(name, folder / f"{name}.ttf"))
    pdfmetrics.registerFontFamily(_FONT, normal=_FONT, bold=_BOLD, italic=_FONT, boldItalic=_BOLD)


def _text(
    text: str,
    size: int = 9,
    *,
    color: str = _INK,
    is_bold: bool = False,
    breaks: bool = False,
    max_letters: int = _MAX_TEXT_LETTERS,
) -> Any:
    """A paragraph; with `breaks` a line may end anywhere, as names without blanks need it."""
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "text",
        fontName=_BOLD if is_bold else _FONT,
        fontSize=size,
        leading=1.35 * size,
        textColor=color,
        spaceAfter=size / 3,
        wordWrap="CJK" if breaks else None,
        splitLongWords=1,
    )
    return Paragraph(html.escape(plain(text, max_letters), quote=False), style)


def _heading(text: str) -> Any:
    found = _text(text, 11, is_bold=True)
    found.style.spaceBefore, found.style.keepWithNext = 10, 1
    return found


def _table(rows: list[list[Any]], widths: Sequence[float | None], *, has_head: bool = False) -> Any:
    from reportlab.platypus import Table, TableStyle

    commands = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LINEBELOW", (0, 0), (-1, -1), 0.4, _LINE),
        ("LEFTPADDING", (0, 0), (-1, -1), 0),
        ("TOPPADDING", (0, 0), (-1, -1), 3),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
    ]
    return Table(rows, colWidths=list(widths), style=TableStyle(commands), repeatRows=1 if has_head else 0)


def _bars(rows: Iterable[tuple[str, float, float | None, str, bool]]) -> Any:
    """Bars of (title, value 0..1, limit 0..1, words, whether it is well)."""
    from reportlab.graphics.shapes import Drawing, Line, Rect

    lines = []
    for title, value, limit, words, is_well in rows:
        drawing = Drawing(190, 10)
        drawing.add(Rect(0, 2, 190, 7, fillColor=_color(_LINE), strokeWidth=0, strokeColor=None))
        width = 190 * min(max(value, 0.0), 1.0)
        drawing.add(
            Rect(
                0,
                2,
                max(width, 0.01),
                7,
                fillColor=_color(_GOOD if is_well else _STOP),
                strokeWidth=0,
                strokeColor=None,
            )
        )
        if limit is not None:
            place = 190 * min(max(limit, 0.0), 1.0)
            drawing.add(Line(place, 0, place, 11, strokeColor=_color(_INK), strokeWidth=1.2))
        lines.append([_text(title, 8, breaks=True), drawing, _text(words, 8, color=_MUTED)])
    return _table(lines, (150, 200, 149))


def _color(text: str) -> Any:
    from reportlab.lib.colors import HexColor

    return HexColor(text)


def _summary(grades: Sequence[Grade], header: ReportHeader, folder: Sequence[str]) -> list[Any]:
    counts = Counter(grade.status for grade in grades)
    classes = Counter(grade.class_name for grade in grades if grade.is_graded)
    story = [_text(f"Grades of {len(grades):,} files", 18, is_bold=True)]
    if header.notice:
        story.append(_text(header.notice, 9, color=_AMBER, is_bold=True))
    share = max(len(grades), 1)
    if not grades:
        return story
    story += [_heading("What became of them")]
    story += [
        _bars(
            (words, counts[status] / share, None, f"{counts[status]:,} files", status == "graded")
            for status, words in STATUS_WORDS.items()
            if counts[status]
        )
    ]
    if classes:
        story += [_heading("Classes of the graded images")]
        story += [
            _bars(
                (name, classes[name] / sum(classes.values()), None, f"{classes[name]:,} images", True)
                for name in header.class_names
            )
        ]
    actions = Counter(grade.decision.action for grade in grades if grade.decision)
    if actions:
        story += [_heading("What to do next")]
        story += [
            _table([[_text(action), _text(f"{number:,} images")] for action, number in actions.items()], (200, 299))
        ]
    if folder:
        story += [_heading("The folder as a whole"), *map(_text, folder)]
    return story


def _patients(patients: Sequence[PatientGrade]) -> list[Any]:
    """A row a patient: the decision, the highest grade, and what is said of each eye."""
    if not patients:
        return []
    head = [_text(words, 8, is_bold=True) for words in ("Patient", "Decision", "Highest grade", "Eyes")]
    rows = [
        [
            _text(one.patient, 8, breaks=True, max_letters=_MAX_NAME_LETTERS),
            _text(one.action, 8, is_bold=True),
            _text(one.class_name or "", 8),
            _text(one.sentence, 8),
        ]
        for one in patients
    ]
    tables = [
        _table([head, *rows[start : start + _ROWS_AT_ONCE]], (110, 80, 90, 219), has_head=True)
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    ]
    return [_heading("Patients; the more pressing eye decides"), *tables]


def _rows(grades: Sequence[Grade]) -> list[Any]:
    from reportlab.platypus import PageBreak

    story: list[Any] = [PageBreak()]
    head = [_text(words, 8, is_bold=True) for words in ("Image", "File", "Status", "Result")]
    # In short tables: the time to break a table over pages grows with its square.
    for start in range(0, len(grades), _ROWS_AT_ONCE):
        rows = [head] if not start else []
        for grade in grades[start : start + _ROWS_AT_ONCE]:
            color = _GOOD if grade.is_graded else _STOP
            said = [_text(grade.class_name or "", 9, is_bold=True)] if grade.is_graded else []
            words = " ".join(
                filter(
                    None,
                    [
                        grade.sentence if grade.is_graded else grade.explanation,
                        prediction_words(grade),
                        grade.decision.sentence if grade.decision else "",
                    ],
                )
            )
            said.append(_text(words, 7, color=_MUTED, max_letters=800))
            rows.append(
                [
                    _picture(grade, 40, _THUMBNAIL_PX),
                    _text(grade.name, 7, breaks=True, max_letters=_MAX_NAME_LETTERS),
                    _text(STATUS_WORDS[grade.status], 8, color=color, is_bold=True),
                    said,
                ]
            )
        story.append(_table(rows, (50, 135, 84, 230), has_head=not start))
    return story


def _passport(grade: Grade) -> list[Any]:
    title = grade.class_name if grade.is_graded else STATUS_WORDS[grade.status].capitalize()
    story = [_text(title or "", 22, is_bold=True, color=_GOOD if grade.is_graded else _STOP)]
    story.append(_text(grade.name, 9, color=_MUTED, breaks=True, max_letters=_MAX_NAME_LETTERS))
    if grade.decision:
        story.append(_text(grade.decision.sentence, 11, is_bold=True))
    if grade.is_graded:
        story.append(_text(grade.sentence))
    pictures = [_picture(grade, 190, _PICTURE_PX), _map_picture(grade, 190)]
    if any(pictures):
        where = f"Where the network looks{f', at {grade.map_stage}' if grade.map_stage else ''}. {grade.map_verdict}"
        captions = [_text("The graded square", 8, color=_MUTED), _text(where, 8, color=_MUTED) if pictures[1] else ""]
        story.append(_table([pictures, captions], (250, 249)))
    gates = [
        [
            _text(f"{check.sign} {check.title}", is_bold=True, color=_level_color(check.level)),
            _text(check.reason, breaks=True),
        ]
        for check in check_gates(grade)
    ]
    story += [_heading("Gates"), _table(gates, (170, 329))]
    story += [_text(one, 8, color=_MUTED) for one in (grade.seen_sentence,) if one]
    if bars := domain_rows(grade):
        story += [_heading("Likeness to the training images (line: the limit)"), _bars(bars)]
    if grade.quality is not None:
        story += [_heading("Quality of the picture"), _text(quality_words(grade))]
    if grade.probabilities:
        story += [_heading("Probabilities")]
        story += [
            _bars((name, share, None, describe_share(share), True) for name, share in grade.probabilities.items())
        ]
    if words := prediction_words(grade):
        story.append(_text(words))
    if grade.cases:
        cells = [
            [_jpeg(case.jpeg, 60) if case.jpeg else _text("no picture", 7, color=_MUTED) for case in grade.cases[:6]],
            [_text(f"{case.class_name}, distance {case.distance:.3f}", 7, breaks=True) for case in grade.cases[:6]],
        ]
        story += [_heading("Nearest training images"), _table(cells, [499 / len(cells[0])] * len(cells[0]))]
    return story


def _card(header: ReportHeader) -> list[Any]:
    facts = [
        ("Run", header.run),
        ("Strategy", header.strategy),
        ("Network", header.backbone),
        ("Training data", header.dataset + (f", version {header.dataset_version}" if header.dataset_version else "")),
        ("Classes", ", ".join(header.class_names)),
        ("Graded", header.created),
        ("Versions", packages()),
    ]
    rows = [[_text(name, 8, is_bold=True), _text(value, 8, breaks=True)] for name, value in facts if value]
    story: list[Any] = [_heading("The classifier"), _table(rows, (110, 389)), _heading("What it can and cannot say")]
    story += [_text(sentence, 8) for sentence in (*about(header), header.notice) if sentence]
    return story


def _level_color(level: str) -> str:
    return {PASSED: _GOOD, STOPPED: _STOP, NOT_REACHED: _MUTED}.get(level, _AMBER)


def _picture(grade: Grade, side: float, side_px: int) -> Any:
    from lib.explain.pictures import to_jpeg

    if grade.pixels is None or grade.status == REFUSED:
        return ""
    return _jpeg(to_jpeg(grade.pixels, max_side_px=side_px), side)


def _map_picture(grade: Grade, side: float) -> Any:
    from lib.explain.pictures import overlay, to_jpeg

    if grade.pixels is None or grade.cam is None:
        return ""
    return _jpeg(to_jpeg(overlay(grade.pixels, grade.cam), max_side_px=_PICTURE_PX), side)


def _jpeg(data: bytes, side: float) -> Any:
    from reportlab.platypus import Image

    return Image(io.BytesIO(data), width=side, height=side, kind="proportional")
