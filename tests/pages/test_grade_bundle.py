"""The part "Take the model with you": files made on a click, a bundle from elsewhere, the registry."""

import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from lib.grading.imported import import_bundle, list_bundles
from lib.grading.taking_away import export_run
from lib.tracking.model_registry import register_run, registered_run, set_alias
from pages.common import background
from tests.grading.squares import finished_run_on_squares
from tests.run_store import make_run_store

PAGE = Path(__file__).resolve().parents[2] / "pages/grade_images.py"


def draw(run_id):
    from pages.grade.bundle import draw_bundle

    draw_bundle(run_id)


@pytest.fixture
def run_id(home):
    return finished_run_on_squares()


def shown(run_id):
    page = AppTest.from_function(draw, args=(run_id,), default_timeout=60).run()
    assert not page.exception
    return page


def finish(page, name):
    until = time.monotonic() + 60
    while not background.find(name).is_over and time.monotonic() < until:
        time.sleep(0.05)
    page.run()
    assert not page.exception


def test_files_are_made_once_on_a_click(run_id, home):
    page = shown(run_id)
    for suffix in ("zip", "onnx"):
        assert not (home / "cache" / "exports" / f"{run_id}.{suffix}").exists()
        page.button(key=f"bundle_make_{suffix}").click().run()
        finish(page, f"bundle_{suffix}_{run_id}")
        assert (home / "cache" / "exports" / f"{run_id}.{suffix}").stat().st_size > 0
    assert [one.label.split(" (")[0] for one in page.get("download_button")] == ["Download .zip", "Download .onnx"]
    assert not [one for one in page.button if one.label.startswith("Make the .")]


def test_a_bundle_is_listed_deleted_and_brought_back(run_id, tmp_path):
    kept = import_bundle(export_run(run_id, tmp_path / "squares.zip"), name="Elsewhere")
    page = shown(run_id)
    page.button(key=f"bundle_delete_{kept.bundle_id}").click().run()
    assert list_bundles() == []
    next(one for one in page.button if one.label == "Undo").click().run()
    assert [one.name for one in list_bundles()] == ["Elsewhere"]


@pytest.mark.slow
def test_an_imported_bundle_can_be_taken_away_and_not_registered(run_id, tmp_path):
    kept = import_bundle(export_run(run_id, tmp_path / "squares.zip"))
    page = shown(kept.bundle_id)
    assert any("cannot be registered" in one.value for one in page.caption)
    page.button(key="bundle_make_zip").click().run()
    finish(page, f"bundle_zip_{kept.bundle_id}")
    assert len(page.get("download_button")) == 1


def test_the_registry_registers_moves_and_rolls_back(run_id):
    page = shown(run_id)
    page.toggle(key="bundle_registry_open").set_value(True).run()
    page.text_input(key="bundle_name").set_value("../bad")
    next(one for one in page.button if one.label == "Register").click().run()
    assert any("A registered name has letters" in one.value for one in page.error)
    page.text_input(key="bundle_name").set_value("eyes")
    next(one for one in page.button if one.label == "Register").click().run()
    page.button(key="bundle_champion_eyes_1").click().run()
    assert registered_run("models:/eyes@champion") == run_id
    register_run(run_id, "eyes")
    set_alias("eyes", "champion", 2)
    page.run()
    page.button(key="bundle_back_eyes").click().run()
    assert not page.error
    assert page.button(key="bundle_champion_eyes_2")
    page.button(key="bundle_back_eyes").click().run()
    assert any("never pointed to another version" in one.value for one in page.error)


def test_an_imported_bundle_is_among_the_graders_of_the_page(run_id, tmp_path):
    kept = import_bundle(export_run(run_id, tmp_path / "squares.zip"), name="Elsewhere")
    page = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not page.exception
    assert "Elsewhere · imported" in page.selectbox(key="grade_run").options
    page.query_params["run"] = kept.bundle_id
    page.run()
    assert not page.exception
    assert any("cannot be registered" in one.value for one in page.caption)


def test_without_any_run_a_model_can_be_brought(home):
    make_run_store()
    page = AppTest.from_file(str(PAGE), default_timeout=60).run()
    assert not page.exception
    assert [one.label for one in page.get("file_uploader")] == ["A bundle's zip"]


def test_a_refused_bundle_is_called_by_the_name_it_was_uploaded_under(home):
    make_run_store()
    page = AppTest.from_file(str(PAGE), default_timeout=60).run()
    page.get("file_uploader")[0].upload("afar.zip", b"PK\x03\x04 no more", "application/zip").run()
    until = time.monotonic() + 60
    while not page.error and time.monotonic() < until:
        time.sleep(0.05)
        page.run()
    said = [one.value for one in page.error]
    assert any("saved classifier afar" in one for one in said), said
