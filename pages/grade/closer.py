"""One image large: its passport, where the network looked and whether that map may be believed, and why this class."""

import hashlib
from dataclasses import replace
from typing import Any

import streamlit as st

from lib.evaluation.verdict import describe_share
from lib.figures.result_charts import probability_figure
from lib.grading.grades import Grade
from lib.grading.report import to_html
from lib.grading.upload_session import jpeg_pixels
from lib.progress import Progress
from pages.common import background, controls, state
from pages.common.passports import draw_distances, draw_large, overlay_jpeg
from pages.common.text import plain, readable
from pages.common.tiles import EncodedTile, draw_tiles
from pages.grade import corrections_panel
from pages.grade.scene import Scene
from pages.grade.selection import Row, image_of

_CHOICES, _WAIT_S = 12, 1.0


def draw(scene: Scene) -> None:
    """The view."""
    rows = [row for row in scene.rows if row[0].sha256]
    if not rows:
        st.markdown("There is no image to look at.")
        return
    wanted = state.current("image")
    place = next((at for at, (grade, _) in enumerate(rows) if image_of(grade) == wanted), None)
    if place is None:
        place = next((at for at, (grade, _) in enumerate(rows) if grade.is_graded), 0)
    if len(rows) > 1:
        _draw_choice(rows, place)
    grade, jpeg = rows[place]
    if grade.cam is not None and not grade.map_verdict:
        words = _map_verdict(scene, grade)
        grade = replace(grade, map_verdict=words)
    picture, reading = st.columns([2, 1.25], gap="medium")
    with picture:
        _draw_pictures(scene, grade, jpeg)
        if grade.is_graded:
            _draw_probabilities(grade)
    with reading:
        draw_large(grade)
        draw_distances(grade)
        _draw_cases(scene, grade)
        corrections_panel.draw(scene, grade)
        _offer_reports(scene, grade, jpeg)


def _offer_reports(scene: Scene, grade: Grade, jpeg: bytes | None) -> None:
    """The report of this image alone."""
    header = scene.grader.header

    def full() -> list[Grade]:
        return scene.grader.with_case_pictures([replace(grade, pixels=jpeg_pixels(jpeg))])

    def pdf() -> bytes:
        from lib.grading.report_pdf import to_pdf

        return to_pdf(full(), header)

    with st.container(horizontal=True):
        for label, suffix, kind, make in (
            ("PDF", "pdf", "application/pdf", pdf), ("HTML", "html", "text/html", lambda: to_html(full(), header)),
        ):  # fmt: skip
            st.download_button(
                label, make, file_name=f"grade_{grade.sha256[:8]}.{suffix}", mime=kind, key=f"grade_one_{suffix}",
                icon=":material/download:", type="tertiary", on_click="ignore", help="The report of this image",
            )  # fmt: skip


def _draw_choice(rows: list[Row], place: int) -> None:
    """A row of thumbnails, the present one marked; each is a link to itself."""
    first = max(0, min(place - _CHOICES // 2, len(rows) - _CHOICES))
    tiles = [
        EncodedTile(
            jpeg, "", "", readable(f"{grade.name}: {grade.class_name or grade.status}"), is_marked=at == place,
            link=state.page_link("grade_images", image=image_of(grade), tab="closer"),
        )
        for at, (grade, jpeg) in enumerate(rows[first : first + _CHOICES], start=first)
        if jpeg is not None
    ]  # fmt: skip
    draw_tiles(tiles, columns=_CHOICES, least_px=48)


def _draw_pictures(scene: Scene, grade: Grade, jpeg: bytes | None) -> None:
    if jpeg is None:
        st.markdown("There is no picture of this file.")
        return
    left, right = st.columns(2)
    left.image(jpeg, caption="What the network saw", width="stretch", alt=readable(f"The image {grade.name}"))
    if not grade.is_graded:
        return
    title = scene.grader.map_method.title
    with right:
        if grade.cam is None:
            st.markdown(f"{scene.grader.why_no_cam or 'The map was left out'}, so there is no {title} map.")
            return
        at = f" at {plain(grade.map_stage)}" if grade.map_stage else ""
        st.image(
            overlay_jpeg(jpeg, grade.cam), width="stretch",
            caption=f"{title}{at}: yellow speaks most for {plain(grade.class_name)}",
            alt=readable(f"{title} map of {grade.name} for {grade.class_name}"),
        )  # fmt: skip
        st.markdown(f"**The map:** {plain(grade.map_verdict, 600)}" if grade.map_verdict else "**The map:** checking …")


def _draw_probabilities(grade: Grade) -> None:
    figure = probability_figure(
        list(grade.probabilities.values()), list(grade.probabilities), controls.is_dark(), given=grade.target
    )
    words = ", ".join(f"{name} {describe_share(share)}" for name, share in grade.probabilities.items())
    controls.show_figure(figure, alt=readable(f"Probabilities: {words}", 400), key="grade_probabilities")


@st.cache_data(max_entries=256, show_spinner=False)
def _case_picture(run_id: str, image_id: str, _grader: Any) -> bytes | None:
    """The picture of a training image, read once; None where its data set is gone."""
    return _grader.case_picture(image_id)


def _draw_cases(scene: Scene, grade: Grade) -> None:
    if not grade.cases:
        return
    st.caption("Nearest training images")
    cases = [
        replace(case, jpeg=case.jpeg or _case_picture(scene.run_id, case.image_id, scene.grader))
        for case in grade.cases
    ]
    pictured = [
        EncodedTile(case.jpeg, readable(case.class_name), f"{case.distance:.3f}",
                    readable(f"Training image of {case.class_name}, distance {case.distance:.3f}"))
        for case in cases if case.jpeg
    ]  # fmt: skip
    if pictured:
        draw_tiles(pictured, columns=3, least_px=64, text_px=14)
    if rest := [f"{case.class_name} ({case.distance:.3f})" for case in cases if not case.jpeg]:
        st.markdown(plain(", ".join(rest), 300))


def _map_verdict(scene: Scene, grade: Grade) -> str:
    """What the checks of the map say; measured in a thread for the image that is looked at, kept with its grade."""
    digest = hashlib.sha256(f"{scene.task_name} {grade.sha256}".encode()).hexdigest()[:24]
    name = f"map:{digest}"
    task = background.find(name)
    if task is None:
        task = background.start(name, "Checking the map", lambda progress: _check(scene, grade, progress))
    if not task.is_over:
        _watch(name)
        return ""
    if task.error:
        return f"Not checked. {task.error}"
    return str(task.result)


def _check(scene: Scene, grade: Grade, progress: Progress) -> str:
    from lib.explain.map_checks import check_map
    from lib.explain.network import default_map_stage

    grader, content = scene.grader, scene.session.content(grade.sha256)
    if content is None:
        return ""
    pixels = grader.inputs.decode(content).pixels
    retina: Any = None
    if grader.inputs.crop_policy == "retina_box":
        from lib.data.retina_measures import trace_fundus

        retina = trace_fundus(grader.inputs.framed(pixels) / 255.0).retina
    method = grader.map_method
    card = check_map(
        pixels, grader.classifier, preprocessing=grader.inputs, class_names=grader.class_names, method=method.name,
        stage=default_map_stage(grader.classifier) if method.is_at_stage else None, verdict=grade, retina=retina,
        progress=progress,
    )  # fmt: skip
    words = " ".join(card.sentences())
    scene.session.keep_map_verdict(scene.key, grade.sha256, words)
    return words


@st.fragment(run_every=_WAIT_S)
def _watch(name: str) -> None:
    task = background.find(name)
    if task is None or task.is_over:
        st.rerun(scope="app")
