"""Grade images: which class does a trained network see in new images, and do they look like its training images?"""

from collections import Counter
from typing import TYPE_CHECKING, Any

import streamlit as st

from lib.atomic import read_json
from lib.data.builtin import drawn_samples, photographs
from lib.evaluation.headline import Score
from lib.evaluation.verdict import GRADED
from lib.figures.result_charts import probability_figure
from lib.grading import manifest, report
from lib.grading.grades import MEDICAL_NOTICE, STATUS_WORDS, Grade, GradingOptions, ReportHeader
from lib.grading.operating_point import OperatingPoint, read_operating_point
from lib.grading.upload_session import UploadSession
from lib.out_of_memory import trim_memory
from lib.tracking.scores import run_score
from pages.common import controls, resources, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.passports import draw_passports, overlay_jpeg
from pages.common.results import distinct_labels, ranked
from pages.common.text import count, percent, plain, readable

if TYPE_CHECKING:
    from lib.grading.grader import Grader

ensure_frame(__file__)

ROWS_PER_PAGE = 8


def gradable_runs() -> dict[str, str]:
    """run_id -> label of the runs that have a classifier: the current data set's first, its best one foremost."""
    runs = ranked([run for run in resources.run_records() if (run.folder / "bundle" / "manifest.json").is_file()])
    best = resources.best_result(state.current_dataset() or "")
    runs.sort(
        key=lambda run: (
            run.config.get("dataset") != state.current_dataset(),
            best is None or run.run_id != best.run_id,
        )
    )
    labels = distinct_labels(runs)
    return {run.run_id: _with_score(labels[run.run_id], run_score(run)) for run in runs}


def _with_score(label: str, score: Score | None) -> str:
    return label if score is None else f"{label} · {score.metric.word} {score.metric.text(score.value)}"


@st.cache_data(max_entries=64, show_spinner=False)
def manifest_of(run_id: str) -> dict[str, Any]:
    """What a run's classifier says of itself (without torch)."""
    folder = next(run.folder for run in resources.run_records() if run.run_id == run_id)
    return dict(read_json(folder / "bundle" / "manifest.json"))


def stored_point(run_id: str) -> OperatingPoint | None:
    """The operating point that is kept with a run."""
    return read_operating_point(next(run for run in resources.run_records() if run.run_id == run_id))


def is_medical(run_id: str) -> bool:
    """Whether a run was trained on images that are said to be medical, then or since."""
    return manifest.is_medical(manifest_of(run_id))


def take_uploads(session: UploadSession) -> None:
    """An uploader that hands its files to the session and empties itself, so that it always means "add"."""
    turn = st.session_state.setdefault("grade_turn", 0)
    uploads = st.file_uploader(
        "Add images, or a zip of images",
        accept_multiple_files=True,
        key=f"grade_upload_{turn}",
        help="JPEG, PNG, GIF, BMP, WebP, TIFF or HEIC. They stay in this server's memory until you clear them or "
        "close the browser; nothing is stored.",
    )
    if uploads:
        session.add((upload.name, upload.getvalue()) for upload in uploads)
        resources.forget_uploads(uploads)
        st.session_state["grade_turn"] = turn + 1
        st.rerun()


def offer_samples(session: UploadSession) -> None:
    """Nothing to grade yet: say what happens, and offer the images that come with the program."""
    samples, photos = drawn_samples(), photographs()
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(
            "Add images above. Each passes three gates: **readable**, **looks like the training images**, **graded**. "
            "An image unlike the training images gets no class; one that looks like them may still get a wrong one.",
            text_alignment="center",
        )
        with st.container(horizontal=True, horizontal_alignment="center"):
            is_drawn = bool(samples) and st.button(
                "Try the samples", type="primary", icon=":material/add_photo_alternate:", key="grade_samples",
                help="Generated fundus images of all grades, and files that must be refused.",
            )  # fmt: skip
            is_photographed = bool(photos) and st.button(
                "Try real photographs", icon=":material/photo_camera:", key="grade_photographs",
                help="An eye and things that are none, as scikit-image comes with them.",
            )  # fmt: skip
        if photos:
            st.caption(
                plain("Photographs: " + ", ".join(photo.label for photo in photos) + ".", 700), text_alignment="center"
            )
    if is_drawn or is_photographed:
        session.add((sample.name, sample.path.read_bytes()) for sample in (samples if is_drawn else photos))
        st.rerun()


def grade_waiting(session: UploadSession, key: str, grader: "Grader") -> None:
    """Grade what this run has not seen yet; each grade is kept at once, so an interruption loses nothing."""
    waiting = session.waiting(key)
    if not waiting:
        return
    bar = st.progress(0.0, text=f"Grading {count(len(waiting), 'image')} …")
    for done, grade in enumerate(grader.grade(waiting, with_cam=True), start=1):
        session.keep(key, grade.name, grade)
        bar.progress(done / len(waiting), text=f"Graded {done} of {count(len(waiting), 'image')}")
    bar.empty()


def show_summary(grades: list[Grade]) -> None:
    """How many of each, and of which classes."""
    statuses = Counter(grade.status for grade in grades)
    classes = Counter(grade.class_name for grade in grades if grade.status == GRADED)
    by_class = ", ".join(f"{number} {plain(name)}" for name, number in classes.most_common(8))
    parts = [f"{statuses[status]} {words}" for status, words in STATUS_WORDS.items() if statuses[status]]
    parts[0] += f" ({by_class})" if statuses[GRADED] else ""
    st.markdown(f"**{count(len(grades), 'file')}**: {', '.join(parts)}.")


def explain_limits(header: ReportHeader) -> None:
    """What the limits mean and where they come from, below what is graded."""
    said = (header.gate_sentence, header.rule_sentence, header.seen_sentence, header.split_caveat)
    st.caption(plain(" ".join(filter(None, said)), 900))


def show_passports(rows: list[tuple[Grade, bytes | None]]) -> None:
    """The passports, page by page, all or of one status."""
    present = [status for status in STATUS_WORDS if any(grade.status == status for grade, _ in rows)]
    if len(present) > 1:
        chosen = st.segmented_control(
            "Show", ["all", *present], default="all", required=True, key="grade_status",
            label_visibility="collapsed", format_func=lambda status: STATUS_WORDS.get(status, "all"),
        )  # fmt: skip
        rows = [row for row in rows if chosen in ("all", row[0].status)]
    num_pages = max(1, -(-len(rows) // ROWS_PER_PAGE))
    page = min(st.session_state.get("grade_page", 1), num_pages)
    draw_passports(rows[(page - 1) * ROWS_PER_PAGE : page * ROWS_PER_PAGE])
    if num_pages > 1:
        st.pagination(num_pages, key="grade_page")


def look_closer(rows: list[tuple[Grade, bytes | None]], grader: "Grader") -> None:
    """One image large: picture, where the network looked, and its probabilities."""
    pictures = [(grade, jpeg) for grade, jpeg in rows if jpeg is not None]
    pictures.sort(key=lambda row: row[0].status != GRADED)
    if not pictures:
        return
    st.subheader("Look closer", anchor=False)
    number = st.selectbox(
        "Image", range(len(pictures)), format_func=lambda row: readable(pictures[row][0].name), key="grade_image"
    )
    grade, jpeg = pictures[number]
    left, middle, right = st.columns(3)
    left.image(jpeg, caption="What the network saw", width="stretch", alt=readable(f"The image {grade.name}"))
    if grade.status != GRADED:
        middle.markdown(f"No class is given. {plain(grade.reason, 400)}")
        return
    if grade.cam is None:
        middle.markdown(f"{grader.why_no_cam or 'The map was left out'}, so there is no {grader.map_method.title} map.")
    else:
        caption = f"{grader.map_method.title}: yellow speaks most for {plain(grade.class_name)}"
        alt = readable(f"{grader.map_method.title} map of {grade.name} for {grade.class_name}")
        middle.image(overlay_jpeg(jpeg, grade.cam), caption=caption, width="stretch", alt=alt)
    with right:
        if grade.seen_sentence:
            st.warning(grade.seen_sentence, icon=":material/school:")
        share = percent(grade.confidence or 0.0)
        st.metric("Given class", readable(grade.class_name), help="By the rule that is chosen above.")
        st.markdown(f"{share} is the network's own probability of it.")
        if grade.expected_grade is not None or grade.is_close_call:
            st.markdown(plain(grade.sentence, 400))
        figure = probability_figure(
            list(grade.probabilities.values()), list(grade.probabilities), controls.is_dark(), given=grade.target
        )
        words = ", ".join(f"{name} {percent(share)}" for name, share in grade.probabilities.items())
        controls.show_figure(figure, alt=readable(f"Probabilities: {words}", 400), key="grade_probabilities")
        if grader.header.notice:
            st.caption(grader.header.notice)


def show_table(session: UploadSession, key: str, header: ReportHeader) -> None:
    """The table, and everything to take away."""
    light = [grade for grade, _ in session.rows(key)]
    table = report.to_table(light, header)
    st.subheader("Take it away", anchor=False)
    with st.container(horizontal=True):
        for label, suffix, kind, make in (
            ("Table as CSV", "csv", "text/csv", lambda: report.to_csv(light, header)),
            ("All values as JSON", "json", "application/json", lambda: report.to_json(light, header)),
            ("Report with pictures", "html", "text/html", lambda: report.to_html(session.grades(key), header)),
        ):
            st.download_button(
                label, make, file_name=f"grades_{key[:8]}.{suffix}", mime=kind, key=f"grade_{suffix}",
                icon=":material/download:", on_click="ignore",
            )  # fmt: skip
        if st.button("Clear all", icon=":material/delete_sweep:", type="tertiary", key="grade_clear"):
            session.clear()
            st.session_state["grade_was_cleared"] = True
            st.rerun()
    shares = [column for column in table.columns if column == "confidence" or column.startswith("probability of ")]
    controls.show_table(
        table,
        hide_index=True,
        column_config={name: st.column_config.NumberColumn(readable(name), format="percent") for name in shares},
        alt="One row a file: status, class, probabilities, distance to the training images, reason",
    )


controls.page_header(
    "Grade images", "Which class does a trained network see in new images, and do they look like its training images?"
)
labels = gradable_runs()
if not labels:
    controls.empty_state(
        "No training has finished yet. Train a model (a linear probe takes seconds), then grade new images with it.",
        button="Train a model", page="train_model", icon=":material/model_training:",
    )  # fmt: skip
    end_page()

if st.session_state.pop("grade_was_cleared", False):
    trim_memory()  # in the run after the one that held the images
session: UploadSession = st.session_state.setdefault("grade_session", UploadSession())
left, right = st.columns(2, gap="medium")
with left:
    asked = state.current_run() or ""
    is_known = any(run.run_id.startswith(asked) for run in resources.run_records())
    run_id = controls.choose_run(labels, key="grade_run", label="Graded by", is_known=is_known)
    if run_id is None:
        end_page()
    by_thresholds = controls.choose_rule(manifest_of(run_id).get("thresholds"), key=f"grade_rule_{run_id}")
    if words := next((run.recorded_words for run in resources.run_records() if run.run_id == run_id), ""):
        st.caption(plain(f"{words[:1].upper()}{words[1:]}; it came with the program."))
    if point := stored_point(run_id):
        st.caption(plain(f"Stored operating point: {point.sentence}", 600))
    if is_medical(run_id):
        st.caption(MEDICAL_NOTICE)
with right:
    take_uploads(session)

if not len(session):
    offer_samples(session)
    end_page()

with show_errors("grade the images"):
    grader = resources.cached_grader(run_id).deciding(GradingOptions(by_thresholds=by_thresholds))
    grader.operating_point = stored_point(run_id)  # it may have changed since the network was loaded
    graded_as = f"{run_id} by expected grade" if by_thresholds else run_id
    grade_waiting(session, graded_as, grader)
    rows = session.rows(graded_as)
    show_summary([grade for grade, _ in rows])
    show_passports(rows)
    explain_limits(grader.header)
    look_closer(rows, grader)
    show_table(session, graded_as, grader.header)
