"""What the selected runs are worth on another data set: choose it, evaluate in the background, see the difference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lib.atomic import digest_of, read_json_or_empty
from lib.data.dataset import Dataset
from lib.data.grades import match_classes
from lib.data.target_map import TARGET_MAPS
from lib.errors import Stopped, UserError
from lib.grading.class_mapping import LEFT_OUT, mapping_text
from lib.grading.external import (
    external_results,
)
from lib.grading.new_images import mapping_of
from lib.jobs.processes import run_child_command
from lib.progress import Progress
from lib.tracking import RunRecord
from lib.tracking.scores import trained_classes
from lib.tracking.state import BUNDLE_FOLDER
from pages.common import background, clicks, controls, resources, state
from pages.common.text import count, joined, plain, readable
from pages.compare.external_results import draw_results
from pages.compare.scene import Scene

_MOST_SELECTS = 12  # classes that are mapped by a list each; more are written in one line
_BY_NAME, _BY_HAND = "", "by hand"


def draw(scene: Scene) -> None:
    """Choice and start on top; below, what is kept."""
    runs = [run for run in scene.runs if trained_classes(run.folder) is not None]
    if not runs:
        st.markdown("Another data set needs a finished run with a classifier; none of the selected runs has one.")
        return
    if left := len(scene.runs) - len(runs):
        st.caption(f"{count(left, 'selected run')} {'has' if left == 1 else 'have'} no classifier (yet).")
    controls.show_undo("external")
    controls.show_kept_error("external")
    chosen = _choose(scene, runs)
    kept = {run.run_id: [one for one in external_results(run.run_id) if not one.is_own] for run in runs}
    if chosen is not None:
        _Start(scene, runs, chosen, _choose_mapping(runs, chosen)).draw()
    draw_results(scene, runs, kept, chosen.name if chosen is not None else None)


# Which data set.


def _choose(scene: Scene, runs: Sequence[RunRecord]) -> Dataset | None:
    """The data set of the link (key `external`); those that do not fit by name say why, and can be mapped."""
    own = {str(run.config.get("dataset")) for run in runs}
    others = [summary for summary in resources.dataset_summaries() if {summary.name} != own and summary.num_images]
    if not others:
        st.markdown(
            "There is no other data set in the library yet. Import one under Explore data: a folder a class, named as "
            "the classes of the runs or not."
        )
        return None
    opened = {summary.name: resources.cached_dataset(summary.name, summary.version) for summary in others}
    misfits = {name: _misfit(runs[0], dataset, "") for name, dataset in opened.items()}
    titles = {summary.name: f"{summary.title} · {count(summary.num_images, 'image')}" for summary in others}
    fitting = [name for name in titles if not misfits[name]]
    asked = state.current("external")
    if asked and asked not in titles:
        gone = "is the runs' own one" if asked in own else "is not in the library (any more)"
        st.warning(f"The data set {plain(asked)} of the link {gone}; what was kept of it is listed below.")
    offered = [*fitting, *([asked] if asked in titles and asked not in fitting else [])]
    if not offered:
        st.markdown("No other data set has the classes of the runs by name or by grade; map the classes of one.")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        if offered:
            st.session_state["compare_external"] = asked if asked in offered else offered[0]
            st.selectbox(
                "Data set", offered, key="compare_external", width=420, format_func=lambda name: readable(titles[name]),
                on_change=lambda: state.remember("external", st.session_state["compare_external"]),
                help="Those whose classes are the runs' own, by name or by grade. Others need a mapping.",
            )  # fmt: skip
        _offer_misfits({name: misfits[name] for name in titles if misfits[name] and name not in offered}, titles)
    return opened[str(st.session_state["compare_external"])] if offered else None


def _offer_misfits(misfits: dict[str, str], titles: dict[str, str]) -> None:
    if not misfits:
        return
    with st.popover(f"{count(len(misfits), 'data set')} with other classes", type="tertiary"):
        for name, reason in misfits.items():
            st.markdown(f"**{plain(titles[name])}**: {plain(reason, 300)}")
            st.button(
                "Map its classes", key=f"external_map_{name}", icon=":material/alt_route:",
                on_click=state.remember, args=("external", name),
            )  # fmt: skip


def _misfit(run: RunRecord, dataset: Dataset, text: str) -> str:
    """Why the classes of a data set are not those of a run; "" where they are."""
    names, _ = trained_classes(run.folder) or ([], False)
    manifest = read_json_or_empty(run.folder / BUNDLE_FOLDER / "manifest.json")
    try:
        mapping_of(manifest, tuple(names), dataset, text or None)
    except UserError as error:
        return str(error)
    return ""


# Which of the runs' classes theirs are.


def _choose_mapping(runs: Sequence[RunRecord], dataset: Dataset) -> str:
    """A mapping in one line; "" where names or grades match by themselves."""
    ways = {_BY_NAME: "By their names"} if not _misfit(runs[0], dataset, "") else {}
    ways |= {one.name: f"As {one.title.lower()}" for one in TARGET_MAPS if not _misfit(runs[0], dataset, one.name)}
    ways |= {_BY_HAND: "By hand"}
    if len(ways) == 1 or list(ways) == [_BY_NAME, _BY_HAND]:
        way = next(iter(ways))
    else:
        way = str(
            st.segmented_control(
                "Classes", list(ways), format_func=ways.get, default=next(iter(ways)), required=True,
                key=f"external_way_{dataset.name}", help="Which of the runs' classes theirs are.",
            )
        )  # fmt: skip
    return way if way != _BY_HAND else _map_by_hand(runs[0], dataset)


def _map_by_hand(run: RunRecord, dataset: Dataset) -> str:
    ours, _ = trained_classes(run.folder) or ([], False)
    theirs = list(dataset.class_names)
    if len(theirs) > _MOST_SELECTS:
        return str(
            st.text_input(
                "Their classes", key=f"external_line_{dataset.name}", placeholder="their=ours,their=ours,their=-",
                help='For each class that is not called the same: their=ours, or "-" to leave its images out.',
            )
        )  # fmt: skip
    matched = match_classes(theirs, ours)
    pairs = {}
    st.caption(plain(f"Which class of the runs is each class of {dataset.spec.title}?"))
    for column, (name, number) in zip(_columns(len(theirs)), zip(theirs, matched, strict=True), strict=True):
        options = [*ours, LEFT_OUT]
        start = len(ours) if number is None else number
        pairs[name] = str(
            column.selectbox(
                readable(name, 40), options, index=start, key=f"external_class_{dataset.name}_{name}",
                format_func=lambda own: "Leave out" if own == LEFT_OUT else readable(own, 40),
            )
        )  # fmt: skip
    return mapping_text(pairs)


def _columns(number: int) -> list[Any]:
    columns: list[Any] = []
    while len(columns) < number:
        columns += st.columns(min(4, max(2, number)))
    return columns[:number]


# The evaluation.


@dataclass(frozen=True)
class _Start:
    """The button, the background job, and what became of it."""

    scene: Scene
    runs: Sequence[RunRecord]
    dataset: Dataset
    mapping: str

    def draw(self) -> None:
        reasons = {run.run_id: self._why_not(run) for run in self.runs}
        fitting = [run for run in self.runs if not reasons[run.run_id]]
        for reason in dict.fromkeys(filter(None, reasons.values())):
            who = [self.scene.labels[run_id] for run_id, own in reasons.items() if own == reason]
            of_some = f"{joined(who)}: " if len(who) < len(self.runs) else ""
            st.caption(plain(f"{of_some}{reason[:1].upper()}{reason[1:]}", 500))
        task = f"external_{digest_of([self.dataset.name, self.mapping, [run.run_id for run in fitting]])[:16]}"
        background.show_measurement_failure(task)
        if background.is_measuring(task):
            background.watch(task)
        elif fitting:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.button(
                    f"Evaluate {count(len(fitting), 'run')} on it", key="external_start", type="primary",
                    icon=":material/play_arrow:", on_click=self._start, args=(task, fitting),
                )  # fmt: skip
                controls.copy_command(
                    "\n".join(f"python -m lib {' '.join(_quoted(self._command(run)))}" for run in fitting)
                )

    def _why_not(self, run: RunRecord) -> str:
        if str(run.config.get("dataset")) == self.dataset.name:
            return "it was trained on this data set; its test images stand on the board."
        return _misfit(run, self.dataset, self.mapping)

    def _command(self, run: RunRecord) -> list[str]:
        words = ["evaluate", "--run", run.run_id, "--dataset", self.dataset.name, "--store"]
        return [*words, "--map", self.mapping] if self.mapping else words

    def _start(self, task: str, runs: Sequence[RunRecord]) -> None:
        if clicks.is_repeat(task):
            return
        commands = {self.scene.labels[run.run_id]: self._command(run) for run in runs}
        title = f"{count(len(runs), 'run')} on {readable(self.dataset.spec.title, 60)}"

        def work(progress: Progress) -> int:
            try:
                return _evaluate_all(commands, progress)
            finally:
                resources.forget_results()  # the board has columns of them

        background.start(task, title, work)


def _evaluate_all(commands: dict[str, list[str]], progress: Progress) -> int:
    """One run after the other, each in a process of its own; what was done stays, whatever happens to the others."""
    done, failures = 0, []
    for label, command in commands.items():

        def report(now: int, total: int, what: str, label: str = label) -> None:
            progress(now, total, f"{label}: {what}")

        try:
            run_child_command(command, report)
            done += 1
            resources.forget_results()  # the board shows it beside the run
        except UserError as error:
            failures.append(f"{label}: {error}")
        except Stopped:
            raise UserError(f"Stopped; {done} of {count(len(commands), 'run')} evaluated and kept.") from None
    if failures:
        raise UserError(" ".join(failures))
    return done


def _quoted(words: Sequence[str]) -> list[str]:
    import shlex

    return [shlex.quote(word) for word in words]
