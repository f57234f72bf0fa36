"""Domain randomisation: a batch of environments spread over devices that differ from their model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvfo_env.perturbation import draw_perturbations, perturbed
from dvfo_env.simulator import TRAINING_BANK_SEED, Batch, Simulator
from dvfo_env.tables import CostTables

#: Different devices at a time.
GROUPS = 8
#: Steps of the batch after which the oldest of them is replaced by a new draw.
REDRAW_STEPS = 200


class Fleet(Simulator):
    """A `Simulator` whose environments live on several perturbed devices.

    The batch is cut into `GROUPS` groups (fewer where there are fewer environments), each on tables of its
    own within 1 +- `spread` (`dvfo_env.perturbation`). Every `REDRAW_STEPS` steps one group gets a new
    device; its episodes go on. Draw number k depends on `seed` and k alone, so a fleet restored by
    `restore_age` goes on as it would have.

    Args:
        tables: the nominal scenario.
        n: number of environments.
        spread: how far factors lie from 1, at least 0 and below 1.
        seed: of the draws.
        bank_seed: which bank of uplink, round-trip and server-load samples episodes live in.

    Raises:
        ConfigError: `spread` is out of range.
    """

    def __init__(
        self, tables: CostTables, n: int, spread: float, seed: int, bank_seed: int = TRAINING_BANK_SEED
    ) -> None:
        self._members: list[Simulator] = []
        self._spread, self._seed, self._bank_seed = spread, seed, bank_seed
        super().__init__(tables, n, bank_seed=bank_seed, autoreset=True)
        groups = min(GROUPS, n)
        edges = np.linspace(0, n, groups + 1).astype(int)
        self._rows = [slice(low, high) for low, high in pairwise(edges.tolist())]
        self._members = [self._member(group, draw=group) for group in range(groups)]
        self.age = 0
        self.reset(np.arange(n))

    def _member(self, group: int, draw: int) -> Simulator:
        """A simulator over the rows of `group`, on the device of draw number `draw`; its states go on."""
        rows = self._rows[group]
        (perturbation,) = draw_perturbations(self._spread, 1, seed=(self._seed << 24) + draw)
        before = self.states[rows].copy()
        member = Simulator(
            perturbed(self.tables, perturbation), rows.stop - rows.start, bank_seed=self._bank_seed
        )
        member.states = self.states[rows]
        member.states[:] = before
        member._batch = Batch(**{name: array[rows] for name, array in self._batch._asdict().items()})
        return member

    def reset(self, seeds: NDArray[np.integer]) -> NDArray[np.float32]:
        """Begin the episodes of `seeds` [N]; returns observations float32 [N, OBSERVATION_SIZE]."""
        if not self._members:
            return super().reset(seeds)
        for member, rows in zip(self._members, self._rows, strict=True):
            member.reset(seeds[rows])
        return self._batch.observations

    def step(self, actions: NDArray[np.int64]) -> Batch:
        """One decision in every environment, as `Simulator.step`; environments in errors count from the
        group's first.

        Raises:
            ActionError: an index is out of range.
        """
        for member, rows in zip(self._members, self._rows, strict=True):
            member.step(actions[rows])
        self.age += 1
        if self.age % REDRAW_STEPS == 0:
            self._redraw(self.age // REDRAW_STEPS)
        return self._batch

    def imagine(self, actions: NDArray[np.int64]) -> Batch:
        """As `Simulator.imagine`, every environment on its own device."""
        batches = [member.imagine(actions) for member in self._members]
        return Batch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))

    def _redraw(self, redraws: int) -> None:
        groups = len(self._members)
        self._members[redraws % groups] = self._member(redraws % groups, draw=groups + redraws)

    def restore_age(self, age: int) -> None:
        """Put every group on the device it has after `age` steps."""
        self.age = age
        groups, redraws = len(self._members), age // REDRAW_STEPS
        for redraw in range(max(1, redraws - groups + 1), redraws + 1):
            self._redraw(redraw)
