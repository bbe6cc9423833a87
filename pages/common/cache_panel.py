"""How full the cache is, with its limit and a way to clear it."""

import streamlit as st

from lib import disk_cache
from pages.common.errors import show_errors


def draw() -> None:
    """One line with a popover, for the sidebar."""
    found = _usage()
    words = disk_cache.size_words
    label = f"Cache: {words(found.used_bytes)} of {words(found.limit_bytes)}"
    with st.popover(label, icon=":material/database:", type="tertiary", key="cache_panel"):
        st.markdown(
            "Features, activations and preprocessed images are kept so that a second training starts at once. Above "
            "the limit, what was used least recently goes first; what a training is using stays."
        )
        st.caption(f"The disk has {words(found.free_bytes)} free.")
        limit = st.number_input(
            "Limit in GiB", 0.1, 100_000.0, value=round(found.limit_bytes / 2**30, 2), step=1.0, key="cache_limit"
        )
        if abs(limit - found.limit_bytes / 2**30) > 0.01:
            with show_errors("set the limit"):
                disk_cache.set_cache_limit(limit)
                _usage.clear()
                st.rerun()
        if st.checkbox("Clear everything that is not in use", key="cache_sure") and st.button(
            "Clear now", icon=":material/delete:", key="cache_clear"
        ):
            with show_errors("clear the cache"):
                freed, num_kept = disk_cache.clear()
                _usage.clear()
                st.markdown(f"Cleared {words(freed)}" + (f"; {num_kept} in use stayed." if num_kept else "."))


@st.cache_data(ttl=5, max_entries=1, show_spinner=False)
def _usage() -> disk_cache.Usage:
    return disk_cache.usage()
