"""The files that a selection can be taken away as: one entry each, for the command line and the page."""

from collections.abc import Callable
from dataclasses import dataclass

from lib.registry import Registry
from lib.reports.page import to_html
from lib.reports.selection import Selection
from lib.reports.tables import to_csv, to_latex, to_markdown


@dataclass(frozen=True)
class Format:
    """A kind of file; `name` is the option of the command line."""

    name: str
    title: str
    ending: str
    mime: str
    write: Callable[[Selection], str]


FORMATS: Registry[Format] = Registry("format")
for _format in (
    Format("csv", "Table as CSV", "csv", "text/csv", to_csv),
    Format("markdown", "Table as Markdown", "md", "text/markdown", to_markdown),
    Format("latex", "Table as LaTeX", "tex", "text/x-tex", to_latex),
    Format("html", "Report with pictures (HTML)", "html", "text/html", to_html),
):
    FORMATS.add(_format)
