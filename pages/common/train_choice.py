"""One choice of the training form, drawn with the default of `TrainConfig`."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import streamlit as st

from lib.training.config import TrainConfig
from pages.common.text import readable

DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(TrainConfig)}


def choose(
    name: str,
    label: str,
    titles: Mapping[str, str],
    default: str | None = None,
    *,
    suffix: str = "",
    help: str | None = None,
) -> str | None:
    """Draw a select box of value -> title for a setting; None means its default, and is drawn for "" in `titles`."""
    default = default if default is not None else DEFAULTS[name] or ""
    options = list(titles)
    chosen = st.selectbox(
        label,
        options,
        index=options.index(default) if default in options else 0,
        format_func=lambda option: readable(titles[option]),
        help=help,
        key=f"train_{name}_{suffix}" if suffix else f"train_{name}",
        persist_state="session",
    )
    return None if chosen == default else chosen
