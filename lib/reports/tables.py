"""A table as CSV, Markdown or LaTeX. Names in it come from strangers: whatever they hold, they stay text."""

import html
import re

import pandas as pd

from lib.csv_text import csv_of_table
from lib.reports.selection import Selection

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]+")
# What Markdown (CommonMark with tables, formulas and HTML) gives a meaning to within a line.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~$&!:@^=])")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "%": r"\%", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "[": "{[}", "]": "{]}", "\u00a0": "~", "±": r"$\pm$", "–": "--",
    "…": r"\ldots{}", "·": r"$\cdot$", "×": r"$\times$",
}  # fmt: skip


def to_csv(selection: Selection) -> str:
    """A row a run, numbers in full, each end of an interval in a column of its own."""
    return csv_of_table(selection.numbers())


def to_markdown(selection: Selection) -> str:
    """A row a run, intervals behind their values, and what was compared in words below."""
    return "\n".join([markdown_table(selection.texts()), *(f"{escape_markdown(one)}\n" for one in _words(selection))])


def to_latex(selection: Selection) -> str:
    """As `to_markdown`, a `table` with a `tabular` of the package booktabs, scaled to the width of the text."""
    caption = " ".join(escape_latex(one) for one in _words(selection))
    return (
        "% \\usepackage{booktabs,graphicx}\n\\begin{table}\n\\centering\n\\resizebox{\\textwidth}{!}{%\n"
        f"{latex_table(selection.texts())}}}\n\\caption{{{caption}}}\n\\end{{table}}\n"
    )


def markdown_table(table: pd.DataFrame) -> str:
    """A table of texts; every cell stays in its cell and in its line."""
    lines = [list(map(str, table.columns)), ["---"] * len(table.columns)]
    rows = [[escape_markdown(str(cell)) for cell in row] for row in table.itertuples(index=False, name=None)]
    lines[0] = [escape_markdown(cell) for cell in lines[0]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (*lines, *rows))


def latex_table(table: pd.DataFrame) -> str:
    """A `tabular` with a column left aligned for each of the table's."""
    rows = [list(table.columns), *table.itertuples(index=False, name=None)]
    head, *body = [" & ".join(escape_latex(str(cell)) for cell in row) + r" \\" for row in rows]
    parts = [r"\begin{tabular}{" + "l" * len(table.columns) + "}", r"\toprule", head, r"\midrule", *body]
    return "\n".join([*parts, r"\bottomrule", r"\end{tabular}"])


def html_table(table: pd.DataFrame) -> str:
    """A table of texts."""
    head = "".join(f'<th scope="col">{html.escape(_line(name))}</th>' for name in table.columns)
    rows = "".join(
        f"<tr>{''.join(f'<td>{html.escape(_line(cell))}</td>' for cell in row)}</tr>"
        for row in table.itertuples(index=False, name=None)
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def escape_markdown(text: str) -> str:
    """The text in one line, literal in Markdown."""
    return _MARKDOWN.sub(r"\\\1", _line(text))


def escape_latex(text: str) -> str:
    """The text in one line, literal in LaTeX."""
    return "".join(_LATEX.get(character, character) for character in _line(text))


def _line(text: object) -> str:
    return _CONTROL.sub(" ", str(text)).strip()


def _words(selection: Selection) -> list[str]:
    """What is said below a table: verdict, and warnings."""
    found = selection.comparison
    return [one for one in (found.verdict, *found.cautions) if one]
