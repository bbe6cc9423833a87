"""The paper: hostile names, notice and number on each page, the same bytes for the same time, many images quickly."""

import dataclasses
import re

import numpy as np
import pytest

from lib.grading.grades import Decision, DomainDistance, Grade, NearestCase, QualityReading, ReportHeader
from lib.grading.report import PAPER_NOTICE, to_html
from lib.grading.report_pdf import plain, to_pdf

PIXELS = np.full((24, 24, 3), 90, np.uint8)
HEADER = ReportHeader(
    run="0123456789", dataset="<b>Data</b>", backbone="Network", strategy="linear_probe", class_names=("cat", "<i>"),
    is_medical=True, false_alarm_rate=0.05, num_calibration=80, created="2026-01-02T03:04:05+00:00",
    dataset_version="237a42817fd5e1d2",
)  # fmt: skip
NAMES = (
    "<b>&amp;",
    "x" * 5000,
    "\u05e9\u05dc\u05d5\u05dd\u202egpj.exe",
    "\U0001f600\U0001f468\u200d\U0001f467.png",
    "\udcff\x00.jpg",
    "",
)
FULL = Grade(
    "1.png", status="graded", class_name="cat", target=0, confidence=0.75, probabilities={"cat": 0.75, "<i>": 0.25},
    distance=0.2, threshold=0.3, reason="Like.", pixels=PIXELS, cam=np.ones((2, 2)),
    prediction_set=("cat",), coverage=0.9, map_stage="block4", map_verdict="It follows the weights.",
    domain=(DomainDistance(title="Energy", value=-5.0, limit=-3.0), DomainDistance(title="B", value=np.inf, limit=1.0)),
    quality=QualityReading(score=0.9, limit=0.5, kind="blurred", reason="Blurred", hint="Hold still."),
    cases=(NearestCase(image_id="ab", class_name="<i>", distance=0.1),),
    decision=Decision(action="refer", sentence="Refer <b>now</b>.", probability=0.8),
)  # fmt: skip


def num_pages(data):
    return max(int(found) for found in re.findall(rb"/Count (\d+)", data))


@pytest.mark.parametrize("name", NAMES)
def test_no_name_breaks_the_paper(name):
    refused = Grade(name, status="refused", reason=f"Cannot read {name}.")
    data = to_pdf([dataclasses.replace(FULL, name=name), refused], HEADER)
    assert data.startswith(b"%PDF-")
    assert num_pages(data) >= 3


def test_the_same_time_gives_the_same_bytes_with_embedded_fonts_and_no_author():
    data = to_pdf([FULL], HEADER)
    assert data == to_pdf([FULL], HEADER)
    assert b"/FontFile2" in data
    assert to_pdf([FULL], dataclasses.replace(HEADER, created="2026-01-03T00:00:00+00:00")) != data


def test_head_and_foot_are_on_each_page(monkeypatch):
    from reportlab.pdfgen.canvas import Canvas

    drawn = []
    monkeypatch.setattr(Canvas, "drawString", lambda _, x, y, text: drawn.append(text))
    monkeypatch.setattr(Canvas, "drawRightString", lambda _, x, y, text: drawn.append(text))
    pages = num_pages(to_pdf([FULL] * 3, HEADER))
    assert pages >= 4
    assert drawn.count(PAPER_NOTICE) == pages
    assert drawn.count(HEADER.created) == pages
    assert [text for text in drawn if text.startswith("Page ")] == [f"Page {n} of {pages}" for n in range(1, pages + 1)]


def test_many_images_have_a_row_each_and_an_empty_report_is_one():
    assert 3 <= num_pages(to_pdf([FULL] * 45, HEADER)) < 45
    assert num_pages(to_pdf([], HEADER)) == 1


def test_letters_that_hide_or_turn_text_are_replaced():
    assert plain("a\u202eb\x00c\nd") == "a\ufffdb\ufffdc d"
    assert plain("abcdef", 4) == "abc…"


def test_the_page_says_what_is_on_the_paper():
    page = to_html([FULL], HEADER)
    for said in ("Refer &lt;b&gt;now&lt;/b&gt;.", "With 90 % coverage", "Hold still.", "Energy: -5.000, limit -3.000",
                 "&lt;i&gt; (0.100)", "data version 237a42817fd5e1d2", PAPER_NOTICE):  # fmt: skip
        assert said in page
