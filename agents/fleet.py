"""Domain randomisation: a batch of environments on devices and uplinks that differ from their model."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from dvfo_env.perturbation import draw_perturbations, draw_uplinks, perturbed
from dvfo_env.simulator import TRAINING_BANK_SEED, Batch, Simulator
from dvfo_env.tables import CostTables

#: Different devices at a time, and different uplinks.
GROUPS = 8
#: Steps of the batch after which the oldest of them is replaced by a new draw.
REDRAW_STEPS = 200


class Fleet(Simulator):
    """A `Simulator` whose environments live on several devices and uplinks.

    The batch is cut into groups, each on tables of its own: within 1 +- `spread` of the scenario's, and a
    share of them on another uplink (`dvfo_env.perturbation`). Every `REDRAW_STEPS` steps one group gets a new
    device; its episodes go on. Draw number k depends on `seed` and k alone, so a fleet restored by
    `restore_age` goes on as it would have.

    Args:
        tables: the nominal scenario.
        n: number of environments.
        spread: how far factors lie from 1, at least 0 and below 1; with 0 all but those on another uplink
            make one group on the scenario as it is.
        seed: of the draws.
        bank_seed: which bank of uplink, round-trip and server-load samples episodes live in.
        other_uplinks: share of the environments on another uplink.

    Raises:
        ConfigError: `spread` is out of range.
    """

    def __init__(
        self,
        tables: CostTables,
        n: int,
        spread: float,
        seed: int,
        bank_seed: int = TRAINING_BANK_SEED,
        other_uplinks: float = 0.0,
    ) -> None:
        self._members: list[Simulator] = []
        self._spread, self._seed, self._bank_seed = spread, seed, bank_seed
        super().__init__(tables, n, bank_seed=bank_seed, autoreset=True)
        elsewhere = round(n * other_uplinks)
        #: Which environments are on another uplink, bool [N]: the last ones.
        self.elsewhere: NDArray[np.bool_] = np.arange(n) >= n - elsewhere
        here, others = min(GROUPS, n - elsewhere) if spread > 0.0 else 1, min(GROUPS, elsewhere)
        edges = np.linspace(0, n - elsewhere, here + 1).astype(int).tolist()
        edges += np.linspace(n - elsewhere, n, others + 1).astype(int).tolist()[1:]
        self._rows = [slice(low, high) for low, high in pairwise(edges)]
        self._others = range(here, here + others)
        #: Groups that get another device now and then.
        self._changing = self._others if spread == 0.0 else range(len(self._rows))
        self._members = [self._member(group, draw=group) for group in range(len(self._rows))]
        self.age = 0
        self.reset(np.arange(n))

    def _member(self, group: int, draw: int) -> Simulator:
        """A simulator over the rows of `group`, on the device of draw number `draw`; its states go on."""
        rows = self._rows[group]
        seed = (self._seed << 24) + draw
        (device,) = draw_perturbations(self._spread, 1, seed)
        tables = perturbed(self.tables, device)
        if group in self._others:
            (uplink,) = draw_uplinks(1, seed)
            tables = perturbed(tables, uplink)
        before = self.states[rows].copy()
        member = Simulator(tables, rows.stop - rows.start, bank_seed=self._bank_seed)
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
        if self.age % REDRAW_STEPS == 0 and self._changing:
            self._redraw(self.age // REDRAW_STEPS)
        return self._batch

    def imagine(self, actions: NDArray[np.int64]) -> Batch:
        """As `Simulator.imagine`, every environment on its own device."""
        batches = [member.imagine(actions) for member in self._members]
        return Batch(*(np.concatenate(arrays) for arrays in zip(*batches, strict=True)))

    @property
    def imagined_states(self) -> NDArray[np.void]:
        """As `Simulator.imagined_states`."""
        return np.concatenate([member.imagined_states for member in self._members])

    def _redraw(self, redraws: int) -> None:
        group = self._changing[redraws % len(self._changing)]
        self._members[group] = self._member(group, draw=len(self._members) + redraws)

    def restore_age(self, age: int) -> None:
        """Put every group on the device it has after `age` steps."""
        self.age = age
        changing, redraws = len(self._changing), age // REDRAW_STEPS
        for redraw in range(max(1, redraws - changing + 1), redraws + 1):
            self._redraw(redraw)
