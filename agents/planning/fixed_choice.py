"""The best of a list of joint actions when it is used for every request of whole training episodes."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CPU, CUT, GPU, LEVEL, MAPPING, MEM, CostTables

#: Training episodes that candidates are judged on; those of other searches and of learners lie elsewhere.
FIRST_SEED = 1_300_000
#: Successive halving: episodes, requests of each (None: all of them), candidates that go on. Outages are rare
#: and an episode stays in one, so few episodes would overfit.
_ROUNDS = ((32, 8, 384), (256, 16, 48), (256, None, 1))
_ENVIRONMENTS = 1 << 14


def candidates(
    tables: CostTables, cut: int, mappings: NDArray[np.integer], levels: NDArray[np.integer]
) -> NDArray[np.int64]:
    """Every joint action int64 [A, parts] with this cut, one of these mappings and levels, and any clocks."""
    parts: list[NDArray[np.integer]] = [np.arange(size) for size in tables.sizes]
    parts[CUT], parts[MAPPING], parts[LEVEL] = np.array([cut]), mappings, levels
    grid = np.meshgrid(*parts, indexing="ij")
    actions: NDArray[np.int64] = np.stack([axis.ravel() for axis in grid], axis=1).astype(np.int64)
    return actions


def best_of(tables: CostTables, actions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The action [parts] of `actions` [A, parts] that costs least on whole training episodes.

    By successive halving (Jamieson and Talwalkar, AISTATS 2016) on equal episodes: all of them on the
    beginnings of a few episodes, fewer on those of many, the last ones on whole episodes. Highest clocks come
    first, so that they win ties.
    """
    order = np.lexsort([-actions[:, part] for part in (CPU, GPU, MEM)])
    left: NDArray[np.int64] = actions[order]
    first = FIRST_SEED
    for episodes, requests, keep in _ROUNDS:
        if len(left) > keep:
            costs = _costs(tables, left, first + np.arange(episodes), requests)
            left = left[np.argsort(costs, kind="stable")[:keep]]
        first += episodes
    best: NDArray[np.int64] = left[0]
    return best


def _costs(
    tables: CostTables, actions: NDArray[np.int64], seeds: NDArray[np.integer], requests: int | None
) -> NDArray[np.float64]:
    """Mean cost per request [A] of each action over the episodes of `seeds`, cut off after `requests`."""
    if requests is not None:
        params = tables.params.copy()
        params["episode_requests"] = min(requests, tables.scenario.episode_requests)
        tables = dataclasses.replace(tables, params=params)
    at_once = max(_ENVIRONMENTS // len(seeds), 1)
    costs = [
        _total(tables, actions[i : i + at_once], seeds)
        / (len(seeds) * int(tables.params["episode_requests"][0]))
        for i in range(0, len(actions), at_once)
    ]
    return np.concatenate(costs)


def _total(tables: CostTables, actions: NDArray[np.int64], seeds: NDArray[np.integer]) -> NDArray[np.float64]:
    n, episodes = len(actions), len(seeds)
    simulator = Simulator(tables, n * episodes, bank_seed=TRAINING_BANK_SEED, autoreset=False)
    simulator.reset(np.tile(seeds, n))
    batch_actions = np.repeat(actions, episodes, axis=0)
    running = np.ones(n * episodes, dtype=bool)
    total = np.zeros(n * episodes)
    while running.any():
        batch = simulator.step(batch_actions)
        total -= np.where(running, batch.rewards, 0.0)
        running &= batch.ends == 0
    sums: NDArray[np.float64] = total.reshape(n, episodes).sum(axis=1)
    return sums
