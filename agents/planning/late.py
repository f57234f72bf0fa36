"""How long answers stay late once one was, on the training bank."""

from __future__ import annotations

import numpy as np

from dvfo_controller.policies import memory
from dvfo_env.simulator import TRAINING_BANK_SEED
from dvfo_env.tables import LOAD, RTT, CostTables

_LATE_SHARE = 0.85  # of the time-out: what the server and the way to it take of an answer that comes too late
_ENOUGH = 20


class LateAnswers(memory.LateAnswers):
    """How likely the present answer comes too late, given how long ago one did; from the training bank."""

    def __init__(self, tables: CostTables) -> None:
        bank = tables.bank(TRAINING_BANK_SEED)
        p = tables.params[0]
        late = bank[:, RTT] + bank[:, LOAD] * tables.tail_ms.max() > _LATE_SHARE * float(
            p["offload_timeout_ms"]
        )
        share = np.zeros(64)
        share[0] = 1.0
        if late.sum() >= _ENOUGH:
            share[1:] = [float(late[lag:][late[:-lag]].mean()) for lag in range(1, len(share))]
        super().__init__(share, float(p["bank_step_ms"]))
