"""A person sees one sentence; the log has the traceback."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import streamlit as st

from lib.errors import UserError, disk_fault
from pages.common.text import plain_message


class EndOfPage(BaseException):
    """The page is complete before its script has come to its end."""


_logger = logging.getLogger("transferscope.pages")


def end_page() -> NoReturn:
    """Draw nothing more of the page. After `st.stop` the frame could not complete the page's address."""
    raise EndOfPage


@contextmanager
def show_errors(what: str = "show this part") -> Iterator[None]:
    """Turn a UserError inside into its sentence and anything else into a calm one; the page goes on after the block.

    Control flow (rerun, stop, the end of the page) passes through: it does not derive from Exception.
    """
    try:
        yield
    except UserError as error:
        st.error(plain_message(error), icon=":material/error:")
    except Exception as error:
        if fault := disk_fault(error):
            st.error(plain_message(fault), icon=":material/error:")
            return
        _logger.exception("could not %s", what)
        st.error(
            f"Could not {what}: something unexpected happened. The server's log has the details; "
            "reload the page to try again.",
            icon=":material/error:",
        )
