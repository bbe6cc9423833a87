import dataclasses
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import pandas as pd
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lib import jobs, quota, tracking
from lib.atomic import write_json
from lib.data import library
from lib.data.dataset_changes import change_dataset
from lib.data.importing import import_folder
from lib.data.label_schema import SchemaChange
from lib.data.library import open_dataset
from lib.data.subset import DataProtocol
from lib.errors import UserError
from lib.evaluation.headline import Score
from lib.jobs import queue
from lib.models.backbone_spec import STARTING_WEIGHTS
from lib.models.freezing import stage_plan
from lib.tracking import RunState
from lib.tracking.state import EXIT_REASONS
from lib.training.config import TrainConfig
from lib.training.estimation import Estimate, kept_estimate
from lib.training.optimization import LOSSES
from lib.training.rate_range import RateRange
from lib.training.resolution import resolve_config
from lib.training.strategies import STRATEGIES
from pages.common import (
    background,
    clicks,
    demo_panel,
    race_panel,
    recipe_picker,
    resources,
    seeds_panel,
    train_live,
    train_network_settings,
    train_plan,
    train_settings,
    train_start,
)
from pages.common.train_plan import MAIN
from tests.pages.scene import ROOT, html_of, link, make_dataset, make_run, open_page, page_links, words, write_images
from tests.run_store import make_run_store

# The form is the same for every network; trained and measured is the quick one.
pytestmark = pytest.mark.usefixtures("bundled_default")

ESTIMATE = Estimate(
    stages=[("head", "Head", 5, True)], epochs=10, num_steps_measured=3, step_s=0.5, epoch_s=2.0, seconds_start=5.0,
    seconds_features=3.0, seconds_training=20.0, seconds_evaluation=3.0, peak_rss_mib=512.0, device_mib=0.0,
    device="cpu", num_images=20,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _library(home):
    make_dataset()
    make_run_store()


def open_train(**view: str) -> AppTest:
    return open_page("train_model", **view)


def assert_calm(at: AppTest) -> None:
    assert not at.exception
    assert not [error.value for error in at.error]


def choose(at: AppTest, strategy: str) -> AppTest:
    return at.button(key=f"train_strategy_{strategy}").click().run()


@pytest.mark.slow
@pytest.mark.parametrize("through_app", [True, False])
def test_page_offers_every_strategy(through_app):
    at = open_page("train_model", through_app=through_app)
    assert_calm(at)
    labels = [button.label for button in at.button]
    titles = {spec.name: spec.title for spec in STRATEGIES}
    offered = [label for label in labels if label in titles.values()]
    assert offered[:4] == [titles[name] for name in MAIN]  # the others are behind one more click
    assert set(offered) == {spec.title for spec in STRATEGIES if not spec.is_for_fundus}  # it is another kind of set
    assert any(box.label == "Five more strategies" for box in at.expander)
    assert not at.multiselect(key="train_preprocessing").options.count("Crop to the retina")
    assert not at.button(key="train_start").disabled


def test_start_refuses_a_head_of_no_run_before_anything_is_queued(started):
    at = choose(open_train(), "partial_finetuning")
    assert at.segmented_control(key="train_batchnorm_partial_finetuning").value == "trained"
    at.text_input(key="train_head_from").set_value("f" * 32).run()
    assert at.segmented_control(key="train_batchnorm_partial_finetuning_with_head").value == "frozen"
    at.button(key="train_start").click().run()
    assert not at.exception
    (sentence,) = (error.value for error in at.error)
    assert "There is no run" in sentence
    assert jobs.active_runs() == []


def test_start_queues_what_the_form_says(started):
    at = choose(open_train(), "partial_finetuning")
    at.number_input(key="train_epochs_partial_finetuning").set_value(3)
    at.number_input(key="train_seed").set_value(7)
    at.selectbox(key="train_unfreeze_from_bundled_vgg").set_value("block3").run()
    at.button(key="train_start").click().run()
    assert_calm(at)
    wanted = TrainConfig(dataset="tiny", strategy="partial_finetuning", epochs=3, seed=7, unfreeze_from="block3")
    assert started == [wanted]
    assert link(at, "run") == jobs.active_runs()[0].run_id
    assert any(wanted.to_command() == block.value for block in at.code)


def test_batchnorm_and_the_last_unfrozen_stage_are_choices_in_sight(started):
    at = choose(open_train(), "gradual_unfreezing")
    at.segmented_control(key="train_batchnorm_gradual_unfreezing").set_value("statistics_frozen").run()
    at.selectbox(key="train_unfreeze_from_gradual_unfreezing_bundled_vgg").set_value("block3").run()
    assert any("All of it is trained by default" in caption.value for caption in at.caption)
    assert any("of 6 stages are frozen, trained from Block 3" in block.proto.body for block in at.get("html"))
    at.button(key="train_start").click().run()
    assert_calm(at)
    wanted = TrainConfig(
        dataset="tiny", strategy="gradual_unfreezing", batchnorm="statistics_frozen", unfreeze_from="block3"
    )
    assert started == [wanted]


def test_second_start_waits_in_the_queue(started):
    at = open_train()
    at.button(key="train_start").click().run()
    at.number_input(key="train_seed").set_value(1).run()
    at.button(key="train_start").click().run()
    assert_calm(at)
    first, second = jobs.active_runs()
    assert link(at, "run") == first.run_id
    at.button(key=f"train_stop_{second.run_id}").click().run()
    assert tracking.read_state(second.run_id).state in {"stopping", "stopped"}
    assert tracking.read_state(first.run_id).state == "queued"


@pytest.mark.slow
def test_five_deliberate_clicks_are_one_run_and_four_that_wait_each_with_a_cancel(started, monkeypatch):
    monkeypatch.setattr(clicks, "DOUBLE_CLICK_S", 0.0)
    at = open_train()
    for _ in range(5):
        at.button(key="train_start").click().run()
    assert_calm(at)
    first, *waiting = jobs.active_runs()
    assert len(started) == 5
    assert len(waiting) == 4
    assert link(at, "run") == first.run_id
    assert "Queued behind 4 trainings." in [toast.value for toast in at.toast]
    rows = [line for line in words(at).splitlines() if "Queued: " in line]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert [run.run_id[:8] in row for run, row in zip([first, *waiting], rows, strict=True)] == [True] * 5

    at.button(key=f"train_stop_{waiting[1].run_id}").click().run()
    assert tracking.read_state(waiting[1].run_id).state in {"stopping", "stopped"}
    assert tracking.read_state(waiting[2].run_id).state == "queued"
    at.button(key="train_cancel_all").click().run()
    assert {tracking.read_state(run.run_id).state for run in waiting} <= {"stopping", "stopped"}


def test_a_double_click_is_one_training_and_a_later_click_another(started, monkeypatch):
    monkeypatch.setattr(clicks, "monotonic", lambda: 100.0)
    at = open_train()
    for _ in range(2):
        at.button(key="train_start").click().run()
    assert_calm(at)
    assert len(started) == len(jobs.active_runs()) == 1
    at.number_input(key="train_seed").set_value(1).run()
    at.button(key="train_start").click().run()  # another form, however quick
    assert [config.seed for config in started] == [0, 1]
    monkeypatch.setattr(clicks, "monotonic", lambda: 100.0 + clicks.DOUBLE_CLICK_S)
    at.button(key="train_start").click().run()
    assert [config.seed for config in started] == [0, 1, 1]


def test_a_click_before_the_outcome_is_shown_is_the_same_click(monkeypatch):
    session = {"frame_run": 4, "frame_ended": 4}
    monkeypatch.setattr(clicks.st, "session_state", session)
    now = [100.0]
    monkeypatch.setattr(clicks, "monotonic", lambda: now[0])
    assert not clicks.is_repeat("train")
    session["frame_run"] = 6  # two runs began, and each was broken off by the next one
    now[0] += 8
    assert clicks.is_repeat("train")
    assert not clicks.is_repeat("another form")
    clicks.end_of_run()
    assert not clicks.is_repeat("train")


def test_every_other_start_takes_a_double_click_for_one(monkeypatch):
    """Race, seeds, a recipe's first run and the demo: what two clicks within a second begin, and a later one."""
    calls, now, session = [], [100.0], {"frame_run": 1, "frame_ended": 0}
    monkeypatch.setattr(clicks.st, "session_state", session)
    monkeypatch.setattr(clicks, "monotonic", lambda: now[0])
    monkeypatch.setattr(race_panel, "_chosen", lambda _: {})
    begun = [SimpleNamespace(race_id="r", start=lambda name=name: calls.append(name)) for name in ("race", "seeds")]
    monkeypatch.setattr(race_panel, "make_plan", lambda **_: begun[0])
    monkeypatch.setattr(seeds_panel, "make_plan", lambda *_: begun[1])
    monkeypatch.setattr(type(demo_panel.DEMO), "start", lambda _: calls.append("demo"))
    monkeypatch.setattr(recipe_picker.jobs, "start", lambda _: calls.append("recipe"))
    monkeypatch.setattr(recipe_picker, "active_run", lambda _: None)
    monkeypatch.setattr(recipe_picker.state, "settle", lambda *_: None)
    starts = (
        lambda: race_panel._start("tiny", "bundled_vgg"),
        lambda: seeds_panel._start(TrainConfig(dataset="tiny"), 3),
        lambda: recipe_picker._run_first(SimpleNamespace(name="parent", config=None)),
        demo_panel._start,
    )
    for count in (1, 2):
        for start in starts:
            start()
            start()
        assert [len(calls), len(set(calls))] == [4 * count, 4]
        session["frame_run"], now[0] = 2, 110.0
        clicks.end_of_run()


def test_both_tabs_start_one_training_each_with_a_double_click(started, monkeypatch):
    monkeypatch.setattr(clicks, "monotonic", lambda: 100.0)
    for at in (open_train(), open_train()):
        for _ in range(2):
            at.button(key="train_start").click().run()
    assert len(started) == 2


def test_a_click_that_ends_the_script_loses_no_start(started, monkeypatch):
    show, interrupted, gate = train_start._show_waiting, [], threading.Event()
    prepare = jobs.start

    def start(config):
        gate.wait(10)
        return prepare(config)

    def interrupt_once(beside, number):
        if not interrupted:
            interrupted.append(number)
            gate.set()
            st.rerun()
        return show(beside, number)

    at = open_train()
    monkeypatch.setattr(jobs, "start", start)
    monkeypatch.setattr(train_start, "_show_waiting", interrupt_once)
    at.button(key="train_start").click().run()
    assert interrupted == [1]
    assert len(started) == 1
    assert link(at, "run") == jobs.active_runs()[0].run_id


def test_an_ending_has_its_name_and_a_resume_only_where_it_makes_sense():
    for ending, has_resume in (("diverged", False), ("disk_full", True)):
        run = jobs.prepare(TrainConfig(dataset="tiny", strategy="from_scratch", weights="random"))
        queue.release(run.run_id)
        run.note("Memory ran out: batches of 32 are computed 16 images at a time.")
        run.finish("failed", "One sentence.", ending)
        at = open_train(run=run.run_id)
        assert [error.value for error in at.error] == ["One sentence\\."]
        assert any("16 images at a time" in info.value for info in at.info)
        assert ("train_resume" in [button.key for button in at.button]) is has_resume
        assert EXIT_REASONS.get(ending).title.lower() in words(at)


def test_refused_start_says_why_in_one_sentence(monkeypatch):
    def refuse(config):
        raise UserError("The class 'red' has 1 image; at least 3 are needed.")

    monkeypatch.setattr(jobs, "start", refuse)
    at = open_train().button(key="train_start").click().run()
    assert not at.exception
    assert len(at.error) == 1
    assert "at least 3 are needed" in at.error[0].value


def test_a_quota_that_is_used_up_refuses_a_training_and_says_what_to_do(started, monkeypatch):
    monkeypatch.setattr(quota, "folder_bytes", lambda folder: 100 * 2**20)
    monkeypatch.setattr(clicks, "DOUBLE_CLICK_S", 0.0)
    quota.set_quota(0.1)
    at = choose(open_train(), "linear_probe").button(key="train_start").click().run()
    assert not at.exception
    (sentence,) = (error.value.replace("\\", "") for error in at.error)
    assert "A training needs about 64 MiB, and 100 MiB of the quota of 102 MiB are used" in sentence
    assert "delete something or raise the quota (Explore data, Storage" in sentence
    assert jobs.active_runs() == []
    assert not list(tracking.list_runs())
    quota.set_quota(None)
    at.button(key="train_start").click().run()
    assert_calm(at)
    assert len(jobs.active_runs()) == 1


def test_missing_weights_are_said_plainly():
    assert not open_train().warning  # the bundled weights are always here
    at = open_train(backbone="resnet18")
    assert any("not on this machine" in warning.value for warning in at.warning)
    at = choose(at, "from_scratch")
    assert not [warning.value for warning in at.warning if "nothing is transferred" in warning.value]


def test_link_shows_a_running_training_and_stops_it():
    run = jobs.prepare(TrainConfig(dataset="tiny", strategy="from_scratch", weights="random", epochs=4))
    run.set_state("running", pid=None)
    run.log_metrics({"train_loss": 0.9, "val_loss": 0.8, "train_accuracy": 0.5, "val_accuracy": 0.6}, step=1)
    run.heartbeat(phase="Training", done=1, total=4, seconds_left=30.0, images_per_second=12.5, epoch=1, epochs=4)
    at = open_train(run=run.run_id)
    assert_calm(at)
    assert at.button(key="train_stop").label == "Stop"
    assert "From scratch · Bundled VGG · tiny" in words(at)
    at.button(key="train_stop").click().run()
    assert at.button(key="train_stop").label == "Stopping …" or tracking.read_state(run.run_id).state == "stopped"


def test_a_training_found_without_a_link_stays_in_view_after_it_was_stopped():
    run = jobs.prepare(TrainConfig(dataset="tiny", strategy="from_scratch", weights="random"))
    at = open_train()
    assert link(at, "run") == run.run_id
    queue.release(run.run_id)
    run.finish("stopped", "Stopped on request.")
    at.run()
    assert at.button(key="train_resume").label == "Resume"


@pytest.mark.parametrize("state", ["stopped", "killed", "failed"])
def test_ended_training_can_be_resumed(monkeypatch, state):
    run = jobs.prepare(TrainConfig(dataset="tiny", strategy="from_scratch", weights="random"))
    queue.release(run.run_id)
    run.finish(state, "How it ended.")
    resumed = []
    monkeypatch.setattr(jobs, "resume", resumed.append)
    at = open_train(run=run.run_id)
    assert not at.exception
    at.button(key="train_resume").click().run()
    assert resumed == [run.run_id]


def test_unknown_run_in_the_link_is_one_sentence():
    at = open_train(run="0123456789")
    assert not at.exception
    assert "There is no run" in at.error[0].value
    at.button(key="train_last_run").click().run()
    assert_calm(at)


def test_the_last_result_stays_and_its_compare_link_brings_the_two_best_along():
    worst, best, second = (make_run("linear_probe", num_wrong=wrong) for wrong in (3, 0, 1))
    other = make_run("linear_probe", num_wrong=2)
    at = open_train()  # a plain link, in a new session
    assert_calm(at)
    assert link(at, "run") == other
    assert "Test accuracy" in html_of(at)
    query = parse_qs(page_links(at)["Compare"])
    assert query["runs"] == [",".join([other, best, second])]
    assert worst not in query["runs"][0]


def test_a_data_set_deleted_elsewhere_is_said_and_nothing_is_started_on_another(started):
    import_folder(write_images(Path(os.environ["TRANSFERSCOPE_HOME"]) / "pets", classes=("cat", "dog")), name="pets")
    at = open_train(dataset="pets")
    assert_calm(at)
    library.delete_dataset("pets")  # in another tab
    resources.forget_dataset()
    at.button(key="train_start").click().run()
    said = words(at)
    assert "There is no data set **pets** (any more)" in said
    assert [config.dataset for config in started] == ["pets"]
    assert jobs.active_runs() == []
    assert "train_start" not in [button.key for button in at.button]
    assert link(at, "dataset") == "pets"
    at.sidebar.selectbox(key="sidebar_dataset").select("tiny").run()
    assert_calm(at)
    assert "train_start" in [button.key for button in at.button]


def test_one_epoch_is_a_sentence_and_no_curve():
    at = open_train(run=make_run("full_finetuning", epochs=1))
    assert_calm(at)
    assert "After epoch 1: training loss 1.000, validation loss 1.200" in words(at).replace("\\", "")
    assert "train_curves" not in [chart.key for chart in at.get("plotly_chart")]
    at = open_train(run=make_run("full_finetuning", epochs=2))
    assert "train_curves" in [chart.key for chart in at.get("plotly_chart")]


def test_a_probe_counts_fits_as_fits():
    progress = {"phase": "Training", "done": 1, "total": 6, "unit": "fits", "num_images": 640}
    facts = train_live.live_facts(RunState("r", state="running", progress=progress), is_iterative=False)
    assert facts[0] == ("Fits done", "1", "of 6")
    assert facts[1][:2] == ("Images of a fit", "640")
    progress = {"phase": "Extracting features", "done": 500, "total": 1000, "unit": "images"}
    facts = train_live.live_facts(RunState("r", state="running", progress=progress), is_iterative=False)
    assert facts[0] == ("Images seen", "500", "of 1,000")


@pytest.mark.slow
def test_page_imports_no_torch():
    code = "import sys, lib.jobs, pages.common.train_panel, pages.common.train_plan, pages.common.train_before; "
    code += "import lib.models.freezing, lib.models.weights, lib.data.library; "
    code += "sys.exit(bool({'torch', 'mlflow'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("setting", [train_settings.EPOCHS, train_settings.SEED, *train_settings.MORE_NUMBERS])
def test_form_limits_are_those_of_the_config(setting):
    kind = float if isinstance(setting.step, float) else int
    for value in (setting.low, setting.high):
        TrainConfig(dataset="d", **{setting.name: kind(value)})
    beyond = setting.high + (1 if kind is int else setting.high)
    with pytest.raises(UserError, match=setting.name):
        TrainConfig(dataset="d", **{setting.name: beyond})
    with pytest.raises(UserError, match=setting.name):
        TrainConfig(dataset="d", **{setting.name: setting.low - 1})


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("augmentation", train_settings.AUGMENTATIONS),
        ("class_weights", train_settings.CLASS_WEIGHTS),
        ("optimizer", train_settings.OPTIMIZER_TITLES),
        ("schedule", train_settings.SCHEDULE_TITLES),
        ("loss", LOSSES.names),
        ("batchnorm", train_network_settings.BATCHNORM),
        ("weights", STARTING_WEIGHTS),
    ],
)
def test_form_choices_are_those_of_the_config(name, choices):
    for choice in choices:
        TrainConfig(dataset="d", **{name: choice})
    with pytest.raises(UserError) as caught:
        TrainConfig(dataset="d", **{name: "nonsense"})
    assert all(choice in str(caught.value) for choice in choices)


def test_every_config_field_has_a_place_on_the_page():
    numbers = {setting.name for setting in (train_settings.EPOCHS, train_settings.SEED, *train_settings.MORE_NUMBERS)}
    chosen = {"dataset", "backbone", "strategy", "weights", "augmentation", "class_weights", "head", "unfreeze_from"}
    chosen |= {"optimizer", "schedule", "loss", "batchnorm"}
    chosen |= {
        "output",
        "feature_stage",
        "target_map",
        "sampling",
        "head_from",
    }
    for_experts = {
        "momentum",
        "compile",
        "preprocessing",
        "pinned_images",
        "pooling",
        "warmup_fraction",
        "device",
        "dtype",
        "engine",
    }
    technical = {"dataset_version", "format_version", "recipe", *(f.name for f in dataclasses.fields(DataProtocol))}
    assert {field.name for field in dataclasses.fields(TrainConfig)} == numbers | chosen | for_experts | technical


def test_bar_fills_frozen_stages_and_says_so():
    strategy = STRATEGIES.get("partial_finetuning")
    plan = stage_plan("mobilenet_v2", "partial", "block5")
    num_frozen = [stage.stage for stage in plan].index("block5")
    bar = train_plan.stage_bar(strategy, plan)
    assert bar.count('class="ts-piece frozen"') == num_frozen
    assert bar.count("ts-piece") == len(plan)
    assert f"{num_frozen} of {len(plan) - 1} stages are frozen" in train_plan.bar_text(strategy, plan)
    by_hand = STRATEGIES.get("handcrafted_features")
    assert train_plan.stage_bar(by_hand, plan).count("ts-piece") == 1
    assert train_plan.bar_text(by_hand, plan).startswith("No network")
    assert "remembers" in train_plan.bar_text(STRATEGIES.get("nearest_neighbors"), stage_plan("resnet18", "none"))


def test_progress_in_words():
    running = RunState("r", state="running", progress={"phase": "training", "done": 3, "total": 12, "seconds_left": 41})
    assert train_live.progress_words(running, 0) == "Training · about 40 seconds left"
    assert train_live.progress_fraction(running) == pytest.approx(0.25)
    assert train_live.progress_words(RunState("r"), 2) == "Waiting: 2 trainings ahead"
    assert train_live.progress_fraction(RunState("r", state="finished")) == 1.0
    assert train_live.time_left(2) == "a few seconds left"
    assert train_live.time_left(200) == "about 3 minutes left"
    assert train_live.time_left(9000) == "about 2.5 hours left"


def test_sign_of_life_warns_when_it_is_old():
    assert train_live.sign_of_life(RunState("r", heartbeat_s=time.time())) == "just now"
    assert "may hang" in train_live.sign_of_life(RunState("r", heartbeat_s=time.time() - 60))


def test_final_facts_carry_the_interval():
    summary = {"test_accuracy": 0.95, "test_accuracy_low": 0.8264, "test_accuracy_high": 0.9862, "num_test": 40}
    summary |= {"test_balanced_accuracy": 0.94, "seconds_total": 12.3}
    facts = train_live.final_facts(Score.of(summary), summary)
    assert facts[0] == ("Test accuracy", "95.0\u00a0%", "82.6\u00a0% to 98.6\u00a0%")
    assert facts[2] == ("Time", "12 s", "tested on 40 images")
    assert train_live.beside_words(Score.of(summary)) == ""  # an old run says nothing of it


def test_final_facts_of_grades_begin_with_kappa_and_say_what_always_one_class_reaches():
    summary = {
        "headline": "quadratic_weighted_kappa", "test_quadratic_weighted_kappa": 0.73, "test_accuracy": 0.6,
        "test_quadratic_weighted_kappa_low": 0.65, "test_quadratic_weighted_kappa_high": 0.8, "num_test": 50,
        "test_baseline_accuracy": 0.74, "baseline_class": "No DR", "test_referable_auroc": 0.88, "seconds_total": 12.3,
    }  # fmt: skip
    score = Score.of(summary)
    facts = train_live.final_facts(score, summary)
    assert facts[:2] == [("Test kappa", "0.73", "0.65 to 0.80"), ("Test accuracy", "60.0\u00a0%", "")]
    assert train_live.beside_words(score) == (
        "Always the commonest class (No DR): accuracy 74.0\u00a0%. Referable (moderate and above) AUC 0.88."
    )


def test_facts_show_names_literally():
    assert "<img" not in train_live.facts_html([("<img src=x>", "1", "&")])


def test_curves_span_all_planned_epochs():
    rows = [("train_loss", 1, 0.9), ("val_loss", 1, 0.8), ("train_loss", 2, 0.5), ("val_loss", 2, 0.6)]
    history = pd.DataFrame(rows, columns=["key", "step", "value"])
    figure = train_live.curves_figure(history, strategy="full_finetuning", epochs=8, is_dark=True)
    assert json.loads(figure.to_json())["layout"]["xaxis"]["range"] == [0.5, 8.5]
    assert figure.layout.yaxis.range[1] == pytest.approx(1.05 * 0.9)
    assert "after epoch 2: training loss 0.500, validation loss 0.600" in train_live.curves_text(history)
    empty = history.iloc[:0].astype(object)
    train_live.curves_figure(empty, strategy="full_finetuning", epochs=8, is_dark=False)
    assert "no epoch has ended" in train_live.curves_text(empty)
    told = train_live.extremes_html(history)
    assert "now <b>0.600</b> · lowest <b>0.600</b> · highest <b>0.800</b>" in told
    assert train_live.extremes_html(empty).count("–") == 6


def test_curve_prefix_follows_the_fold_at_work():
    assert train_live.curve_prefix(RunState("r", progress={"phase": "Fold 2: training"})) == "fold_2_"
    assert train_live.curve_prefix(RunState("r", progress={"phase": "training"})) == ""


def test_before_the_start_counts_follow_the_strategy_and_a_measurement_is_kept(monkeypatch):

    asked = []

    def measure(arguments, progress):
        asked.append(arguments)
        resolved = resolve_config(TrainConfig(dataset="tiny", strategy="partial_finetuning"), open_dataset("tiny"))
        write_json(kept_estimate(resolved), ESTIMATE.to_dict())
        return ESTIMATE.to_dict()

    monkeypatch.setattr(background, "run_child_command", measure)
    at = choose(open_train(), "partial_finetuning")
    config = TrainConfig(dataset="tiny", strategy="partial_finetuning")
    at.session_state["train_before"] = True
    at.run()
    assert_calm(at)
    assert "of 1,716,322 parameters are trained" in words(at)
    at.button(key="train_measure").click().run()
    deadline = time.monotonic() + 10
    while "About" not in words(at) and time.monotonic() < deadline:
        time.sleep(0.1)
        at.run()
    assert asked == [["estimate", *shlex.split(config.to_command())[4:]]]
    assert "**About 31 s and 0.5 GiB of memory**" in words(at)


def test_the_suggested_rate_is_taken_over_with_one_click(monkeypatch):

    found = RateRange([1e-4, 1e-3, 1e-2], [1.0, 0.5, 0.4], [1.0, 0.6, 0.5], 1.04e-3, False)
    monkeypatch.setattr(background, "run_child_command", lambda arguments, progress: dataclasses.asdict(found))
    at = choose(open_train(), "full_finetuning")
    at.session_state["train_before"] = True
    at.run()
    at.button(key="train_range").click().run()
    deadline = time.monotonic() + 10
    while not [button for button in at.button if button.key == "train_take_rate"] and time.monotonic() < deadline:
        time.sleep(0.1)
        at.run()
    at.button(key="train_take_rate").click().run()
    assert_calm(at)
    assert at.number_input(key="train_learning_rate_full_finetuning").value == 0.001
    assert "fell fastest at 0.001" in words(at)


@pytest.mark.slow
def test_live_details_show_reading_and_confusion_matrix_back_through_time():
    run = jobs.prepare(TrainConfig(dataset="tiny", strategy="from_scratch", weights="random", epochs=6))
    run.set_state("running")
    for epoch, val_loss in enumerate((1.0, 0.5, 0.6, 0.7, 0.9), start=1):
        losses = {"train_loss": 1 / epoch, "val_loss": val_loss, "train_accuracy": 0.9, "val_accuracy": 0.5}
        run.log_metrics(losses, step=epoch)
        run.log_confusion({"prefix": "", "epoch": epoch, "matrix": [[epoch, 1], [0, 2]]})
    run.log_metrics({"val_accuracy": 0.5})  # as the summary of a finished run does
    at = open_train(run=run.run_id)
    assert_calm(at)
    assert "Overfitting" in at.warning[0].value
    at.session_state["train_details"] = "Confusion matrix"
    at.run()
    assert_calm(at)
    assert "epoch 5" in words(at)
    at.select_slider(key=f"train_epoch_{run.run_id}").set_value(2).run()
    assert "epoch 2: 4 of 5 images" in words(at).replace("\\", "")


def test_several_seeds_start_as_a_group_and_tell_mean_and_deviation(monkeypatch):
    from lib.sweeps.seeds import SeedSweep, Spread
    from pages.common.seeds_panel import spread_words

    started = []

    def start(plan: SeedSweep) -> None:
        started.append(plan)

    monkeypatch.setattr(SeedSweep, "start", start)
    at = open_train()
    at.session_state["train_seeds"] = True
    at.run()
    at.number_input(key="train_num_seeds").set_value(4).run()
    at.button(key="train_seeds_start").click().run()
    assert_calm(at)
    assert [(plan.num_seeds, plan.config["dataset"]) for plan in started] == [(4, "tiny")]
    assert "0 runs of 4" in words(at)
    spread = Spread("test_accuracy", 0.7, 0.1, (0.6, 0.8))
    assert spread_words(spread) == "Test accuracy 0.700 ± 0.100 (2 seeds: 0.600, 0.800)"


def test_preprocessing_is_part_of_the_training(started):
    at = open_train()
    at.multiselect(key="train_preprocessing").set_value(["clahe", "brightness"]).run()
    assert_calm(at)
    assert any("preprocessing=brightness+clahe" in block.value for block in at.code)


def test_an_ordinal_loss_is_offered_for_grades_only():
    make_dataset()
    at = choose(open_page("train_model"), "feature_extraction")
    assert at.selectbox(key="train_loss").options == ["Cross-entropy"]
    change_dataset("tiny", SchemaChange(is_ordinal=True))
    resources.forget_dataset()
    at.run()
    assert at.selectbox(key="train_loss").options == ["Cross-entropy", "Squared earth mover's distance"]
    at.selectbox(key="train_loss").select("earth_mover").run()
    assert "loss=earth_mover" in " ".join(code.value for code in at.code)
    change_dataset("tiny", SchemaChange(is_ordinal=False))
    resources.forget_dataset()
    at.run()  # what was chosen for grades is not kept
    assert not at.exception
    assert at.selectbox(key="train_loss").value == "cross_entropy"
    assert "earth_mover" not in " ".join(code.value for code in at.code)


@pytest.mark.parametrize(
    ("target_map", "said", "refused"),
    [("1,0", "Classes merged: blue -> blue;", ""), ("any_dr", "", "is for the five grades of retinopathy")],
)
def test_merged_classes_are_said_and_a_map_for_other_classes_is_refused_before_the_click(target_map, said, refused):
    dataset = make_dataset()
    at = AppTest.from_file(str(ROOT / "pages/train_model.py"), default_timeout=60)
    at.query_params["dataset"] = dataset
    at.session_state["train_target_map"] = target_map
    at.run()
    assert not at.exception
    assert said in words(at).replace("\\", "")
    assert [refused in error.value for error in at.error] == ([True] if refused else [])
    assert at.button(key="train_start").disabled == bool(refused)


def test_fundus_photographs_are_offered_what_is_made_for_them():
    spec = open_dataset(make_dataset()).spec
    assert not spec.is_fundus
    assert dataclasses.replace(spec, crop_policy="retina_box").is_fundus
    assert dataclasses.replace(spec, domain="fundus photographs").is_fundus


@pytest.mark.slow
def test_a_network_of_timm_is_found_and_trained(started):
    at = open_train(strategy="partial_finetuning")
    at.text_input(key="train_search_text").set_value("test_resnet").run()
    found = next(one for one in at.get("button_group") if one.key == "train_search_found_test_resnet")
    found.set_value("test_resnet").run()
    assert_calm(at)
    assert link(at, "backbone") == "timm:test_resnet"
    choose(at, "partial_finetuning")
    assert any("weights of timm:test_resnet are not on this machine" in warning.value for warning in at.warning)
    at.button(key="train_start").click().run()
    assert_calm(at)
    assert [(config.backbone, config.weights) for config in started] == [("timm:test_resnet", "random")]
    at.text_input(key="train_search_text").set_value("zzzz").run()
    assert any("no network of such a name" in caption.value for caption in at.caption)
