"""What the views of "Grade images" look at, and the thread that grades while the page goes on."""

import hashlib
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import streamlit as st

from lib.evaluation.verdict import GRADED
from lib.grading.grades import STATUS_WORDS, Grade, GradingOptions
from lib.grading.upload_session import UploadSession
from lib.progress import Progress, duration
from pages.common import background, resources, state
from pages.common.passports import draw_passports
from pages.common.text import count, plain, plain_message
from pages.grade.runs import stored_point

if TYPE_CHECKING:
    from lib.grading.grader import Grader

GRACE_S = 0.5  # what is graded so soon needs no progress
_POLL_S = 0.7
_STOPPED = "Cancelled; what was graded is kept."
_NEWEST = 3


@dataclass(frozen=True, eq=False)
class Scene:
    """The images of a session as one run with one set of options grades them."""

    run_id: str
    session: UploadSession
    grader: "Grader"
    key: str  # of the grades in the session

    @classmethod
    def of(cls, run_id: str, session: UploadSession, options: GradingOptions) -> "Scene":
        """Load the network; another run, other options or another operating point are other grades."""
        grader = resources.cached_grader(run_id).deciding(options)
        grader.operating_point = stored_point(run_id)  # it may have changed since the network was loaded
        point = "" if grader.operating_point is None else grader.operating_point.to_dict()
        digest = hashlib.sha256(f"{options} {point}".encode()).hexdigest()[:12]
        return cls(run_id, session, grader, f"{run_id} {digest}")

    @property
    def rows(self) -> list[tuple[Grade, bytes | None]]:
        """(grade, picture) a file, as far as they are graded."""
        return self.session.rows(self.key)

    @property
    def task_name(self) -> str:
        """One task a session and key; the token itself stays out of it."""
        token = hashlib.sha256(str(state.current("uploads")).encode()).hexdigest()[:16]
        return f"grade:{token}:{self.key}"

    def grade(self) -> bool:
        """Grade what waits in a thread of its own; whether all of it is done, so that the views can be drawn."""
        name, waiting = self.task_name, self.session.waiting(self.key)
        task = background.find(name)
        if task is None and waiting:
            task = background.start(name, f"Grading {count(len(waiting), 'image')}", self._work, stopped=_STOPPED)
            end_s = time.monotonic() + GRACE_S
            while not task.is_over and time.monotonic() < end_s:
                time.sleep(0.02)
        if task is None:
            return True
        if not task.is_over:
            _watch(self, name)
            return False
        if not task.error or not waiting:
            background.forget(name)
            return not waiting or self.grade()  # more may have come while it was at work
        self._offer_to_go_on(name, task.error, len(waiting))
        return True

    def _work(self, progress: Progress) -> None:
        waiting = self.session.waiting(self.key)
        progress(0, len(waiting), "Grading images")
        for done, grade in enumerate(self.grader.grade(waiting), start=1):
            self.session.keep(self.key, grade.name, grade)  # each at once: an interruption loses nothing
            progress(done, len(waiting), "Grading images")

    def _offer_to_go_on(self, name: str, error: str, number: int) -> None:
        with st.container(border=True, horizontal=True, vertical_alignment="center"):
            st.markdown(f"{plain_message(error)} {count(number, 'image')} left.")
            st.button(
                "Go on", icon=":material/play_arrow:", key="grade_go_on", on_click=background.forget, args=(name,)
            )

    @property
    def summary(self) -> str:
        """How many of each status, and of which classes."""
        grades = [grade for grade, _ in self.rows]
        statuses = Counter(grade.status for grade in grades)
        classes = Counter(grade.class_name for grade in grades if grade.status == GRADED)
        by_class = ", ".join(f"{number} {plain(name)}" for name, number in classes.most_common(8))
        parts = [f"{statuses[status]} {words}" for status, words in STATUS_WORDS.items() if statuses[status]]
        if parts and statuses[GRADED]:
            parts[0] += f" ({by_class})"
        return f"**{count(len(grades), 'file')}**: {', '.join(parts)}."


@st.fragment(run_every=_POLL_S)
def _watch(scene: Scene, name: str) -> None:
    """Progress, Cancel, and the newest grades; the page is drawn whole when the work is over."""
    task = background.find(name)
    if task is None or task.is_over:
        st.rerun(scope="app")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="grade_progress"):
        left = "" if task.seconds_left != task.seconds_left else f", about {duration(task.seconds_left)} left"
        share = min(1.0, task.done / task.total) if task.total else 0.0
        st.progress(share, text=f"Graded {task.done} of {task.total or '…'}{left}", width="stretch")
        if st.button("Cancel", icon=":material/stop_circle:", key="grade_cancel", disabled=task.stop.is_set()):
            task.stop.set()
    graded = [row for row in scene.rows if row[0].sha256]
    if graded:
        draw_passports(graded[-_NEWEST:][::-1])
