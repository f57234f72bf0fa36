"""What a planner remembers besides its observation: when it last heard from the server.

The observation's `silence` says how old the link's rate is; the link monitor renews that without asking the
server. Round-trip time and server load are news only after a transfer of one's own, and a time-out whose
payload got through says that the server, or the way to it, was slow, not the link.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_env.observation import index_of, rate_mbps
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import CUT, LEVEL, LOAD, RTT, CostTables

_RATE, _TIMEOUTS = index_of("rate_last"), index_of("timeouts")
_NEVER = 1_000_000
_LATE_SHARE = 0.85  # of the time-out: what the server and the way to it take of an answer that comes too late
_ENOUGH = 20


class Remembered:
    """Counts decisions since a batch of devices last got an answer, and since one was late for no fault of
    the link's.
    """

    def __init__(self, tables: CostTables, n: int) -> None:
        self._timeout_ms = float(tables.params[0]["offload_timeout_ms"])
        self._period_ms = float(tables.params[0]["period_ms"])
        self._kilobits = tables.send[:, :, 0].astype(np.float64)
        self._local = tables.sizes[CUT] - 1
        self._answered: NDArray[np.int64] = np.full(n, _NEVER)
        self._late: NDArray[np.int64] = np.full(n, _NEVER)

    def update(self, observations: NDArray[np.float32], before: NDArray[np.int64]) -> None:
        """Take the observations that follow the joint actions `before` [N, parts]."""
        sent = before[:, CUT] < self._local
        timed_out = observations[:, _TIMEOUTS] > 0.0
        carried = rate_mbps(observations[:, _RATE]) * self._timeout_ms
        late = sent & timed_out & (carried > self._kilobits[before[:, CUT], before[:, LEVEL]])
        self._answered = np.where(sent & ~timed_out, 1, self._answered + 1)
        self._late = np.where(late, 1, self._late + 1)

    @property
    def answer_age_ms(self) -> NDArray[np.float64]:
        """Time [N] between the arrivals of the last request that was answered and the present one; infinite
        at first.
        """
        return np.where(self._answered >= _NEVER, np.inf, self._answered * self._period_ms)

    @property
    def late_age_ms(self) -> NDArray[np.float64]:
        """The same [N] for the last request whose answer came too late; infinite where one came since."""
        forgotten = (self._late >= _NEVER) | (self._answered < self._late)
        return np.where(forgotten, np.inf, self._late * self._period_ms)


class LateAnswers:
    """How likely the present answer comes too late, given how long ago one did; from the training bank."""

    def __init__(self, tables: CostTables) -> None:
        bank = tables.bank(TRAINING_BANK_SEED)
        p = tables.params[0]
        late = bank[:, RTT] + bank[:, LOAD] * tables.tail_ms.max() > _LATE_SHARE * float(
            p["offload_timeout_ms"]
        )
        self._step_ms = float(p["bank_step_ms"])
        share = np.zeros(64)
        share[0] = 1.0
        if late.sum() >= _ENOUGH:
            share[1:] = [float(late[lag:][late[:-lag]].mean()) for lag in range(1, len(share))]
        self._share = share

    def chance(self, age_ms: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chance [N] of a late answer `age_ms` [N] after another."""
        lag = np.minimum(age_ms / self._step_ms, 1e6)
        return np.interp(lag, np.arange(len(self._share)), self._share, right=0.0)
