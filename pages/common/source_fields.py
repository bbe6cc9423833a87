"""The fields of a source, drawn from its entry in the table: one a kind of option, and uploads where it takes them."""

from pathlib import Path
from typing import Any

import streamlit as st

from lib.data.sources.reading import is_reading
from lib.data.sources.table import SourceOption, SourceSpec
from lib.data.sources.uploads import keep_upload, keep_uploaded_folder
from lib.settings import MAX_ARCHIVE_BYTES
from pages.common import resources
from pages.common.errors import show_errors
from pages.common.text import plain, readable

_ALL = "all"
_PLACEHOLDERS = {"folder": "/home/me/my_images", "archive": "/home/me/my_images.zip"}


def draw(spec: SourceSpec) -> dict[str, Any]:
    """Draw what a source asks for, but for how its labels are read; returns the values that were given."""
    values = {option.name: _draw_option(spec, option) for option in spec.options if not is_reading(option.name)}
    return {name: value for name, value in values.items() if value not in (None, "")}


def is_complete(spec: SourceSpec, values: dict[str, Any]) -> bool:
    """Whether everything that the source must know is given."""
    return all(option.name in values for option in spec.options if option.is_required)


def key_of(spec: SourceSpec, option: str) -> str:
    """The key of an option's widget."""
    return f"explore_{option}" if spec.name == "folder" else f"explore_{spec.name}_{option}"


def forget_uploads(spec: SourceSpec) -> None:
    """After an import: what was uploaded is not offered again."""
    for option in spec.options:
        st.session_state.pop(f"{key_of(spec, option.name)}_uploaded", None)


def _draw_option(spec: SourceSpec, option: SourceOption) -> Any:
    label, key, help_text = plain(option.title), key_of(spec, option.name), plain(option.help, 400) or None
    if option.choices:
        choices = option.choices if option.is_required or option.default is not None else (None, *option.choices)
        index = choices.index(option.default) if option.default in choices else 0
        return st.selectbox(
            label, choices, index=index, key=key, help=help_text,
            format_func=lambda choice: _ALL if choice is None else readable(choice),
        )  # fmt: skip
    if option.kind is bool:
        return st.toggle(label, value=bool(option.default), key=key, help=help_text)
    if option.kind is int:
        return st.number_input(label, value=option.default, step=1, key=key, help=help_text)
    if option.uploads:
        return _draw_path_or_upload(option, label, key, help_text)
    default = "" if option.default is None else str(option.default)
    text = st.text_input(
        label, value=default, key=key, help=help_text, persist_state="session",
        placeholder=option.placeholder or _PLACEHOLDERS.get(spec.name),
    )  # fmt: skip
    return unquoted(text) if option.kind is Path else text.strip()


def _draw_path_or_upload(option: SourceOption, label: str, key: str, help_text: str | None) -> str:
    """A path of the server's machine, or what was uploaded in its place."""
    kept = f"{key}_uploaded"
    if path := st.session_state.get(kept):
        if Path(path).is_file():
            size_mib = Path(path).stat().st_size / 2**20
            with st.container(horizontal=True, vertical_alignment="center"):
                st.markdown(f"Uploaded: **{plain(Path(path).name)}**, {size_mib:,.1f} MiB")
                if st.button("Take another", key=f"{key}_again", type="tertiary"):
                    del st.session_state[kept]
                    st.rerun()
            return str(path)
        del st.session_state[kept]
    text = st.text_input(
        f"{label}, on the machine of this server", key=key, help=help_text, placeholder=_PLACEHOLDERS["archive"],
        persist_state="session",
    )  # fmt: skip
    if not text.strip():
        with show_errors("take the upload"):
            _uploaders(option, key, kept)
    return unquoted(text)


def _uploaders(option: SourceOption, key: str, kept: str) -> None:
    turn = st.session_state.setdefault(f"{key}_turn", 0)
    left, right = st.columns(2)
    with left:
        archive = st.file_uploader(
            "Or upload one", type=[suffix.rpartition(".")[2] for suffix in option.uploads], key=f"{key}_file_{turn}",
            max_upload_size=MAX_ARCHIVE_BYTES // 2**20,
        )  # fmt: skip
    with right:
        files = st.file_uploader(
            "Or upload a folder", accept_multiple_files="directory", key=f"{key}_folder_{turn}",
            max_upload_size=MAX_ARCHIVE_BYTES // 2**20,
        )  # fmt: skip
    if archive is None and not files:
        return
    if archive is not None:
        path = keep_upload(archive.name, archive.getbuffer())
    else:
        path = keep_uploaded_folder([(file.name, file.getbuffer()) for file in files])
    resources.forget_uploads([archive] if archive is not None else files)
    st.session_state[kept] = str(path)
    st.session_state[f"{key}_turn"] = turn + 1
    st.rerun()


def unquoted(path: str) -> str:
    """The path without what a file manager or a shell puts around it when it is copied."""
    path = path.strip()
    is_quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "'\""
    return path[1:-1] if is_quoted else path.removeprefix("file://")
