"""Graded images as passports: picture, verdict, gates and distance, one row a file."""

import base64
import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.figures.style import Palette, palette
from lib.grading.grades import CAUTION, PASSED, STOPPED, GateCheck, Grade, check_gates
from lib.grading.upload_session import jpeg_pixels
from pages.common import controls
from pages.common.text import readable

_PICTURE_PX = 96
# (light theme, dark theme); each at least 4.5:1 on its background.
_LEVEL_COLORS = {PASSED: ("#0F766E", "#2DD4BF"), CAUTION: ("#92400E", "#FBBF24"), STOPPED: ("#B91C1C", "#F87171")}


@st.cache_data(max_entries=256, show_spinner=False)
def overlay_jpeg(jpeg: bytes, cam: np.ndarray) -> bytes:
    """A Grad-CAM map (h, w) over a picture."""
    from lib.explain.pictures import overlay, to_jpeg

    pixels = jpeg_pixels(jpeg)
    assert pixels is not None  # noqa: S101  (a JPEG was given)
    return to_jpeg(overlay(pixels, cam))


def draw_passports(rows: Sequence[tuple[Grade, bytes | None]]) -> None:
    """Draw one passport a row, as one element: pictures, the verdict, and the distance beside its limit."""
    colors = palette(is_dark=controls.is_dark())
    style = (
        "<style>.passport{display:grid;grid-template-columns:208px minmax(0,1fr) 232px;gap:4px 24px;margin-bottom:24px}"
        ".passport>*{overflow-wrap:anywhere;line-height:1.4}"
        f".passport .name,.passport .distance{{font-size:14px;color:{colors.muted}}}"
        ".passport .grade{font-size:28px;font-weight:700;line-height:1.2}"
        ".passport .gate{border-left:6px solid;padding:2px 12px;margin:6px 0;font-size:15px}"
        f".passport .chip{{display:inline-block;border-radius:12px;padding:2px 12px;margin-top:6px;font-size:14px;"
        f"border:1px solid {colors.grid}}}"
        f".passport .track{{position:relative;height:12px;border-radius:6px;background:{colors.grid};margin:6px 0}}"
        ".passport .track i{position:absolute;left:0;top:0;bottom:0;border-radius:6px}"
        f".passport .track u{{position:absolute;top:-4px;bottom:-4px;width:2px;background:{colors.ink}}}"
        f".passport img{{width:{_PICTURE_PX}px;height:{_PICTURE_PX}px;object-fit:cover;border-radius:4px}}"
        ".passport img+img{margin-left:8px}@media(max-width:720px){.passport{grid-template-columns:1fr}}</style>"
    )
    st.html(f"{style}<div role='list'>{''.join(_passport(grade, jpeg, colors) for grade, jpeg in rows)}</div>")


def _passport(grade: Grade, jpeg: bytes | None, colors: Palette) -> str:
    gates = check_gates(grade)
    readable_gate, like, graded = gates
    pictures = _pictures(grade, jpeg) or f"<span style='color:{colors.muted}'>No picture</span>"
    # The verdict is the largest word; of the gates only those are written out that ask for something.
    word = f"{grade.class_name}{'?' if grade.is_close_call else ''}" if grade.is_graded else "No class"
    color = colors.ink if grade.is_graded else colors.muted
    said = f"<div>{_text(graded.reason, 300)}</div>" if grade.is_graded else ""
    asking = [gate for gate in gates if gate.level in (CAUTION, STOPPED) and not (gate is graded and grade.is_graded)]
    passed = [gate for gate in (readable_gate, like) if gate.level == PASSED]
    chip = " · ".join(f"{gate.sign} {_text(gate.title)}" for gate in passed)
    return (
        f"<div class='passport' role='listitem'><div>{pictures}</div>"
        f"<div><div class='name'>{_text(grade.name)}</div><div class='grade' style='color:{color}'>{_text(word)}</div>"
        f"{said}{''.join(_gate(gate) for gate in asking)}"
        + (f"<span class='chip' style='color:{_level_color(PASSED)}'>{chip}</span>" if chip else "")
        + f"</div><div class='distance'>{_distance(grade, like)}</div></div>"
    )


def _gate(reading: GateCheck) -> str:
    color = _level_color(reading.level)
    return (
        f"<div class='gate' style='border-color:{color}'>"
        f"<b style='color:{color}'>{reading.sign} {_text(reading.title)}</b> {_text(reading.reason, 300)}</div>"
    )


def _distance(grade: Grade, like: GateCheck) -> str:
    """How far the image lies from the training images, as a bar with the limit as a mark across it."""
    if grade.distance is None or grade.threshold is None or grade.threshold <= 0:
        return ""
    whole = 1.5 * grade.threshold
    filled, limit = 100 * min(1.0, grade.distance / whole), 100 / 1.5
    words = f"{grade.distance:.3f}, limit {grade.threshold:.3f}"
    level = STOPPED if grade.distance > grade.threshold else like.level
    return (
        f"Distance to the training images<div class='track' role='img' aria-label='Distance {words}'>"
        f"<i style='width:{filled:.1f}%;background:{_level_color(level)}'></i><u style='left:{limit:.1f}%'></u></div>"
        f"{words}"
    )


def _level_color(level: str) -> str:
    return _LEVEL_COLORS[level][controls.is_dark()]


def _text(text: str, max_characters: int = 160) -> str:
    return html.escape(readable(text, max_characters))


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
