"""Grade images: which class does a trained network see in new images, and do they look like its training images?"""

import streamlit as st

from lib.grading.grades import MEDICAL_NOTICE
from pages.common import controls, resources, state
from pages.common.errors import end_page, show_errors
from pages.common.frame import ensure_frame
from pages.common.text import plain
from pages.common.views import draw_tabs, find_view
from pages.grade import intake, runs
from pages.grade.bundle import draw_bundle, take_bundle
from pages.grade.options import choose_options
from pages.grade.scene import Scene
from pages.grade.views import VIEWS

ensure_frame(__file__)

# In sight wherever one has scrolled to.
_NOTICE_STYLE = (
    "<style>.st-key-grade_notice{position:fixed;bottom:0;right:0;z-index:99;width:auto;padding:4px 16px;"
    "border-radius:8px 0 0 0;background:#92400E}.st-key-grade_notice p{color:#FFF!important;font-size:14px}</style>"
)


def say_notice(run_id: str) -> None:
    """That a run on medical images is no medical device, on every screen of the page."""
    if runs.is_medical(run_id):
        st.html(_NOTICE_STYLE)
        with st.container(key="grade_notice"):
            st.markdown(MEDICAL_NOTICE)


def draw_model(run_id: str, coverage: float) -> None:
    """What the classifier is worth and the classifier itself, to take along, at the page's end."""
    with st.expander("Model card: what the probabilities are worth", icon=":material/verified:"):
        for sentence in runs.card_words(run_id, coverage):
            st.markdown(plain(sentence, 600))
    with st.expander("Take the model with you", icon=":material/inventory_2:"):
        draw_bundle(run_id)


controls.page_header(
    "Grade images", "Which class does a network see in new images, and when should it say no?", is_low=True
)
labels = runs.gradable_runs()
if not labels:
    controls.empty_state(
        "No training has finished yet. Train a model (a linear probe takes seconds), then grade new images with it.",
        button="Train a model", page="train_model", icon=":material/model_training:",
    )  # fmt: skip
    with st.expander("Or bring a model from elsewhere", icon=":material/inventory_2:"):
        take_bundle()
    end_page()

session = intake.current_session()
with st.container(horizontal=True, vertical_alignment="bottom"):
    asked = state.current_run() or ""
    is_known = any(run.run_id.startswith(asked) for run in resources.run_records())
    with st.container(width="stretch"):
        run_id = controls.choose_run(labels, key="grade_run", label="Graded by", is_known=is_known)
    if run_id is None:
        end_page()
    options = choose_options(run_id)
    if len(session):
        with show_errors("take the images"):
            intake.draw_more(session)
say_notice(run_id)
words = next((run.recorded_words for run in resources.run_records() if run.run_id == run_id), "")
if not len(session):
    with show_errors("take the images"):
        intake.draw_empty()
    intake.offer_samples()
    if words:
        st.caption(plain(f"{words[:1].upper()}{words[1:]}; the run came with the program."))
    draw_model(run_id, options.coverage)
    end_page()

with show_errors("grade the images"):
    scene = Scene.of(run_id, session, options)
    if scene.grade():
        view = find_view(VIEWS, state.current("tab"))
        draw_tabs(VIEWS, view, "tab", key="grade_view")
        with st.container(horizontal=True, vertical_alignment="center"):
            st.markdown(scene.summary, width="content")
            st.caption(intake.LINK_SENTENCE, help=intake.LINK_HELP, width="content")
        view.draw(scene)
draw_model(run_id, options.coverage)
