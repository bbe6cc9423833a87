"""One HTML page of the selected runs: numbers, intervals, tests, warnings, pictures, settings, versions.

It opens from a disk without network: Plotly is inside, once, and the page's own policy forbids every request. Names
come from strangers: all is escaped.
"""

import html
import importlib.metadata
import math
import platform
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from lib.atomic import read_json_or_empty
from lib.board.arranging import differences
from lib.errors import UserError
from lib.evaluation.headline import Score
from lib.grading.grades import MEDICAL_NOTICE
from lib.models.bundle_files import MANIFEST_FILE
from lib.recipes.published import PUBLISHED_METRICS, published_protocols, stands_beside
from lib.recipes.spec import Protocol, PublishedResult
from lib.reports.pictures import PICTURES, Picture
from lib.reports.selection import Selection, spec_of
from lib.reports.tables import html_table
from lib.tracking import split_caveats
from lib.tracking.records import RunRecord
from lib.tracking.scores import run_score
from lib.tracking.state import BUNDLE_FOLDER
from lib.tracking.writer import code_version

_PACKAGES = ("torch", "torchvision", "scikit-learn", "scipy", "numpy", "pandas", "mlflow", "plotly")
WIDTH_PX = 1040
# No request leaves the page, whatever a name in it may hold.
_POLICY = "default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
_STYLE = f"""
:root {{ color-scheme: light; --ink: #111827; --muted: #5b6472; --line: #d8dedd; --caution: #92400e; }}
body {{ font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fcfcfb; margin: 2rem auto;
  max-width: {WIDTH_PX}px; padding: 0 1rem; }}
h1 {{ font-size: 1.75rem; margin: 0 0 .5rem; }} h2 {{ font-size: 1.25rem; margin: 2.5rem 0 .5rem; }}
h3 {{ font-size: 1rem; margin: 1.5rem 0 .25rem; }} p {{ margin: .5rem 0; }}
.muted {{ color: var(--muted); }} .verdict {{ font-size: 1.125rem; font-weight: 600; }}
.notice {{ border: 2px solid var(--caution); padding: .5rem 1rem; font-weight: 600; }}
.warning::before {{ content: "Warning: "; font-weight: 600; color: var(--caution); }}
.wide {{ overflow-x: auto; }} table {{ border-collapse: collapse; font-size: 14px; margin: .5rem 0; }}
th, td {{ text-align: left; vertical-align: top; padding: .375rem .75rem .375rem 0; overflow-wrap: break-word;
  border-bottom: 1px solid var(--line); max-width: 18rem; }} .id {{ overflow-wrap: anywhere; }}
figure {{ margin: 1rem 0 2rem; break-inside: avoid; }} figcaption {{ color: var(--muted); font-size: 14px;
  white-space: pre-line; }}
@page {{ margin: 15mm; }}
@media print {{ body {{ margin: 0; max-width: none; background: none; padding: 0; }} figure, table {{ zoom: .65; }}
  .wide {{ overflow: visible; }} h2, h3 {{ break-after: avoid; }} tr {{ break-inside: avoid; }}
  .modebar {{ display: none !important; }} }}
"""


def to_html(selection: Selection, pictures: Sequence[Picture] = PICTURES) -> str:
    """The whole page of the runs, with these pictures."""
    from plotly.offline import get_plotlyjs

    number, tables = len(selection.runs), [_section(*one) for one in _tables(selection)]
    title = f"{number} {'run' if number == 1 else 'runs'} compared by {selection.metric.word}"
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        f'<p class="notice" role="note">{MEDICAL_NOTICE}</p>' if is_medical(selection.runs) else "",
        *_answer(selection),
        *tables[:2],
        *_figures(selection, pictures),
        *tables[2:],
        _section("Where this comes from", _paragraphs(_origin(selection))),
    ]
    body = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<title>{html.escape(title)}</title><style>{_STYLE}</style>
<script>{get_plotlyjs()}</script></head><body>
{body}
</body></html>
"""


def is_medical(runs: Sequence[RunRecord]) -> bool:
    """Whether any of the runs was trained on medical images; one that does not say so any more may have been."""
    return any(_says_medical(run) for run in runs)


def _answer(selection: Selection) -> Iterator[str]:
    found = selection.comparison
    if found.verdict:
        yield f'<p class="verdict">{html.escape(found.verdict)}</p>'
    for one in (*found.cautions, *split_caveats(list(selection.runs))):
        yield f'<p class="warning">{html.escape(one)}</p>'
    baselines = {score.baseline_words: score for score in map(run_score, selection.runs) if score is not None}
    yield _paragraphs([_baseline(score) for words, score in baselines.items() if words])


def _baseline(score: Score) -> str:
    return f"{score.baseline_words[:1].upper()}{score.baseline_words[1:]}, on the same {score.num} test images."


def _tables(selection: Selection) -> Iterator[tuple[str, str]]:
    runs, found = selection.runs, selection.comparison
    texts = selection.texts()
    results = texts[["run", *(name for name in texts.columns if name.endswith("interval)"))]]
    results.insert(0, "", _numbered(runs))
    yield "Results", _wide(results.rename(columns=lambda name: name.removesuffix(" (95 % interval)")))
    about = texts.drop(columns=results.columns[1:].drop("run"))
    about.insert(0, "", _numbered(runs))
    yield "The runs", _wide(about)
    if found.pairs:
        labels = {row.key: row.label for row in found.rows}
        rows = [
            {
                "first": labels[pair.a], "second": labels[pair.b], "difference": _number(one.difference),
                "95 % interval": f"{_number(one.low)} to {_number(one.high)}", "p": _number(one.p_value),
                "p, Holm": _number(one.p_holm), "more than chance": "yes" if one.is_significant else "not shown",
            }
            for pair in found.pairs
            if (one := pair.found) is not None
        ]  # fmt: skip
        without = _paragraphs(pair.sentence for pair in found.pairs if pair.found is None)
        yield f"Tests of {found.metric.word}, every pair", (_wide(pd.DataFrame(rows)) if rows else "") + without
    if len(runs) > 1:
        numbered = dict(zip(_numbered(runs), (run.config for run in runs), strict=True))
        changed = differences(numbered)
        changed = changed[changed["setting"] != "pinned_images"]
        note = "<p>Columns: the runs by their number above.</p>"
        yield "What differs in the settings", note + _wide(changed) if len(changed) else "<p>Nothing.</p>"
    published = "".join(_published(one) for one in published_beside(selection))
    if published:
        note = "<p>Protocols of their own: never ranked with the runs above, or with each other.</p>"
        yield "Published results of the same kind", note + published


def _numbered(runs: Sequence[RunRecord]) -> list[str]:
    return [str(number) for number in range(1, len(runs) + 1)]


def published_beside(selection: Selection) -> list[Protocol]:
    """The protocols of published results that stand beside one of the runs."""
    return [
        protocol
        for protocol in published_protocols()
        if any(_stands_beside(protocol, selection, run) for run in selection.runs)
    ]


def _published(protocol: Protocol) -> str:
    rows = [
        {
            "published": line.title,
            **{
                title: f"{line.values[key]:.3f}" if key in line.values else ""
                for key, (title, _) in PUBLISHED_METRICS.items()
            },
            "place then": line.places, "source": _source(line), "note": line.note,
        }
        for line in protocol.lines
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    table = table[[name for name in table.columns if (table[name] != "").any()]]
    images = f"{protocol.num_images} test images" if protocol.num_images else "number of test images not given"
    about = [
        f"Images: {protocol.data}; {images}. Split: {protocol.split}.", f"Definition: {protocol.definition}.",
        f"Comparable? {protocol.comparable}",
    ]  # fmt: skip
    return f"<h3>{html.escape(protocol.title)}</h3>{_paragraphs(about)}{_wide(table)}"


def _source(line: PublishedResult) -> str:
    return ", ".join(filter(None, (line.source, line.url, line.read_in and f"read in {line.read_in}")))


def _stands_beside(protocol: Protocol, selection: Selection, run: RunRecord) -> bool:
    tested = next((one for one in selection.tested if one.run.run_id == run.run_id), None)
    names, is_ordinal = (tested.class_names, tested.is_ordinal) if tested else ([], False)
    spec = spec_of(run)
    return stands_beside(protocol, run.config, names, is_ordinal=is_ordinal, spec=spec) is not None


def _figures(selection: Selection, pictures: Sequence[Picture]) -> Iterator[str]:
    for picture in pictures:
        try:
            drawn = list(picture.draw(selection))
        except UserError as error:
            yield _section(picture.title, f"<p>Not drawn: {html.escape(str(error))}</p>")
            continue
        if drawn:
            yield _section(picture.title, "".join(_figure(one.figure, one.text) for one in drawn))


def _figure(figure: go.Figure, text: str) -> str:
    figure.update_layout(width=WIDTH_PX, autosize=False)
    config = {"displaylogo": False, "modeBarButtons": [["toImage"]]}
    inner = figure.to_html(full_html=False, include_plotlyjs=False, config=config)
    words = html.escape(text)
    return f'<figure><div role="img" aria-label="{words}">{inner}</div><figcaption>{words}</figcaption></figure>'


def _origin(selection: Selection) -> Iterator[str]:
    yield f"Made on {time.strftime('%Y-%m-%d %H:%M UTC', time.gmtime())} by Transferscope {code_version() or ''}."
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in _PACKAGES)
    yield f"Python {platform.python_version()}, {versions}."
    for run in selection.runs:
        about = run.config
        bundle = _manifest(run).get("network_sha256", "")
        score = run_score(run)
        yield " ".join(
            [
                f"{selection.labels[run.run_id]}: run {run.run_id}, made with version",
                f"{run.tags.get('code_version') or 'unknown'}; data set {about.get('dataset')},",
                f"content hash {about.get('dataset_version') or 'unknown'};",
                f"test images {score.test_set if score else 'unknown'}" + (f"; network {bundle}." if bundle else "."),
            ]
        )
    if selection.link:
        yield f"The same view: {selection.link}"


def _manifest(run: RunRecord) -> dict[str, Any]:
    return read_json_or_empty(run.folder / BUNDLE_FOLDER / MANIFEST_FILE)


def _says_medical(run: RunRecord) -> bool:
    about, spec = _manifest(run).get("dataset"), spec_of(run)
    return bool(isinstance(about, dict) and about.get("is_medical")) or bool(spec and spec.is_medical)


def _section(title: str, inner: str) -> str:
    return f"<section><h2>{html.escape(title)}</h2>{inner}</section>"


def _wide(table: pd.DataFrame) -> str:
    return f'<div class="wide">{html_table(table)}</div>'


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f'<p class="muted">{html.escape(line)}</p>' for line in lines)


def _number(value: float) -> str:
    if math.isnan(value):
        return ""
    return f"{value:.4f}" if abs(value) >= 0.0001 or value == 0 else f"{value:.1e}"
