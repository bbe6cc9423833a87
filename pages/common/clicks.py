"""A double click is one click: what starts or deletes something is done once, until its outcome could be seen.

Streamlit hands on the second click as soon as it can, with the page half drawn anew. Whoever wants the same again
clicks again when the page shows what came of the first click.
"""

from time import monotonic

import streamlit as st

DOUBLE_CLICK_S = 1.0  # twice what browsers take for a double click
_FORGET_S = 30.0  # of a page that never came to its end
_KEY, _ENDED = "clicks", "frame_ended"


def is_repeat(action: str) -> bool:
    """Whether the same action was taken a moment ago; to be asked once a click, by its callback.

    Callbacks come before a run of the page, so the outcome is on screen when a later run has come to its end.
    """
    taken: dict[str, tuple[float, int]] = st.session_state.setdefault(_KEY, {})
    now, run = monotonic(), int(st.session_state.get("frame_run", 0))
    if action in taken:
        moment, at_run = taken[action]
        age, is_shown = now - moment, int(st.session_state.get(_ENDED, 0)) > at_run
        if age < DOUBLE_CLICK_S or (not is_shown and age < _FORGET_S):
            return True
    taken[action] = (now, run)
    return False


def end_of_run() -> None:
    """The page is drawn to its end; called by the frame."""
    st.session_state[_ENDED] = st.session_state.get("frame_run", 0)
