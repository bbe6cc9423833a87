"""What does a network see, from generic edges to the parts of a class, and what of it is worth borrowing?"""

from pages.common.frame import ensure_frame

ensure_frame(__file__)

import streamlit as st  # noqa: E402

from pages.common import controls, state, weights_panel  # noqa: E402
from pages.common.errors import show_errors  # noqa: E402
from pages.common.text import plain  # noqa: E402
from pages.inside.scene import choose_scene  # noqa: E402
from pages.inside.views import VIEWS, ViewSpec, find_view  # noqa: E402

# All tabs in one row at 1280 px.
_TABS_STYLE = "<style>.st-key-inside_view button { padding-left: 12px; padding-right: 12px; }</style>"


def main() -> None:
    wanted = state.current("view")
    view = find_view(wanted)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        controls.page_header("Look inside", view.question)
        weights_panel.draw_search("inside_search", closes_run=True)
    if wanted and view.name != wanted:
        st.warning(f"There is no view {plain(wanted)}; showing the first one.")
    scene = choose_scene(with_target=view.with_target)
    _draw_tabs(view)
    with show_errors(f"show {view.title}"):
        view.draw(scene)


def _draw_tabs(view: ViewSpec) -> None:
    """The views side by side; only the chosen one is computed."""
    st.html(_TABS_STYLE)
    titles = {one.name: one.title for one in VIEWS}
    controls.choose(
        "View", titles, "view", key="inside_view", value=view.name, is_segmented=True, label_visibility="collapsed"
    )


with show_errors("look inside the network"):
    main()
