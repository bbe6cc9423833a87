"""Graded images as passports: picture, evidence, and three gates from left to right, one row a file."""

import base64
import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.figures.style import palette
from lib.grading.grades import Grade
from lib.grading.passport import CAUTION, NOT_REACHED, PASSED, STOPPED, GateReading, read_passport
from lib.grading.sitting import jpeg_pixels
from pages.common import controls
from pages.common.text import readable

_PICTURE_PX = 96
# (light theme, dark theme); each at least 4.5:1 on its background.
_LEVEL_COLORS = {PASSED: ("#0F766E", "#2DD4BF"), CAUTION: ("#92400E", "#FBBF24"), STOPPED: ("#B91C1C", "#F87171")}


@st.cache_data(max_entries=256, show_spinner=False)
def overlay_jpeg(jpeg: bytes, cam: np.ndarray) -> bytes:
    """A Grad-CAM map (h, w) over a picture."""
    from lib.explain.overlays import overlay, to_jpeg

    pixels = jpeg_pixels(jpeg)
    assert pixels is not None  # noqa: S101  (a JPEG was given)
    return to_jpeg(overlay(pixels, cam))


def draw_passports(rows: Sequence[tuple[Grade, bytes | None]]) -> None:
    """Draw one passport a row, as one element."""
    muted = palette(is_dark=controls.is_dark()).muted
    style = (
        "<style>.passport{display:grid;grid-template-columns:208px repeat(3,minmax(0,1fr));gap:8px;margin-bottom:20px}"
        ".passport .gate{border:1px solid;border-left-width:6px;border-radius:8px;padding:8px 12px;font-size:15px}"
        ".passport .gate b{display:block;font-size:16px}.passport .name{grid-column:1/-1;font-weight:600}"
        ".passport .gate,.passport .name{overflow-wrap:anywhere;line-height:1.4}"
        f".passport img{{width:{_PICTURE_PX}px;height:{_PICTURE_PX}px;object-fit:cover;border-radius:4px}}"
        ".passport img+img{margin-left:8px}@media(max-width:720px){.passport{grid-template-columns:1fr}}</style>"
    )
    st.html(f"{style}<div role='list'>{''.join(_passport(grade, jpeg, muted) for grade, jpeg in rows)}</div>")


def _passport(grade: Grade, jpeg: bytes | None, muted: str) -> str:
    gates = "".join(_gate(reading, muted) for reading in read_passport(grade))
    name = html.escape(readable(grade.name))
    pictures = _pictures(grade, jpeg) or f"<span style='color:{muted}'>No picture</span>"
    return f"<div class='passport' role='listitem'><div class='name'>{name}</div><div>{pictures}</div>{gates}</div>"


def _gate(reading: GateReading, muted: str) -> str:
    color = muted if reading.level == NOT_REACHED else _LEVEL_COLORS[reading.level][controls.is_dark()]
    return (
        f"<div class='gate' style='border-color:{color}'>"
        f"<b style='color:{color}'>{reading.sign} {html.escape(readable(reading.title))}</b>"
        f"{html.escape(readable(reading.reason, 300))}</div>"
    )


def _pictures(grade: Grade, jpeg: bytes | None) -> str:
    if jpeg is None:
        return ""
    shown = _image(jpeg, f"The graded square of {grade.name}")
    if grade.cam is not None:
        shown += _image(overlay_jpeg(jpeg, grade.cam), f"Where {grade.name} speaks for {grade.class_name}")
    return shown


def _image(jpeg: bytes, alt: str) -> str:
    source = base64.b64encode(jpeg).decode()
    return f"<img alt='{html.escape(readable(alt), quote=True)}' src='data:image/jpeg;base64,{source}'>"
