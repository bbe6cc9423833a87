"""Plays a recording: where it is follows from the clock and what was pressed; nothing waits and nothing sleeps."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from pages.common import state
from pages.common.text import plain

TICK_S = 0.5
SPEEDS = (1, 2, 5, 10, 20, 50, 100)
SHOWN_S = 20.0  # a whole recording at the speed that is offered first, where 100 x is enough for it
_PLAYBACK = "replay_playback"


@dataclass
class Playback:
    """One recording in a session: where it stood when it was last touched, and since when it plays (None: paused)."""

    key: str
    seconds: float
    speed: int
    position_s: float = 0.0
    playing_since_s: float | None = None

    @property
    def is_playing(self) -> bool:
        """Whether it moves."""
        return self.playing_since_s is not None

    @property
    def now_s(self) -> float:
        """Where it stands."""
        if self.playing_since_s is None:
            return self.position_s
        return min(self.seconds, self.position_s + self.speed * (time.monotonic() - self.playing_since_s))

    @property
    def is_over(self) -> bool:
        """Whether the end is reached."""
        return self.now_s >= self.seconds

    def play(self) -> None:
        """Go on; from the beginning where it is over."""
        self.position_s = 0.0 if self.is_over else self.now_s
        self.playing_since_s = time.monotonic()

    def pause(self) -> None:
        """Stay where it is."""
        self.position_s, self.playing_since_s = self.now_s, None

    def go_to(self, second: float) -> None:
        """Stand at a second, paused."""
        self.position_s, self.playing_since_s = min(self.seconds, max(0.0, second)), None

    def set_speed(self, speed: int) -> None:
        """Another pace from here on."""
        is_playing = self.is_playing
        self.pause()
        self.speed = speed
        if is_playing:
            self.playing_since_s = time.monotonic()


def fitting_speed(seconds: float) -> int:
    """The slowest offered pace at which a recording takes at most 20 s; 100 x where none does."""
    return next((speed for speed in SPEEDS if seconds / speed <= SHOWN_S), SPEEDS[-1])


def offer(key: str, *, help: str = "Watch it again as it happened, from its recorded events.") -> None:
    """A button that plays the recording of a run or race, known by its id."""
    st.button("Replay", icon=":material/replay:", key=f"replay_{key}", on_click=_open, args=(key,), help=help)


def is_asked(key: str) -> bool:
    """Whether the view, or the link to it, asks for the recording of that run or race."""
    asked = state.current("replay")
    return bool(asked) and key.startswith(str(asked))


def current(key: str, seconds: float) -> Playback:
    """The playback of that run or race; a new one plays at once."""
    playback = st.session_state.get(_PLAYBACK)
    if not isinstance(playback, Playback) or playback.key != key or playback.seconds != seconds:
        playback = Playback(key, seconds, fitting_speed(seconds))
        playback.play()
        st.session_state[_PLAYBACK] = playback
    return playback


def draw_controls(playback: Playback, stops: Sequence[float], *, made: str, what: str = "") -> None:
    """Badge, buttons, pace and how far it is.

    Args:
        playback: of the session.
        stops: seconds at which something new is to be seen; Step goes to the next one.
        made: when and where it was recorded; empty if here.
        what: what is being done at this moment.
    """
    if playback.is_over:
        playback.go_to(playback.seconds)
    now = playback.now_s
    with st.container(horizontal=True, vertical_alignment="center", key="replay_controls", gap="small"):
        st.badge("recording", icon=":material/movie:", color="violet")
        label, icon = ("Pause", ":material/pause:") if playback.is_playing else ("Play", ":material/play_arrow:")
        act = playback.pause if playback.is_playing else playback.play
        st.button(label, icon=icon, key="replay_play", on_click=act)
        following = next((stop for stop in stops if stop > now + 1e-3), playback.seconds)
        is_over = playback.is_over
        st.button("Step", icon=":material/skip_next:", key="replay_step", on_click=playback.go_to, args=(following,),
                  disabled=is_over, help="To the next epoch or phase, and stay there.")  # fmt: skip
        st.button("To the end", icon=":material/last_page:", key="replay_end", on_click=playback.go_to,
                  args=(playback.seconds,), disabled=is_over)  # fmt: skip
        st.selectbox(
            "Pace", SPEEDS, SPEEDS.index(playback.speed), format_func=lambda speed: f"{speed} x", key="replay_speed",
            label_visibility="collapsed", width=96, on_change=lambda: playback.set_speed(st.session_state.replay_speed),
        )  # fmt: skip
        st.button("Close", icon=":material/close:", key="replay_close", type="tertiary", on_click=_close)
    where = f"Recording, {playback.speed} x: {_clock(now)} of {_clock(playback.seconds)}"
    st.progress(now / playback.seconds if playback.seconds else 1.0, f"{where} · {plain(what)}" if what else where)
    if made:
        st.caption(plain(f"{made[:1].upper()}{made[1:]}."))


def rerun_if_changed(playback: Playback, *, was_playing: bool) -> None:
    """At the end of a fragment that draws a recording: the whole page once, where that begins or ends the ticking."""
    is_playing = playback.is_playing and not playback.is_over
    if is_playing != was_playing or not is_asked(playback.key):
        st.rerun()


def tick_s(playback: Playback) -> float | None:
    """How often to draw it again; None while nothing moves."""
    return TICK_S if playback.is_playing and not playback.is_over else None


def _open(key: str) -> None:
    st.session_state.pop(_PLAYBACK, None)
    st.session_state.pop("replay_speed", None)
    state.remember("replay", key)


def _close() -> None:
    st.session_state.pop(_PLAYBACK, None)
    state.remember("replay", None)


def _clock(seconds: float) -> str:
    """Minutes and seconds, such as "1:05"."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
