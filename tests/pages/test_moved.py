"""The view "What moved?" of Look inside: a fine-tuned run against its start."""

import shutil
import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib.data.importing import import_folder
from lib.data.library import open_dataset
from lib.explain.concepts import measure_concepts
from lib.explain.drift_measurement import measure_drift
from lib.grading.fine_tuned import concept_question, drift_question
from lib.grading.grader import Grader
from lib.grading.stage_resets import ResetQuestion, measure_resets
from lib.settings import datasets_dir, home
from pages.common import background
from tests.explain.test_concept_images import write
from tests.kept_home import made_once
from tests.moved_run import BACKBONE, save_run, write_tinted
from tests.pages.scene import html_of, link, words
from tests.run_store import make_run_store, move_run_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def _fresh_listings() -> None:
    st.cache_data.clear()


def open_view(**view: str) -> AppTest:
    at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in {"backbone": BACKBONE, "view": "moved", **view}.items():
        at.query_params[key] = value
    at.switch_page("pages/look_inside.py").run()
    assert not at.exception, at.exception
    assert not at.error, at.error[0].value
    return at


def read(at: AppTest) -> str:
    """What a person reads: Markdown's escapes are not seen."""
    return words(at).replace("\\", "")


def measured(*, with_resets: bool = True) -> str:
    """A run on "tinted" in the current home, with what was measured of it."""

    def make(folder: Path) -> None:
        run = save_run(folder / "tinted")
        grader, dataset = Grader.open(run, device="cpu"), open_dataset("tinted")
        measure_drift(drift_question(grader, dataset, label="partial_finetuning of tinted"))
        if with_resets:
            question = ResetQuestion(grader, dataset)
            measure_resets(question, question.each_in_turn())
        (folder / "run.txt").write_text(run)

    made = made_once(f"moved-{with_resets}", make)
    shutil.copytree(made / "home", home(), dirs_exist_ok=True)
    move_run_store(made / "home", home())
    return (made / "run.txt").read_text()


def wait_for(at: AppTest, name: str) -> AppTest:
    for _ in range(300):
        task = next((task for key, task in background._tasks.items() if key.startswith(name)), None)
        if task is None or task.is_over:
            return at.run()
        time.sleep(0.1)
    raise AssertionError(f"{name} did not end")


def test_with_nothing_to_compare_it_says_how_to_get_a_run(tmp_path: Path) -> None:
    make_run_store()
    import_folder(write_tinted(tmp_path / "tinted", per_class=6), name="tinted")
    at = open_view(dataset="tinted")
    assert "There is nothing to compare yet" in read(at)


def test_without_a_run_one_is_chosen_by_a_click(tmp_path: Path) -> None:
    run = save_run(tmp_path / "tinted")
    probe = save_run(tmp_path / "tinted", "linear_probe")
    at = open_view(dataset="tinted")
    assert "Choose a fine-tuned run" in read(at)
    assert not [button for button in at.button if button.key == f"inside_moved_{probe}"]
    at.button(key=f"inside_moved_{run}").click().run()
    assert link(at, "run") == run
    assert at.button(key="inside_moved_measure").label == "Measure what moved"
    assert "80 images once through each of the two networks" in read(at)


def test_a_probe_moved_nothing_by_design_and_a_tuned_run_is_offered(tmp_path: Path) -> None:
    run = save_run(tmp_path / "tinted")
    at = open_view(dataset="tinted", run=save_run(tmp_path / "tinted", "linear_probe"))
    assert "Nothing moved, by design" in read(at)
    assert at.button(key=f"inside_moved_{run}")


def test_a_data_set_that_is_gone_is_one_sentence(tmp_path: Path) -> None:
    run = save_run(tmp_path / "tinted")
    import_folder(write_tinted(tmp_path / "other", per_class=6, seed=1), name="other")
    shutil.rmtree(datasets_dir() / "tinted")
    at = open_view(dataset="other", run=run)
    assert "imported anew" in read(at)


def test_a_run_of_another_data_set_is_compared_on_its_own(tmp_path: Path) -> None:
    run = measured()
    import_folder(write_tinted(tmp_path / "other", per_class=6, seed=1), name="other")
    at = open_view(dataset="other", run=run)
    assert "did not move at all" in read(at)


def test_what_was_measured_is_shown_at_once() -> None:
    at = open_view(dataset="tinted", run=measured())
    said = read(at)
    assert "Training moved the weights of block" in said
    assert "did not move at all" in said
    assert "CKA: linear and debiased, on pooled outputs for" in said
    assert "put back" in said
    (chart,) = at.get("plotly_chart")
    assert "Put back alone: cost in accuracy" in chart.proto.spec
    assert "Probe, accuracy" in chart.proto.spec
    assert html_of(at).count("<img ") >= 3 * 2 * 4  # channels before and after
    assert "block5" in html_of(at)
    assert not [button for button in at.button if button.key == "inside_moved_measure"]
    assert "**Before**" in said


def test_the_stage_is_a_link_and_frozen_channels_are_those_of_before() -> None:
    at = open_view(dataset="tinted", run=measured(), stage="block1")
    assert at.selectbox(key="inside_moved_stage").value == "block1"
    assert any("No channel of this stage answers otherwise" in one.value for one in at.info)
    at.selectbox(key="inside_moved_stage").set_value("block5").run()
    assert link(at, "stage") == "block5"
    assert "channels order the" in read(at)


@pytest.mark.slow
def test_stages_are_put_back_at_once() -> None:
    at = open_view(dataset="tinted", run=measured(with_resets=False), reset="block5:alone")
    (chart,) = at.get("plotly_chart")
    assert "Put back alone" not in chart.proto.spec
    at.button(key="inside_reset").click().run()
    wait_for(at, "resets")
    assert "With block5 (" in read(at)
    at.segmented_control(key="inside_reset_extent").set_value("until").run()
    assert link(at, "reset") == "block5:until"
    at.button(key="inside_reset_all").click().run()
    wait_for(at, "resets")
    assert "With block4 and block5 put back" in read(at)
    assert "Put back alone" in at.get("plotly_chart")[0].proto.spec
    assert not [button for button in at.button if button.key == "inside_reset_all"]


def test_a_measurement_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lib.errors import UserError

    def broken(arguments: list[str], progress: object) -> None:
        assert arguments[:2] == ["drift", "--run"]
        raise UserError("The disk is full.")

    monkeypatch.setattr(background, "run_child_command", broken)
    at = open_view(dataset="tinted", run=save_run(tmp_path / "tinted"))
    at.button(key="inside_moved_measure").click().run()
    for _ in range(50):
        if at.error:
            break
        time.sleep(0.05)
        at.run()
    assert [error.value for error in at.error] == [r"The disk is full\."]


@pytest.mark.slow
def test_patches_of_channels_are_found_for_both_networks() -> None:
    at = open_view(dataset="tinted", run=measured(), stage="block5")
    assert "The images with the largest pooled answer" in read(at)
    at.button(key="inside_moved_patches").click().run()
    wait_for(at, "patches")
    assert "The places with the largest activations" in read(at)


@pytest.mark.slow
def test_concepts_are_tested_in_a_fold(tmp_path: Path) -> None:
    run = measured(with_resets=False)
    folder = write(tmp_path / "concepts" / "moss", 12)
    grader, dataset = Grader.open(run, device="cpu"), open_dataset("tinted")
    question = concept_question(grader, dataset, str(folder), label="partial_finetuning of tinted", target="a")
    measure_concepts(question)
    at = open_view(dataset="tinted", run=run)
    at.session_state["inside_concepts"] = True
    at.run()
    (control,) = [one for one in at.segmented_control if one.key == "inside_concept_source"]
    assert control.value == "textures"  # there are no masks, so no lesions are offered
    control.set_value("folder").run()
    assert "Name a folder on this machine" in read(at)
    at.text_input(key="inside_concept_folder").set_value("/no/such/folder").run()
    assert any("There is no folder" in one.value for one in at.info)
    at.text_input(key="inside_concept_folder").set_value(str(folder)).run()
    assert "the score of a (" in read(at)
    assert "no proof of a cause" in read(at)
