"""The pages in the order of the navigation."""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from pages.common import state

PAGES_FOLDER = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class PageSpec:
    """One page of the navigation; its file is `pages/<name>.py` and its URL `/<name>`."""

    name: str
    title: str
    icon: str

    @property
    def file(self) -> Path:
        """The script."""
        return PAGES_FOLDER / f"{self.name}.py"


PAGES = (
    PageSpec("start", "Start", ":material/home:"),
    PageSpec("explore_data", "Explore data", ":material/grid_view:"),
    PageSpec("look_inside", "Look inside", ":material/layers:"),
    PageSpec("train_model", "Train model", ":material/model_training:"),
    PageSpec("compare_runs", "Compare runs", ":material/leaderboard:"),
    PageSpec("grade_images", "Grade images", ":material/fact_check:"),
)


# An element with this attribute and an `href` is followed in this tab; without the component it is an ordinary link.
LINK_MARK = "data-view-link"
_ADDRESS_SCRIPT = """
export default function ({ data }) {
  const page = window.location.pathname.split("/").pop();
  // A person who has gone on meanwhile has another page's address.
  if (page === data.page && window.location.search.slice(1) !== data.query) {
    const query = data.query ? "?" + data.query : "";
    window.history.replaceState({}, "", window.location.pathname + query + window.location.hash);
  }
  if (window.transferscopeLinks) return;
  window.transferscopeLinks = true;
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[data-view-link]");
    if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (link.href === window.location.href) return;
    window.history.pushState({}, "", link.href);
    window.dispatchEvent(new PopStateEvent("popstate", { state: {} }));
  });
}
"""


def complete_address() -> None:
    """At the end of a run: fill what the page has chosen by itself into its address, and listen for links."""
    with st.sidebar:
        _show_address("view_address")


def update_address() -> None:
    """The same at the end of a fragment's own run, after a choice inside it: the rest of the page does not run."""
    _show_address("view_address_of_fragment")


def _show_address(key: str) -> None:
    component = st.components.v2.component("view_address", js=_ADDRESS_SCRIPT)
    data = {
        "page": st.session_state.get("view_page", ""),
        "query": state.complete_query(),
        "run": st.session_state.get("frame_run", 0),
    }
    component(key=key, data=data, height=0)
