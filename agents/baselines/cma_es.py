"""CMA-ES: the covariance matrix adaptation evolution strategy over fixed joint actions.

A black-box search that sees nothing but the cost of whole training episodes (Hansen and Ostermeier, 2001), in
the variant for integers (CMA-ES with Margin, Hamano et al., GECCO 2022; package `cmaes`). Every free part of
the joint action is one coordinate. It gives one fixed action, as the papers that use CMA-ES for split points
do; `best-fixed` finds the true optimum of the same kind by exhaustive search, so the difference between the
two is what a search of `EVALUATIONS` evaluations leaves. The first run begins at the device as it comes out
of the box; when a population agrees the next begins anywhere, since cuts in order of depth have local optima.
"""

from __future__ import annotations

import numpy as np
from cmaes import CMAwM  # type: ignore[import-untyped]
from numpy.typing import NDArray

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.planning.fixed_search import FixedActions, recalled
from dvfo_env.tables import CostTables

_KIND = "cma-es-with-restarts"
EVALUATIONS = 300
_SIGMA = 0.3  # of a coordinate's range
_RESTARTS = 100


def search(actions: FixedActions) -> None:
    """Evaluate up to `EVALUATIONS` different joint actions; `actions` keeps them."""
    sizes = actions.free_sizes
    if len(sizes) < 2:
        for index in range(int(np.prod(sizes))):
            actions.cost(np.array([index]))
        return
    actions.cost(actions.start)
    anywhere = np.random.default_rng(0)
    mean = actions.start / (sizes - 1.0)
    for restart in range(_RESTARTS):
        _descend(actions, mean, restart)
        if actions.evaluations >= min(EVALUATIONS, int(np.prod(sizes))):
            return
        mean = anywhere.random(len(sizes))


def _descend(actions: FixedActions, mean: NDArray[np.float64], seed: int) -> None:
    """One run from `mean` [F], coordinates in 0..1, until its population agrees."""
    sizes = actions.free_sizes
    optimizer = CMAwM(
        mean=mean,
        sigma=_SIGMA,
        bounds=np.stack([np.zeros(len(sizes)), np.ones(len(sizes))], axis=1),
        steps=1.0 / (sizes - 1.0),
        seed=seed,
    )
    for _ in range(EVALUATIONS):  # generations: agreeing populations evaluate nothing new
        told = []
        for _ in range(optimizer.population_size):
            place, asked = optimizer.ask()
            told.append((asked, actions.cost(np.rint(place * (sizes - 1.0)).astype(np.int64))))
        optimizer.tell(told)
        if actions.evaluations >= EVALUATIONS or optimizer.should_stop():
            return


def make(tables: CostTables) -> ConstantPolicy:
    """The policy for a compiled scenario: the best joint action that was evaluated."""
    return ConstantPolicy("cma-es", recalled(_KIND, tables, search).action)
