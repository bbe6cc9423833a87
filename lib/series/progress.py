"""How far a row of steps is and how long the rest takes, from what each should cost and the pace so far."""

import time
from collections.abc import Callable, Sequence

_AT_HAND_SHARE = 0.05


class StepPace:
    """Counts steps of known cost; the time left follows from the steps done, and within a step from its own estimate.

    Args:
        costs_s: about how long each step takes on the machine that the costs were measured on.
        clock: seconds; tests give their own.
    """

    def __init__(self, costs_s: Sequence[float], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._costs_s, self._clock = list(costs_s), clock
        self._started_s = self._step_started_s = clock()
        self._index, self._done_cost_s = -1, 0.0
        self._done_s = 0.0
        self._own_left_s: float | None = None
        self._is_last_phase = False
        self._share = 0.0

    def begin(self, index: int) -> None:
        """Enter a step; the one before is done."""
        now = self._clock()
        took_s = now - self._step_started_s
        # What took next to nothing was at hand already and says nothing of the pace.
        if self._index >= 0 and took_s > _AT_HAND_SHARE * self._costs_s[self._index]:
            self._done_cost_s += self._costs_s[self._index]
            self._done_s += took_s
        self._index, self._step_started_s, self._own_left_s = index, now, None

    def drop(self, index: int) -> None:
        """A step that need not be done costs nothing."""
        self._costs_s[index] = 0.0

    def tell(self, seconds_left: float | None, *, is_last_phase: bool) -> None:
        """What the step itself says of its time left: of all of it in its last phase, else of the current phase."""
        self._own_left_s, self._is_last_phase = seconds_left, is_last_phase

    @property
    def seconds_left(self) -> float:
        """An estimate of the time for everything that is left."""
        if self._index < 0:
            return sum(self._costs_s)
        speed = self._done_s / self._done_cost_s if self._done_cost_s else 1.0
        planned_s = self._costs_s[self._index] * speed - (self._clock() - self._step_started_s)
        own_s = self._own_left_s
        step_left_s = planned_s if own_s is None else own_s if self._is_last_phase else max(own_s, planned_s)
        return max(step_left_s, 1.0) + speed * sum(self._costs_s[self._index + 1 :])

    @property
    def share(self) -> float:
        """The part that is done, 0 to 1; it never goes back."""
        elapsed_s = self.seconds
        self._share = max(self._share, elapsed_s / (elapsed_s + self.seconds_left))
        return self._share

    @property
    def seconds(self) -> float:
        """Time since the first step began."""
        return self._clock() - self._started_s
