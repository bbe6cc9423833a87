"""How images come in: files, zips and folders from the browser, a folder of the server, the camera, the samples."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import streamlit as st

from lib.data.builtin import drawn_samples, photographs
from lib.errors import UserError
from lib.grading.session_store import KEEP_S, STORE, UNDO_S
from lib.grading.upload_session import MAX_KEPT_BYTES, UploadSession, expand_paths
from lib.settings import check_allowed
from pages.common import controls, resources, state
from pages.common.errors import show_errors
from pages.common.text import count, plain

_GONE = "grade_is_gone"
_KEPT = (
    f"They stay in this server's memory until you clear them, at most {KEEP_S // 60} minutes after the last use and "
    f"{MAX_KEPT_BYTES // 2**20} MiB in all; nothing is written."
)
LINK_SENTENCE = "Whoever has this address sees these images."
LINK_HELP = (
    "The address of this page brings these images back, to whoever has it: until you clear them, or "
    f"{KEEP_S // 60} minutes after their last use."
)


def current_session() -> UploadSession:
    """The images of the link; an empty session where there are none (yet, or any more)."""
    token = state.current("uploads")
    session = STORE.find(token)
    if session is None and token:
        state.settle("uploads", None)
        st.info(
            f"The images of this link are not here any more: they were cleared, or not used for {KEEP_S // 60} "
            "minutes. Add them again.", icon=":material/history:",
        )  # fmt: skip
    return UploadSession() if session is None else session


def take(uploads: Iterable[tuple[str, bytes | Path]]) -> None:
    """Add files to the session of the link, which begins here where there is none, and draw the page with them."""
    session = STORE.find(state.current("uploads"))
    if session is None:
        token, session = STORE.begin()
        state.settle("uploads", token)
    session.add(uploads)


def draw_empty() -> None:
    """The ways in while there is nothing yet: the uploader stands open."""
    if st.session_state.pop(_GONE, False):
        st.info(f"More than {UNDO_S // 60} minutes have passed since: the files are gone.", icon=":material/history:")
    controls.show_undo("grade")
    files, others = st.columns([4, 1], vertical_alignment="bottom", gap="small")
    with files:
        _uploader("Add images, or a zip of images", multiple=True)
    with others:
        _folder_and_camera()


def draw_more(session: UploadSession) -> None:
    """The ways in beside images that are there, behind buttons, and what clears them."""
    with st.popover("Add images", icon=":material/add_photo_alternate:", key="grade_add_box"):
        _uploader("Add images, or a zip of images", multiple=True)
        with st.container(horizontal=True):
            _folder_and_camera()
    with st.popover("Clear", icon=":material/delete_sweep:", type="tertiary", key="grade_clear_box"):
        st.markdown(
            f"Their grades go too; a correction stays in its log. Undo brings all back for {UNDO_S // 60} minutes; "
            "then nothing of them is left."
        )
        st.button(
            f"Clear {count(len(session), 'file')}", type="primary", key="grade_clear", on_click=_clear,
            args=(len(session),),
        )  # fmt: skip


def _folder_and_camera() -> None:
    with st.popover("Folder", icon=":material/folder_open:", key="grade_folder_box"):
        _uploader("A folder of this computer", multiple="directory")
        _server_folder()
    # A browser asks for the camera as soon as its widget is drawn: only on request.
    is_on = st.toggle("Camera", key="grade_camera_on")
    if is_on:
        _camera()


def _uploader(label: str, *, multiple: Any) -> None:
    """An uploader that hands its files to the session and empties itself, so that it always means "add"."""
    turn = st.session_state.setdefault("grade_turn", 0)
    uploads = st.file_uploader(
        label, accept_multiple_files=multiple, key=f"grade_upload_{multiple}_{turn}",
        help=f"JPEG, PNG, GIF, BMP, WebP, TIFF, HEIC or DICOM. {_KEPT}",
    )  # fmt: skip
    if uploads:
        take((upload.name, upload.getvalue()) for upload in uploads)
        resources.forget_uploads(uploads)
        st.session_state["grade_turn"] = turn + 1
        st.rerun()


def _server_folder() -> None:
    """A path on the machine of the server, where that is allowed; a form, so that it is read on a click alone."""
    with st.form("grade_folder", border=False):
        path = st.text_input("Or a folder on the server", placeholder="/home/me/eyes", key="grade_folder_path")
        if st.form_submit_button("Add the folder") and path.strip():
            with show_errors("read the folder"):
                folder = check_allowed(path.strip())
                if not folder.is_dir():
                    raise UserError(f"There is no folder {folder}; check the spelling.")
                expansion = expand_paths([folder])
                take((_below(folder, name), source) for name, source in expansion.items)
                st.rerun()


def _below(folder: Path, name: str) -> str:
    return name.removeprefix(f"{folder}/")


def _camera() -> None:
    turn = st.session_state.setdefault("grade_camera_turn", 0)
    taken = st.camera_input("Take a picture", key=f"grade_camera_{turn}", help=_KEPT)
    if taken is None:
        st.caption("No camera offered? Browsers give none to a page of another machine without https.")
        return
    take([(f"camera_{turn + 1}.jpg", taken.getvalue())])
    st.session_state["grade_camera_turn"] = turn + 1
    st.rerun()


def _clear(number: int) -> None:
    token = state.current("uploads")
    STORE.put_aside(token)
    state.settle("uploads", None)
    if token:
        controls.offer_undo("grade", count(number, "file"), lambda: _restore(token), word="Cleared")


def _restore(token: str) -> None:
    if STORE.restore(token):
        state.settle("uploads", token)
    else:
        st.session_state[_GONE] = True


def offer_samples() -> None:
    """Nothing to grade yet: say what happens, and offer the images that come with the program."""
    samples, photos = drawn_samples(), photographs()
    with st.container(border=True, horizontal_alignment="center"):
        st.markdown(
            "Add images above. Each passes its gates: **readable**, **looks like the training images**, **good "
            "enough**, **graded**. An image that does not pass gets no class, and the reason; one that passes may "
            "still get a wrong class.",
            text_alignment="center",
        )
        with st.container(horizontal=True, horizontal_alignment="center"):
            is_drawn = bool(samples) and st.button(
                "Try the samples", type="primary", icon=":material/add_photo_alternate:", key="grade_samples",
                help="Generated fundus images of all grades, and files that must be refused.",
            )  # fmt: skip
            is_photographed = bool(photos) and st.button(
                "Try real photographs", icon=":material/photo_camera:", key="grade_photographs",
                help="An eye and things that are none, as scikit-image comes with them.",
            )  # fmt: skip
        if photos:
            st.caption(
                plain("Photographs: " + ", ".join(photo.label for photo in photos) + ".", 700), text_alignment="center"
            )
    if is_drawn or is_photographed:
        take((sample.name, sample.path.read_bytes()) for sample in (samples if is_drawn else photos))
        st.rerun()
