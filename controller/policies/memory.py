"""What a planner remembers besides its observation: that an answer was late for no fault of the link's.

Round-trip time and server load are news only after a transfer of one's own, and a time-out whose payload got
through says that the server, or the way to it, was slow, not the link. How old the last answer is and whether
one is outstanding, the observation says.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.cost_model import CONCURRENT, CUT, LEVEL, Numbers
from dvfo_controller.policies.layout import Floats, Layout, Observations
from dvfo_controller.policies.situation import ahead_ms

_NEVER = 1_000_000
_ROUNDING = 1e-3  # features are float32


class Remembered:
    """Counts decisions since an answer was late for no fault of the link's, for N devices.

    Args:
        numbers: of the scenario.
        layout: of observations.
        kilobits: float64 [K, Z] what each cut and level send.
        n: number of devices.
    """

    def __init__(self, numbers: Numbers, layout: Layout, kilobits: Floats, n: int) -> None:
        self._numbers, self._layout, self._kilobits = numbers, layout, kilobits
        self._late: NDArray[np.int64] = np.full(n, _NEVER)
        self._undecided: NDArray[np.int64] | None = None  # concurrent: the action whose outcome is not known
        self.answer_age_ms: Floats = np.full(n, np.inf)
        self.late_age_ms: Floats = np.full(n, np.inf)

    def update(self, observations: Observations, before: NDArray[np.int64]) -> None:
        """Take observations [N, features]; `before` int64 [N, parts] are the joint actions decided on last.

        `answer_age_ms` [N] is then the time from the arrival of the last request that was answered, which is
        when its round-trip time and server load were those of the moment, to that of the one the action is
        for; infinite before the first answer. Requests come every `period_ms`, so it is a multiple of that.
        `late_age_ms` [N] is the same for the last request whose answer was late, infinite where one came
        since.
        """
        p, layout = self._numbers, self._layout
        concurrent = p.decision_mode == CONCURRENT
        told = before
        if concurrent:  # nothing of the outcome of the last action is known yet, only of the one before
            told = before if self._undecided is None else self._undecided
            self._undecided = before.copy()
        outstanding = layout.feature(observations, "unanswered") > 0.0
        sent = told[:, CUT] < len(self._kilobits) - 1
        carried = layout.power(observations, "rate_last") * p.offload_timeout_ms
        late = sent & outstanding & (carried > self._kilobits[told[:, CUT], told[:, LEVEL]])
        self._late = np.where(late, 2 if concurrent else 1, self._late + 1)
        forgotten = (self._late >= _NEVER) | ~outstanding
        self.late_age_ms = np.where(forgotten, np.inf, self._late * p.period_ms)
        waiting_ms = layout.feature(observations, "waiting") * p.queue_limit_ms
        since_ms = layout.age_ms(observations, "answer_age") - waiting_ms
        arrivals = np.maximum(np.ceil(since_ms / p.period_ms - _ROUNDING), 1.0)
        self.answer_age_ms = arrivals * p.period_ms + ahead_ms(p, layout, observations)


class LateAnswers:
    """How likely the present answer comes too late, given how long ago one did.

    Args:
        share: float64 [L] chance after so many samples of the training bank.
        step_ms: time between samples.
    """

    def __init__(self, share: Floats, step_ms: float) -> None:
        self.share, self.step_ms = share, step_ms

    def chance(self, age_ms: Floats) -> Floats:
        """Chance [N] of a late answer `age_ms` [N] after another."""
        lag = np.minimum(age_ms / self.step_ms, 1e6)
        return np.interp(lag, np.arange(len(self.share)), self.share, right=0.0)
