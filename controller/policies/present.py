"""What a planner believes of the present: possible worlds with weights, from observations and memory."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.policies.analogues import NearMoments
from dvfo_controller.policies.belief import Belief
from dvfo_controller.policies.cost_model import LOAD, RTT, Ints, Numbers
from dvfo_controller.policies.layout import Floats, Layout, Observations
from dvfo_controller.policies.memory import LateAnswers, Remembered

_TOO_LATE_MS = 1e6


class Present:
    """Worlds for a batch of devices that decide together; keeps what they remember.

    `unusual` bool [N] says where, at the last look, an answer was late or took unusually long a short time
    ago.

    Args:
        numbers: of the scenario.
        layout: of observations.
        kilobits: float64 [K, Z] what each cut and level send.
        belief: rates, where there are no moments, round-trip time and server load.
        late: how long answers stay late.
        moments: rates from analogous moments; None where they come from `belief`.
        classes: size class int64 [K, Z] of what each cut and level send.
        usual_rtt_ms: round-trip times above are unusual; recent_ms: for so long after they were seen.
    """

    def __init__(
        self, numbers: Numbers, layout: Layout, kilobits: Floats, belief: Belief, late: LateAnswers,
        moments: NearMoments | None, classes: Ints, usual_rtt_ms: float, recent_ms: float,
    ) -> None:  # fmt: skip
        self.numbers, self.layout, self.kilobits = numbers, layout, kilobits
        self.belief, self.late, self.moments, self.classes = belief, late, moments, classes
        self.usual_rtt_ms, self.recent_ms = usual_rtt_ms, recent_ms
        self.reset(0)
        self.unusual: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    def reset(self, n: int) -> None:
        """Forget, and expect batches of `n`."""
        self.memory = Remembered(self.numbers, self.layout, self.kilobits, n)

    def worlds(
        self, observations: Observations, before: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], Floats]:
        """Worlds float32 [N, W * S, 4] and weights [N, W], as `search` takes them.

        `before` int64 [N, parts]: the joint actions decided on before `observations` [N, features].
        """
        self.memory.update(observations, before)
        plain = self.belief.worlds(observations, self.memory.answer_age_ms)
        sizes, worlds = 1, plain
        weights: Floats = np.full((plain.shape[0], plain.shape[1]), 1.0 / plain.shape[1])
        if self.moments is not None:
            worlds, weights = self.moments.worlds(self.moments.find(observations))
            worlds[:, :, RTT], worlds[:, :, LOAD] = plain[:, :1, RTT], plain[:, :1, LOAD]
            sizes = worlds.shape[1] // len(weights[0])
        recent = self.memory.answer_age_ms < self.recent_ms
        self.unusual = recent & (plain[:, 0, RTT] > self.usual_rtt_ms)
        late = self.late.chance(self.memory.late_age_ms)[:, None]
        self.unusual |= late[:, 0] > 0.0
        if not late.any():
            return worlds, weights
        fastest = np.maximum((weights > 0.0).sum(axis=1) - 1, 0)  # the last world that is one
        slow = worlds.reshape(len(worlds), -1, sizes, 4)[np.arange(len(worlds)), fastest]
        slow[:, :, RTT] = _TOO_LATE_MS
        return np.concatenate([worlds, slow], axis=1), np.concatenate([(1.0 - late) * weights, late], axis=1)
