"""What does a network see, from generic edges to the parts of a class, and what of it is worth borrowing?"""

from pages.common.frame import ensure_frame

ensure_frame(__file__)

import streamlit as st  # noqa: E402

from pages.common import controls, state, weights_panel  # noqa: E402
from pages.common.errors import show_errors  # noqa: E402
from pages.common.text import plain  # noqa: E402
from pages.common.views import draw_tabs, find_view  # noqa: E402
from pages.inside.scene import choose_scene  # noqa: E402
from pages.inside.views import VIEWS  # noqa: E402

# All tabs in one row at 1280 px.
_TABS_STYLE = "<style>.st-key-inside_view button { padding-left: 12px; padding-right: 12px; }</style>"


def main() -> None:
    wanted = state.current("view")
    view = find_view(VIEWS, wanted)
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        controls.page_header("Look inside", view.question)
        weights_panel.draw_search("inside_search", closes_run=True)
    if wanted and view.name != wanted:
        st.warning(f"There is no view {plain(wanted)}; showing the first one.")
    scene = choose_scene(with_target=view.with_target)
    st.html(_TABS_STYLE)
    draw_tabs(VIEWS, view, "view", key="inside_view")
    with show_errors(f"show {view.title}"):
        view.draw(scene)


with show_errors("look inside the network"):
    main()
