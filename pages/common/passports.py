"""Graded images as passports: picture, verdict, gates and distance, one row a file."""

import base64
import html
from collections.abc import Sequence

import numpy as np
import streamlit as st

from lib.evaluation.verdict import UNLIKE
from lib.figures.style import Palette, palette
from lib.grading.grades import CAUTION, NEAR_LIMIT, PASSED, STOPPED, DomainDistance, GateCheck, Grade, check_all_gates
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
    """Draw one passport a row, as one element: pictures, the verdict, and the distances beside their limits."""
    colors = palette(is_dark=controls.is_dark())
    shown = "".join(_passport(grade, jpeg, colors) for grade, jpeg in rows)
    st.html(f"{_style(colors)}<div role='list'>{shown}</div>")


def draw_large(grade: Grade) -> None:
    """The verdict on one image, large."""
    colors = palette(is_dark=controls.is_dark())
    st.html(f"{_style(colors)}<div class='passport large'>{_verdict(grade, colors)}</div>")


def draw_distances(grade: Grade) -> None:
    """Each comparison of one image with the training images, as a bar with its limit."""
    if said := _distances(grade):
        st.html(f"{_style(palette(is_dark=controls.is_dark()))}<div class='passport large distance'>{said}</div>")


def _style(colors: Palette) -> str:
    return (
        "<style>.passport{display:grid;grid-template-columns:208px minmax(0,1fr) 232px;gap:4px 24px;margin-bottom:24px}"
        ".passport.large{display:block;margin-bottom:0}.passport.large .grade{font-size:40px}"
        ".passport>*{overflow-wrap:anywhere;line-height:1.4}"
        f".passport .name,.passport .distance,.passport.distance{{font-size:14px;color:{colors.muted}}}"
        ".passport .grade{font-size:28px;font-weight:700;line-height:1.2}"
        ".passport .decision{font-weight:600}"
        ".passport .gate{border-left:6px solid;padding:2px 12px;margin:6px 0;font-size:15px}"
        f".passport .chip{{display:inline-block;border-radius:12px;padding:2px 12px;margin-top:6px;font-size:14px;"
        f"border:1px solid {colors.grid}}}"
        f".passport .track{{position:relative;height:12px;border-radius:6px;background:{colors.grid};margin:6px 0}}"
        ".passport .bar{margin-bottom:8px}.passport .track i{position:absolute;left:0;top:0;bottom:0;border-radius:6px}"
        f".passport .track u{{position:absolute;top:-4px;bottom:-4px;width:2px;background:{colors.ink}}}"
        f".passport img{{width:{_PICTURE_PX}px;height:{_PICTURE_PX}px;object-fit:cover;border-radius:4px}}"
        ".passport img+img{margin-left:8px}@media(max-width:720px){.passport{grid-template-columns:1fr}}</style>"
    )


def _passport(grade: Grade, jpeg: bytes | None, colors: Palette) -> str:
    pictures = _pictures(grade, jpeg) or f"<span style='color:{colors.muted}'>No picture</span>"
    return (
        f"<div class='passport' role='listitem'><div>{pictures}</div><div>{_verdict(grade, colors)}</div>"
        f"<div class='distance'>{_distances(grade)}</div></div>"
    )


def _verdict(grade: Grade, colors: Palette) -> str:
    """The decision on top, the grade as the largest word; of the gates only those are written out that ask for care."""
    gates = check_all_gates(grade)
    graded = gates[-1]
    word = (
        f"{grade.class_name}{'?' if grade.is_close_call or grade.is_outside_set else ''}"
        if grade.is_graded
        else "No class"
    )
    color = colors.ink if grade.is_graded else colors.muted
    decided, why = grade.decision.parts if grade.decision else ("", "")
    said = [graded.reason if grade.is_graded else "", set_words(grade), *grade.set_caveats]
    asking = [gate for gate in gates if gate.level in (CAUTION, STOPPED) and not (gate is graded and grade.is_graded)]
    passed = [gate for gate in gates[:-1] if gate.level == PASSED]
    chip = " · ".join(f"{gate.sign} {_text(gate.title)}" for gate in passed)
    return (
        f"<div class='name'>{_text(grade.name)}</div>"
        + (f"<div class='decision'>{_text(decided, 300)}</div>" if decided else "")
        + f"<div class='grade' style='color:{color}'>{_text(word)}</div>"
        + "".join(f"<div>{_text(line, 300)}</div>" for line in said if line)
        + (f"<div class='name'>{_text(why, 600)}</div>" if why else "")
        + "".join(_gate(gate) for gate in asking)
        + (f"<span class='chip' style='color:{_level_color(PASSED)}'>{chip}</span>" if chip else "")
    )


def set_words(grade: Grade) -> str:
    """The conformal set in words; "" where there is none."""
    names = grade.prediction_set
    if not names or grade.coverage is None:
        return ""
    several = f"One of {', '.join(names[:-1])} or {names[-1]}" if len(names) > 1 else f"Only {names[0]}"
    return f"{several}, with {grade.coverage_words}."


def _gate(reading: GateCheck) -> str:
    color = _level_color(reading.level)
    return (
        f"<div class='gate' style='border-color:{color}'>"
        f"<b style='color:{color}'>{reading.sign} {_text(reading.title)}</b> {_text(reading.reason, 300)}</div>"
    )


def _distances(grade: Grade) -> str:
    """How far the image lies from the training images: a bar each, with the limit as a mark across it."""
    readings = grade.domain
    if not readings and grade.distance is not None and grade.threshold is not None:
        readings = (
            DomainDistance(title="Distance to the training images", value=grade.distance, limit=grade.threshold),
        )
    bars = [_bar(one.title, one.value, one.limit) for one in readings]
    if grade.quality is not None and grade.status != UNLIKE:
        bars.append(_bar("Chance of a picture too poor to grade", grade.quality.score, grade.quality.limit, most=1.0))
    return "".join(bars)


def _bar(title: str, value: float, limit: float, *, most: float | None = None) -> str:
    """A value that passes up to its limit; values of any sign, such as energies, are drawn from the limit's left."""
    low, high = 0.0, most or 1.5 * limit
    if limit <= 0:
        reach = max(abs(value - limit), 0.25 * abs(limit), 1e-9)
        low, high = limit - 2 * reach, limit + reach
    filled, mark = (100 * min(1.0, max(0.0, (one - low) / (high - low))) for one in (value, limit))
    words = f"{value:.3f}, limit {limit:.3f}"
    level = STOPPED if value > limit else CAUTION if limit > 0 and value > NEAR_LIMIT * limit else PASSED
    alt = html.escape(readable(f"{title}: {words}"), quote=True)
    return (
        f"<div class='bar'>{_text(title)}<div class='track' role='img' aria-label='{alt}'>"
        f"<i style='width:{filled:.1f}%;background:{_level_color(level)}'></i><u style='left:{mark:.1f}%'></u></div>"
        f"{words}</div>"
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
