"""A batch of simulated devices: owns the state arrays and calls the compiled step. All environments are
built on it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.arrivals import NEXT_EPISODE, mix
from dvfo_env.dynamics import reset_batch, step_batch
from dvfo_env.errors import ActionError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.state import ACCURACY_LOST, ENERGY_MJ, LATENCY_MS, OUTCOME, STATE
from dvfo_env.tables import ACTION_PARTS, CostTables

#: Bank of the uplink, RTT and server load that training uses; evaluation takes others.
TRAINING_BANK_SEED = 0


class Batch(NamedTuple):
    """What one step of a batch gives; the arrays belong to the simulator and are overwritten by the next
    step.

    observations float32 [N, OBSERVATION_SIZE], rewards float32 [N], ends uint8 [N] (0 running, 1 truncated,
    2 terminated), outcomes float32 [N, len(OUTCOME)], final_observations: last observation of episodes that
    ended.
    """

    observations: NDArray[np.float32]
    rewards: NDArray[np.float32]
    ends: NDArray[np.uint8]
    outcomes: NDArray[np.float32]
    final_observations: NDArray[np.float32]


def stream_of_seed(seed: int) -> np.uint64:
    """Random stream of an episode seeded with `seed`: equal seeds give bit-equal episodes."""
    with np.errstate(over="ignore"):
        return np.uint64(mix(np.uint64(seed & 0xFFFF_FFFF_FFFF_FFFF), 0))


class Simulator:
    """N devices of one scenario on one bank.

    Where decisions are concurrent, the observations of a step are those that the decision on the next request
    is computed from: of the moment in which the device took up the request just stepped.

    Args:
        tables: the compiled scenario.
        n: number of devices.
        bank_seed: which bank of uplink, RTT and server-load samples episodes live in.
        autoreset: begin the next episode in the same step in which one ends.

    Attributes:
        states: STATE [n], one record per device.
    """

    def __init__(
        self, tables: CostTables, n: int = 1, *, bank_seed: int = TRAINING_BANK_SEED, autoreset: bool = True
    ) -> None:
        self.tables = tables
        self.n = n
        self.bank_seed = bank_seed
        self.bank = tables.bank(bank_seed)
        self.autoreset = autoreset
        self.top: NDArray[np.int64] = np.array(tables.sizes, dtype=np.int64) - 1
        self.states: NDArray[np.void] = np.zeros(n, dtype=STATE)
        self._batch = Batch(
            observations=np.zeros((n, OBSERVATION_SIZE), dtype=np.float32),
            rewards=np.zeros(n, dtype=np.float32),
            ends=np.zeros(n, dtype=np.uint8),
            outcomes=np.zeros((n, len(OUTCOME)), dtype=np.float32),
            final_observations=np.zeros((n, OBSERVATION_SIZE), dtype=np.float32),
        )
        self._imagined: Simulator | None = None
        self.reset(np.arange(n))

    def reset(self, seeds: NDArray[np.integer]) -> NDArray[np.float32]:
        """Begin the episodes of `seeds` [N]; returns observations float32 [N, OBSERVATION_SIZE]."""
        streams = np.array([stream_of_seed(int(seed)) for seed in seeds], dtype=np.uint64)
        reset_batch(self.tables.params, self.bank, self.top, self.states, streams, self._batch.observations)
        return self._batch.observations

    def next_episode(self) -> NDArray[np.float32]:
        """Begin the episode that follows each current one, as autoreset would; returns observations."""
        with np.errstate(over="ignore"):
            streams = np.array([mix(s, NEXT_EPISODE) for s in self.states["stream"]], dtype=np.uint64)
        reset_batch(self.tables.params, self.bank, self.top, self.states, streams, self._batch.observations)
        return self._batch.observations

    def step(self, actions: NDArray[np.int64]) -> Batch:
        """One decision in every environment; `actions` int64 [N, parts] are joint-action indices.

        Raises:
            ActionError: an index is out of range; nothing has been stepped then.
        """
        b = self._batch
        bad = step_batch(
            *self.tables.arrays,
            self.bank,
            self.top,
            self.states,
            actions,
            b.outcomes,
            b.rewards,
            b.ends,
            b.observations,
            b.final_observations,
            self.autoreset,
        )
        if bad >= 0:
            legal = ", ".join(f"{part} 0..{top}" for part, top in zip(ACTION_PARTS, self.top, strict=True))
            raise ActionError(
                f"action of environment {bad}: {actions[bad].tolist()} is out of range ({legal})"
            )
        return b

    def imagine(self, actions: NDArray[np.int64]) -> Batch:
        """What each of A joint `actions` int64 [A, parts] would lead to in each of the N environments.

        Nothing is stepped. Rows of the result [N * A]: all actions in environment 0, then all in environment
        1, and so on; episodes that would end do not begin anew. Possible because the world outside does not
        depend on what the device does: a training device can be asked what would have happened.

        Raises:
            ActionError: an index is out of range.
        """
        count = len(actions)
        if self._imagined is None or self._imagined.n != self.n * count:
            self._imagined = Simulator(self.tables, self.n * count, bank_seed=self.bank_seed, autoreset=False)
        self._imagined.states[:] = np.repeat(self.states, count)
        return self._imagined.step(np.tile(actions, (self.n, 1)))

    @property
    def imagined_states(self) -> NDArray[np.void]:
        """The devices of the last `imagine` after what was imagined, STATE [N * A]; none before the first."""
        return self.states[:0] if self._imagined is None else self._imagined.states


def reward_vectors(tables: CostTables, outcomes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reward vectors float32 [N, 3] of outcome rows: minus latency, energy and accuracy terms before
    weighting.

    latency L / L_ref and energy E / E_ref are dimensionless, accuracy is
    in points; eta and the scenario's weights turn the vector into the scalar reward, deadline misses apart.
    """
    p = tables.params[0]
    vectors = np.empty((outcomes.shape[0], 3), dtype=np.float32)
    vectors[:, 0] = -outcomes[:, LATENCY_MS] * p["latency_weight_per_ms"]
    vectors[:, 1] = -outcomes[:, ENERGY_MJ] * p["energy_weight_per_mj"]
    vectors[:, 2] = -outcomes[:, ACCURACY_LOST]
    return vectors
