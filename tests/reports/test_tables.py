"""Tables that hold whatever a run was called, and the numbers of the comparison."""

import csv
import io
import math

import pandas as pd
import pytest

from lib.reports.tables import (
    escape_latex,
    escape_markdown,
    html_table,
    latex_table,
    markdown_table,
    to_csv,
    to_latex,
    to_markdown,
)
from tests.reports.selected import HOSTILE, selected


def test_every_metric_has_its_interval_in_numbers_and_in_words(runs_at_hand):
    selection = selected(hostile=True)
    rows = list(csv.DictReader(io.StringIO(to_csv(selection))))
    assert len(rows) == len(selection.runs)
    for row, run in zip(rows, selection.runs, strict=True):
        for metric in selection.metrics:
            found = selection.interval(run, metric)
            for name, value in (("", found.value), ("_low", found.low), ("_high", found.high)):
                cell = row[metric.key + name]
                assert cell == ("" if math.isnan(value) else repr(value))
    kappa = next(metric for metric in selection.metrics if metric.key == "quadratic_weighted_kappa")
    found = selection.interval(selection.runs[0], kappa)
    words = f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f})"
    for text in (to_markdown(selection), to_latex(selection)):
        assert words in text
        assert text.index(words) < text.index("Holm")  # the verdict stands below the table


def test_names_stay_text_in_every_format(runs_at_hand):
    selection = selected(hostile=True)
    rows = list(csv.reader(io.StringIO(to_csv(selection))))
    assert f"'{HOSTILE}" in {row[0] for row in rows}
    lines = to_markdown(selection).splitlines()
    (line,) = [line for line in lines if "HYPERLINK" in line and line.startswith("|")]
    assert line.replace(r"\|", "").count("|") == lines[0].count("|")  # no cell more than headings
    assert "<script>" not in line.replace(r"\<", "")
    latex = to_latex(selection)
    assert r"\textbackslash{}input\{x\} \& 50\% \$x\_1\^{}" not in latex
    assert r"\textbackslash{}input\{x\} \& 50\% \$x\_1\textasciicircum{}2\$ \#" in latex


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("a|b\nc", r"a\|b c"),
        ("*a* _b_ `c`", r"\*a\* \_b\_ \`c\`"),
        ("[x](http://y) <b>", r"\[x\](http\://y) \<b\>"),
        ("a\u202eb", "a b"),
    ],
)
def test_markdown_is_literal(text, escaped):
    assert escape_markdown(text) == escaped


def test_latex_is_literal():
    assert escape_latex("\\{}$&#%_~^<>|") == (
        r"\textbackslash{}\{\}\$\&\#\%\_\textasciitilde{}\textasciicircum{}\textless{}\textgreater{}\textbar{}"
    )
    assert escape_latex("±\u00a0–") == r"$\pm$~--"


def test_tables_have_a_head_and_a_line_for_each_row():
    table = pd.DataFrame({"run": ["a", "<b>"], "kappa": ["0.5", "0.6"]})
    assert markdown_table(table) == "| run | kappa |\n| --- | --- |\n| a | 0.5 |\n| \\<b\\> | 0.6 |\n"
    assert latex_table(table).splitlines() == [
        r"\begin{tabular}{ll}", r"\toprule", r"run & kappa \\", r"\midrule", r"a & 0.5 \\",
        r"\textless{}b\textgreater{} & 0.6 \\", r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
    assert "<td>&lt;b&gt;</td>" in html_table(table)
