"""The frame around every page: navigation and sidebar, whichever way the first request came in.

Streamlit runs `app.py` for every page, except when the first request to a fresh server is a deep link: then it finds
the folder `pages/`, falls back to its old way and runs the page alone. So every page begins with `ensure_frame`.
"""

import sys
import threading
from pathlib import Path

import streamlit as st

from lib.settings import PROJECT_ROOT
from pages.common import sidebar, state
from pages.common.errors import show_errors
from pages.common.page_table import PAGES

_ASSETS = PROJECT_ROOT / "assets"
_HOME_TITLE = "Transferscope"
# Streamlit writes white on primary buttons: 1.9:1 on the dark theme's accent. Dark ink has 9:1 there.
_STYLE = '<style>button[kind^="primary"] { color: light-dark(#FFFFFF, #06231F); }</style>'
_run = threading.local()  # Streamlit runs each session's script in a thread of its own


def ensure_frame(page_file: str) -> None:
    """Make sure the page runs inside the frame; the first call of every page, as `ensure_frame(__file__)`.

    Inside the frame it returns at once. Outside, it draws the frame, which runs the page inside, and stops this run.
    """
    if getattr(_run, "is_inside", False):
        return
    run_frame(alone=Path(page_file).resolve())
    st.stop()


def run_frame(alone: Path | None = None) -> None:
    """Draw navigation and sidebar, then run the page that the URL asks for."""
    # No icons in st.Page: Streamlit would fetch them as the tab's icon from the internet. The sidebar draws the links.
    page = st.navigation(_navigation_pages(alone), position="hidden")
    if page.title == _HOME_TITLE:
        page.run()
    st.set_page_config(page_title=f"{page.title} · Transferscope", page_icon=str(_ASSETS / "icon.svg"), layout="wide")
    st.logo(str(_ASSETS / "logo.svg"), size="large", icon_image=str(_ASSETS / "icon.svg"))
    st.html(_STYLE)
    st.session_state["frame_run"] = st.session_state.get("frame_run", 0) + 1
    state.sync_from_url()
    with st.sidebar, show_errors("show the sidebar"):
        sidebar.draw()
    _run.is_inside = True
    try:
        with show_errors("show this page"):
            page.run()
    finally:
        _run.is_inside = False


def _navigation_pages(alone: Path | None) -> list[st.Page]:
    main_script = getattr(sys.modules.get("__main__"), "__file__", None)
    is_main = alone is not None and main_script is not None and Path(main_script).resolve() == alone
    pages = [
        # A page that is the main script itself (run or tested alone) must be the one that opens by default.
        st.Page(spec.file, title=spec.title, help=spec.summary, default=is_main and spec.file == alone)
        for spec in PAGES
    ]
    # The default page has no name in the URL; this one gives way to the start page, so that every page has a link.
    home = st.Page(_open_start_page, title=_HOME_TITLE, url_path="home", default=not is_main, visibility="hidden")
    return [*pages, home]


def _open_start_page() -> None:
    st.switch_page(PAGES[0].file, query_params=st.query_params.to_dict())
