"""A search field for networks of timm: type a part of a name, choose one of those found, and it is the backbone."""

import streamlit as st

from lib.errors import UserError
from lib.models.backbone_spec import TIMM
from lib.models.backbones import BACKBONES
from lib.models.timm_networks import search_timm
from pages.common import state
from pages.common.text import plain_message

_HELP = (
    "timm has more than a thousand networks. Nothing is downloaded by choosing one: until its weights are here, it "
    "starts from random ones."
)


def draw_search(key: str, *, closes_run: bool = False) -> None:
    """A quiet button that opens the field; a chosen network becomes the backbone of every page.

    With `closes_run` the run that the page shows makes room for it.
    """
    with st.popover("Any network of timm", icon=":material/search:", type="tertiary", width="content"):
        text = st.text_input(
            "Find a network of timm", key=f"{key}_text", placeholder="convnext tiny", max_chars=80, help=_HELP
        ).strip()
        if not text:
            st.caption("Type a part of its name, such as convnext, vit or efficientnet.")
            return
        try:
            with st.spinner("Reading the names …"):
                found = search_timm(text)
        except UserError as error:
            st.error(plain_message(error), icon=":material/error:")
            return
        if not found:
            st.caption("timm has no network of such a name.")
            return
        field, wanted = f"{key}_found_{text}", f"{key}_wanted"
        st.pills(
            "Found",
            found,
            key=field,
            label_visibility="collapsed",
            on_change=lambda: st.session_state.update({wanted: st.session_state[field]}),
        )
        if chosen := st.session_state.pop(wanted, None):
            _choose(TIMM + chosen, closes_run=closes_run)


def _choose(backbone: str, *, closes_run: bool) -> None:
    try:
        with st.spinner(f"Looking at {backbone}, once …"):
            BACKBONES.get(backbone)
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
        return
    state.remember("backbone", backbone)
    if closes_run:
        state.remember("run", None)
    st.rerun()
