"""Links inside a page, and the address of the page: both without what Streamlit would make of them.

Streamlit opens a link of a picture in a new tab, and makes an entry of the browser's history of each write to the
address. Some lines in the browser follow a link in this tab as Back and Forward do, without loading the program
anew, and complete the address in place.
"""

import streamlit as st

from pages.common import state

# An element with this attribute and an `href` is followed in this tab; without the component it is an ordinary link.
LINK_MARK = "data-view-link"
_SCRIPT = """
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


def complete() -> None:
    """At the end of a run: fill what the page has chosen by itself into its address, and listen for links."""
    component = st.components.v2.component("view_address", js=_SCRIPT)
    data = {
        "page": st.session_state.get("view_page", ""),
        "query": state.complete_query(),
        "run": st.session_state.get("frame_run", 0),
    }
    with st.sidebar:
        component(key="view_address", data=data, height=0)
