"""The frame around every page: navigation and sidebar, whichever way the first request came in.

Streamlit runs `app.py` for every page, except when the first request to a fresh server is a deep link: then it finds
the folder `pages/`, falls back to its old way and runs the page alone. So every page begins with `ensure_frame`.
"""

import runpy
import sys
import threading
from contextlib import suppress
from pathlib import Path

import streamlit as st

from lib.settings import PROJECT_ROOT
from pages.common import clicks, demo_panel, page_table, sidebar, state
from pages.common.errors import EndOfPage, show_errors
from pages.common.page_table import PAGES

_ASSETS = PROJECT_ROOT / "assets"
# Streamlit gives its colours by these names only to components: for the pages' own HTML they are given here.
# It writes white on primary buttons: 1.9:1 on the dark theme's accent. Dark ink has 9:1 there.
_STYLE = """<style>
:root { --st-primary-color: light-dark(#0F766E, #2DD4BF); --st-border-color: light-dark(#D5DAD9, #34403E); }
button[kind^="primary"], [class*="st-key-link_primary_"] a * { color: light-dark(#FFFFFF, #06231F); }
[class*="st-key-link_"] a { border: 1px solid var(--st-border-color); border-radius: 8px; padding: 8px 12px; }
[class*="st-key-link_secondary_"] a:hover { border-color: var(--st-primary-color); }
[class*="st-key-link_primary_"] a { background: var(--st-primary-color); border-color: transparent; }
[class*="st-key-link_primary_"] a:hover { background: var(--st-primary-color); filter: brightness(1.1); }
.st-key-explore_view button { padding-inline: 12px; }  /* twelve views in one row of a window 1280 px wide */
</style>"""
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
    st.set_page_config(page_title=f"{page.title} · Transferscope", page_icon=str(_ASSETS / "icon.svg"), layout="wide")
    st.logo(str(_ASSETS / "logo.svg"), size="large", icon_image=str(_ASSETS / "icon.svg"))
    st.html(_STYLE)
    st.session_state["frame_run"] = st.session_state.get("frame_run", 0) + 1
    state.sync_from_url(page.url_path)
    with show_errors("install the demo"):
        demo_panel.install_once()
    with st.sidebar, show_errors("show the sidebar"):
        sidebar.draw()
    _run.is_inside = True
    try:
        with suppress(EndOfPage), show_errors("show this page"):
            page.run()
    finally:
        _run.is_inside = False
    # Not after a run that another one broke off.
    page_table.complete_address()
    clicks.end_of_run()


def _navigation_pages(alone: Path | None) -> list[st.Page]:
    main_script = getattr(sys.modules.get("__main__"), "__file__", None)
    if alone is not None and main_script is not None and Path(main_script).resolve() == alone:
        # A page that is the main script itself (run or tested alone) must be the one that opens by default.
        return [st.Page(spec.file, title=spec.title, default=spec.file == alone) for spec in PAGES]
    # The start page opens by default, so its address is that of the server; nobody is sent on, which Back would undo.
    start, *others = PAGES
    return [
        st.Page(start.file, title=start.title, url_path="home", default=True),
        *(st.Page(spec.file, title=spec.title) for spec in others),
        st.Page(_show_start_page, title=start.title, url_path=start.name, visibility="hidden"),
    ]


def _show_start_page() -> None:
    """The start page under its name, for links that have it."""
    runpy.run_path(str(PAGES[0].file))
