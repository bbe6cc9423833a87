"""The race on the training page: choose rungs and images, start, stop, go on; the picture is drawn by race_live."""

import dataclasses
import time
from typing import Any

import streamlit as st

from lib.data.dataset import Dataset
from lib.errors import UserError
from lib.models.backbones import BACKBONES
from lib.progress import duration
from lib.sweeps.plan import SweepState
from lib.sweeps.results import RaceReplay, replay_race
from lib.sweeps.strategies import (
    ARMS,
    DEFAULT_ARMS,
    DEFAULT_BATCH_SIZE,
    DEFAULT_EPOCHS,
    StrategySweep,
    default_input_size,
    make_plan,
)
from lib.tracking.state import read_state
from lib.training.resolution import MAX_WATCHED
from pages.common import clicks, controls, race_live, replay, resources, state, weights_panel
from pages.common.controls import empty_state
from pages.common.errors import show_errors
from pages.common.text import count, plain, plain_message, readable

MODES = {"one": "One training", "race": "Race the ladder"}
MAX_CHOICES = 300  # images to pin that are offered by name
_MODE = "train_mode"


def choose_mode() -> str:
    """One training, or the race; a link to a race opens it."""
    st.session_state.setdefault(_MODE, "race" if state.current("race") else "one")
    chosen = st.segmented_control(
        "What to start", list(MODES), format_func=MODES.__getitem__, key=_MODE, label_visibility="collapsed"
    )
    return chosen or "one"


def draw(dataset: str, backbone: str) -> None:
    """The whole race view."""
    summary = resources.find_summary(dataset)
    if summary is None:
        empty_state("This data set is not in the library any more.", button="Go to start", page="start")
        return
    opened = resources.cached_dataset(dataset, summary.version)
    plan = _watched(dataset)
    if plan is None or not replay.is_asked(plan.race_id):  # a recording needs the room
        st.markdown(
            "Every rung learns on the same split and seed, one after the other: from nothing trained to everything "
            "trained from random weights. How much does each step up cost, and what does it bring?"
        )
        with show_errors("show the settings"):
            _draw_controls(opened, backbone)
    if plan is None:
        st.caption("No race has been run on this data set yet.")
        return
    with show_errors("show the race"):
        _draw_race(plan, opened)


def _draw_controls(dataset: Dataset, backbone: str) -> None:
    spec, active = BACKBONES.get(backbone), StrategySweep.active()
    if not resources.weights_at_hand().get(backbone, False):
        st.warning(
            f"The pretrained weights of {spec.title} are not on this machine, so there is nothing to transfer.",
            icon=":material/casino:",
        )
        weights_panel.offer_download(spec, key="race_download")
        return
    with st.container(horizontal=True, vertical_alignment="bottom", key="race_controls"):
        is_off, arguments = active is not None, (dataset.name, backbone)
        st.button("Race the ladder", type="primary", key="race_start", disabled=is_off, on_click=_start, args=arguments)
        with st.popover("Settings", icon=":material/tune:"):
            _draw_settings(dataset)
        st.markdown(_sizes(dataset, backbone))
    if message := st.session_state.pop("race_error", None):
        st.error(message, icon=":material/error:")


def _draw_settings(dataset: Dataset) -> None:
    titles = {arm.name: arm.title for arm in ARMS}
    st.multiselect("Rungs", list(titles), list(DEFAULT_ARMS), format_func=titles.__getitem__, key="race_rungs",
                   persist_state="session")  # fmt: skip
    left, middle, right = st.columns(3)
    help_text = "Passes over the training images, the same number for every rung that trains the network."
    left.number_input("Epochs", 1, 1000, DEFAULT_EPOCHS, key="race_epochs", help=help_text, persist_state="session")
    middle.number_input("Batch size", 1, 4096, DEFAULT_BATCH_SIZE, key="race_batch", persist_state="session")
    right.number_input("Seed", 0, 2**31 - 1, 0, key="race_seed", persist_state="session")
    names = _pinnable(dataset.name, dataset.version)
    st.multiselect(
        "Pinned images",
        list(names),
        format_func=lambda image_id: readable(names[image_id], 60),
        max_selections=MAX_WATCHED,
        placeholder="one validation image of each class",
        help="Watched after every epoch: what each rung says of them, and where it looks.",
        key=f"race_pins_{dataset.name}",
        persist_state="session",
    )


@st.cache_data(max_entries=4, show_spinner=False)
def _pinnable(name: str, version: str) -> dict[str, str]:
    """Validation and test images that can be pinned by name: id -> class, file and part."""
    dataset = resources.cached_dataset(name, version)
    split = dataset.split(0)
    table = dataset.table.assign(part=split)
    parts = {"val": "validation", "test": "test"}
    table = table[table["part"].isin(parts)].head(MAX_CHOICES)
    return {
        row.image_id: f"{dataset.class_names[row.target]}, {row.path} ({parts[str(row.part)]})"
        for row in table.itertuples()
    }


def _chosen(dataset: str) -> dict[str, Any]:
    """The settings as chosen; what was never drawn has its default."""
    chosen = st.session_state
    pins = chosen.get(f"race_pins_{dataset}") or []
    return {
        "rungs": tuple(chosen.get("race_rungs") or DEFAULT_ARMS),
        "epochs": chosen.get("race_epochs"),
        "batch_size": chosen.get("race_batch"),
        "seed": chosen.get("race_seed"),
        "pinned_images": ",".join(pins) or None,
    }


def _sizes(dataset: Dataset, backbone: str) -> str:
    """What will be raced, and about how long it takes."""
    chosen = _chosen(dataset.name)
    epochs = chosen["epochs"] or DEFAULT_EPOCHS
    draft = StrategySweep(race_id="draft", dataset=dataset.name, backbone=backbone, num_images=dataset.num_images,
                     rungs=tuple(chosen["rungs"]), epochs=epochs)  # fmt: skip
    size = default_input_size(backbone)
    draft = dataclasses.replace(draft, input_size_px=size)
    return (
        f"{count(len(draft.rungs), 'rung')} · {count(draft.num_images, 'image')} of {draft.size_px} px · "
        f"{count(draft.epochs, 'epoch')} where the network is trained · about {duration(draft.expected_s)} "
        "on two free cores"
    )


def _start(dataset: str, backbone: str) -> None:
    if clicks.is_repeat("race"):
        return
    try:
        plan = make_plan(dataset=dataset, backbone=backbone, **_chosen(dataset))
        plan.start()
        state.settle("race", plan.race_id)
    except UserError as error:
        st.session_state["race_error"] = plain_message(error)


def _watched(dataset: str) -> StrategySweep | None:
    """The race of the link, else the one at work, else the newest on this data set."""
    if asked := state.current("race"):
        try:
            return StrategySweep.find(asked)
        except UserError as error:
            st.warning(plain_message(error))
    plan = StrategySweep.active() or next(
        (plan for plan in StrategySweep.newest_first() if plan.dataset == dataset), None
    )
    if plan is not None:
        state.settle("race", plan.race_id)
    return plan


def _draw_race(plan: StrategySweep, dataset: Dataset | None) -> None:
    is_active = plan.read().is_active
    if dataset is None or plan.dataset != dataset.name:
        summary = resources.find_summary(plan.dataset)
        dataset = resources.cached_dataset(plan.dataset, summary.version) if summary else None
    with st.container(horizontal=True, vertical_alignment="bottom", key="race_view"):
        _draw_choice(plan)
        metric = race_live.choose_metric(dataset.spec if dataset is not None else None)
    if _replay(plan, dataset, metric):
        return
    # Polling ends with the race: nothing moves on a page that has nothing new to say.
    st.fragment(_live, run_every=race_live.POLL_S if is_active else None)(
        plan, dataset, metric, is_active=is_active, was_asked=replay.is_asked(plan.race_id)
    )


def _replay(plan: StrategySweep, dataset: Dataset | None, metric: str) -> bool:
    """Play the recording of a race where that was asked for; False where it was not, or nothing of it has finished."""
    recording = replay_race(plan) if replay.is_asked(plan.race_id) else None
    if recording is None:
        return False
    playback = replay.current(plan.race_id, recording.seconds)

    def draw_recorded(*, was_playing: bool) -> None:
        with show_errors("play the recording"):
            second = playback.now_s
            replay.draw_controls(
                playback, recording.stops, made=_recorded_words(recording), what=recording.words(second)
            )
            then, newest = recording.at(second), recording.newest_epochs(second)
            race_live.draw(plan, plan.read(), dataset, metric, then=then, newest=newest)
            replay.rerun_if_changed(playback, was_playing=was_playing)

    st.fragment(draw_recorded, run_every=replay.tick_s(playback))(was_playing=playback.is_playing)
    return True


def _recorded_words(recording: RaceReplay) -> str:
    """When and where a race was run that came with the program; empty for one that was run here."""
    run_id = next((leg.result.run_id for leg in recording.legs if leg.result.run_id), None)
    return read_state(run_id).recorded_words if run_id else ""


def _live(plan: StrategySweep, dataset: Dataset | None, metric: str, *, is_active: bool, was_asked: bool) -> None:
    with show_errors("show the race"):
        if replay.is_asked(plan.race_id) and not was_asked:
            st.rerun()  # asked for in here: the whole page once
        now = plan.read()
        _draw_progress(plan, now)
        race_live.draw(plan, now, dataset, metric)
        if now.is_active != is_active:
            resources.forget_results()
            st.rerun()  # the whole page once: it starts or ends the polling


def _draw_choice(plan: StrategySweep) -> None:
    """Older races, where there are any."""
    plans = {one.race_id: one for one in StrategySweep.newest_first()[:20]}
    if len(plans) < 2:
        return
    plans.setdefault(plan.race_id, plan)
    titles = {key: f"{time.strftime('%d %b %H:%M', time.localtime(one.created_s))} · {readable(one.title)}"
              for key, one in plans.items()}  # fmt: skip
    controls.choose("Race", titles, "race", key="race_choice", value=plan.race_id, width=420)


def _draw_progress(plan: StrategySweep, now: SweepState) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key="race_progress"):
        if now.is_active:
            left = f" · about {duration(now.seconds_left)} left" if now.seconds_left else ""
            what = f", {plain(now.what)}" if now.what else ""
            is_stopping = now.state == "stopping"
            st.progress(min(1.0, now.share), "Stopping …" if is_stopping else f"{plain(now.step)}{what}{left}")
            label, icon = ("Stopping …" if is_stopping else "Stop"), ":material/stop_circle:"
            st.button(label, icon=icon, key="race_stop", disabled=is_stopping, on_click=plan.stop)
            return
        if now.state == "finished":
            recording = replay_race(plan, now)
            made = _recorded_words(recording) if recording else ""
            st.markdown(plain(f"Finished in {duration(now.seconds_total)}{f', {made}' if made else ''}."))
            if recording:
                replay.offer(plan.race_id)
            return
        st.markdown(plain_message(now.message) or "Not started.")
        st.button("Go on", icon=":material/resume:", key="race_resume", on_click=_resume, args=(plan,))


def _resume(plan: StrategySweep) -> None:
    try:
        plan.start()
    except UserError as error:
        st.session_state["race_error"] = plain_message(error)
