"""Pretrained weights in the sidebar: which are on this machine, one click to fetch another, and what offline means."""

import streamlit as st

from lib.errors import UserError
from lib.models.backbone_spec import TIMM
from lib.models.backbones import BACKBONES, BackboneSpec
from lib.models.downloads import download_weights
from lib.models.timm_networks import known_timm_specs, search_timm
from lib.models.weights import WeightsStatus, all_weights_status
from pages.common import background, state
from pages.common.text import plain_message


def offer_download(spec: BackboneSpec, *, key: str) -> None:
    """A button that fetches the weights of a backbone; the sidebar of every page then shows how far it is."""
    if not spec.weights_url:
        return
    task = background.find(_task(spec.name))
    st.button(
        f"Download the weights ({spec.weights_mib:.0f} MiB)",
        icon=":material/download:",
        key=key,
        disabled=task is not None and not task.is_over,
        on_click=_start,
        args=(spec,),
    )


def draw_sidebar() -> None:
    """Downloads at work, what came of the last one, and the list of all weights."""
    for spec in (*BACKBONES, *known_timm_specs()):
        task = _task(spec.name)
        background.watch(task)
        background.show_outcome(task, f"{spec.title}: its weights are here, checksum right.")
    found = all_weights_status()
    num_cached = sum(status.is_cached for status in found)
    with st.popover(
        f"Weights at hand: {num_cached} of {len(found)}",
        icon=":material/deployed_code:",
        type="tertiary",
        key="sidebar_weights",
    ):
        st.caption(
            "Without a network everything here works with the weights at hand; the bundled ones and those in a Python "
            "package came with the installation. Only a download needs a network, it starts only when you click, and "
            "its checksum is compared with the published one. On a machine that is never online, copy the files to:"
        )
        folder = next(status.folder for status in found if not status.is_installed)
        st.code(str(folder), language=None, wrap_lines=True)
        with st.container(gap="xsmall"):
            for status in found:
                _draw_row(status)


def _draw_row(status: WeightsStatus) -> None:
    spec = BACKBONES.get(status.backbone)
    name, action = st.columns([5, 3], vertical_alignment="center")
    name.markdown(f"**{spec.title}** · {spec.weights_title}")
    with action:
        if status.is_cached:
            place = "bundled" if status.is_bundled else "in the package" if status.package else "at hand"
            st.markdown(f":material/check: {place}")
        elif status.is_installed:
            st.markdown(
                ":material/error: package missing" if status.package else ":material/error: file missing",
                help=f"`pip install {status.package}`" if status.package else None,
            )
        else:
            task = background.find(_task(spec.name))
            st.button(
                f"{spec.weights_mib:.0f} MiB",
                icon=":material/download:",
                type="tertiary",
                key=f"sidebar_download_{spec.name}",
                help=f"Download {status.file}",
                disabled=task is not None and not task.is_over,
                on_click=_start,
                args=(spec,),
            )


def _start(spec: BackboneSpec) -> None:
    title = f"Downloading the weights of {spec.title}"
    background.start(_task(spec.name), title, lambda progress: download_weights(spec.name, progress))


def _task(backbone: str) -> str:
    return f"weights_{backbone}"


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
        if not text.casefold().removeprefix(TIMM).strip():
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
            _choose_timm(TIMM + chosen, closes_run=closes_run)


def _choose_timm(backbone: str, *, closes_run: bool) -> None:
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
