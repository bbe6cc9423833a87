"""The report: whole, of one file, and without a request."""

import dataclasses
import re

import pytest

from lib.data.library import open_dataset
from lib.errors import UserError
from lib.evaluation.metric_table import ACCURACY
from lib.grading.grades import MEDICAL_NOTICE
from lib.reports.formats import FORMATS
from lib.reports.page import is_medical, published_beside, to_html
from lib.reports.pictures import PICTURES, Picture
from tests.reports.selected import selected


@pytest.fixture(scope="module")
def page(report_home):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRANSFERSCOPE_HOME", str(report_home))
        selection = dataclasses.replace(selected(hostile=True), link="http://127.0.0.1:8501/compare_runs?runs=a&x=<b>")
        return selection, to_html(selection)


def without_plotly(text):
    """The page with all of its scripts taken out, and the figures' scripts by themselves."""
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, flags=re.DOTALL)
    return re.sub(r"<script[^>]*>.*?</script>", "", text, flags=re.DOTALL), scripts


def test_it_asks_for_nothing_from_elsewhere(page):
    text, scripts = without_plotly(page[1])
    assert "default-src 'none'" in text
    assert not re.search(r"<(link|iframe|img|object|embed)\b|\bsrc=|@import|url\(", text)
    assert not re.search(r"<script[^>]*\bsrc=", page[1])
    # Plotly is there once; every other script draws a figure.
    assert sum(len(script) > 1_000_000 for script in scripts) == 1
    assert sum("Plotly.newPlot" in script for script in scripts[1:]) >= len(PICTURES)


def test_it_has_numbers_tests_pictures_settings_and_where_all_comes_from(page):
    selection, whole = page
    text, _ = without_plotly(whole)
    found = selection.comparison
    for row in found.rows:
        assert row.words(found.metric).split(" ")[0] in text
    assert text.count("not shown") + text.count("<td>yes</td>") >= len(found.pairs)
    for title in ("Results", "The runs", *(one.title for one in PICTURES), "What differs in the settings"):
        assert f"<h2>{title}</h2>" in text
    for run in selection.runs:
        assert f"run {run.run_id}" in text
        assert str(run.config["dataset_version"]) in text
    assert "torch " in text
    assert "x=&lt;b&gt;" in text
    assert re.findall(r"Not drawn: ([^<]*)", text) == [  # no run of these was trained or evaluated again
        "None of the runs belongs to a series with several numbers of training images.",
        "None of the runs has been evaluated on another data set.",
    ]


def test_a_hostile_name_stays_text(page):
    text, scripts = without_plotly(page[1])
    assert "alert(1)" in text
    assert "<script>alert" not in page[1]
    assert not any(script.startswith("alert") for script in scripts)


def test_the_published_lines_of_the_same_kind_stand_apart(page):
    selection, text = page
    protocols = published_beside(selection)
    assert protocols  # five grades
    assert all(f"<h3>{one.title}</h3>" in text or "&" in one.title for one in protocols)
    assert "never ranked" in text
    assert "Comparable? " in text


def test_medical_images_carry_the_notice_and_others_do_not(page, runs_at_hand, monkeypatch):
    selection, _ = page
    spec = open_dataset(str(selection.runs[0].config["dataset"])).spec
    for is_so in (True, False):
        monkeypatch.setattr(
            "lib.reports.page.spec_of", lambda run, is_so=is_so: dataclasses.replace(spec, is_medical=is_so)
        )
        monkeypatch.setattr("lib.reports.page._manifest", lambda run: {})
        assert is_medical(selection.runs) is is_so
        assert (MEDICAL_NOTICE in to_html(selection, [])) is is_so


def test_a_picture_that_cannot_be_drawn_says_why(runs_at_hand):
    def draw(selection):
        raise UserError("No run has <none>.")

    text = to_html(selected(metric=ACCURACY), [Picture("x", "Of nothing", draw)])
    assert "<h2>Of nothing</h2><p>Not drawn: No run has &lt;none&gt;.</p>" in text
    assert "compared by accuracy" in text


def test_the_command_writes_what_it_prints(runs_at_hand, command, tmp_path):
    runs = [run.run_id for run in selected().runs]
    files = {one.name: tmp_path / f"a.{one.ending}" for one in FORMATS}
    asked = [part for name, path in files.items() for part in (f"--{name}", path)]
    answer = command("compare", *runs[:2], "--metric", "quadratic_weighted_kappa", *asked)
    assert answer.status == 0
    words = re.search(r"\d\.\d\d \(-?\d\.\d\d to \d\.\d\d\)", answer.out).group()
    for name, path in files.items():
        assert str(path) in answer.err
        if name != "csv":
            assert words in path.read_text("utf-8"), name
    refused = command("compare", *runs[:2], "--html", tmp_path / "none" / "a.html")
    assert refused.status == 2
    assert "does not exist" in refused.err
