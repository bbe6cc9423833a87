"""A person sees one sentence; the log has the traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from lib.errors import UserError
from pages.common.text import plain_message

_logger = logging.getLogger("transferscope.pages")


@contextmanager
def show_errors(what: str = "show this part") -> Iterator[None]:
    """Turn a UserError inside into its sentence and anything else into a calm one; the page goes on after the block.

    Streamlit's own control flow (rerun, stop, switch page) passes through: it does not derive from Exception.
    """
    try:
        yield
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
    except Exception:
        _logger.exception("could not %s", what)
        st.error(
            f"Could not {what}: something unexpected happened. The server's log has the details; "
            "reload the page to try again.",
            icon=":material/error:",
        )
