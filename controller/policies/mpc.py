"""The planner that rolls its model ahead before it decides, on a device: see `rollout` and `planner`.

A few candidates (the planner's action, the best one that stays local, the best one that sends, the best one
against the bad third of the worlds) meet the same stretches of the training bank whose recent history looks
like what was observed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.analogues import NearMoments
from dvfo_controller.policies.cost_model import CUT, RATE, CostModel, Floats, Ints
from dvfo_controller.policies.expectation import Here, in_order
from dvfo_controller.policies.layout import Layout, Observations
from dvfo_controller.policies.packing import (
    Arrays,
    MomentsNumbers,
    layout_of,
    one_row,
    settings_of,
    unpack_cost_model,
    unpack_moments,
    unpack_present,
)
from dvfo_controller.policies.planner import PlannerNumbers, PlannerPolicy, seen_by
from dvfo_controller.policies.rollout import RATE_BINS, Rollout, RolloutNumbers
from dvfo_controller.policies.search import Search
from dvfo_controller.policies.serving import Board, Lanes
from dvfo_controller.policies.situation import Situations
from dvfo_controller.policies.space import prepare_space
from dvfo_env.errors import BundleError


@dataclass(frozen=True)
class MpcNumbers:
    """Settings of a planner with rollouts; `futures` says which moments they begin at."""

    planner: PlannerNumbers
    rollout: RolloutNumbers
    futures: MomentsNumbers
    horizon: int
    margin: float


def worst_third(worlds: NDArray[np.float32], weights: Floats) -> Floats:
    """Weights [N, W] with which only the worlds count that make up the worst third by rate.

    `worlds` float32 [N, W * S, 4] and `weights` [N, W] as a search takes them; the middle size class tells.
    """
    sizes = worlds.shape[1] // weights.shape[1]
    order = np.argsort(worlds[:, sizes // 2 :: sizes, RATE], axis=1, kind="stable")
    rank = np.take_along_axis(
        np.cumsum(np.take_along_axis(weights, order, 1), axis=1), np.argsort(order, axis=1), 1
    )
    bad = np.where(rank - weights < 1.0 / 3.0, weights, 0.0)
    normal: Floats = bad / in_order(bad)[:, None]
    return normal


def lanes_of(seen: Situations, layout: Layout, observations: Observations) -> Lanes:
    """Devices as far as observations tell, at the beginning of their futures."""
    n = len(observations)
    nothing = np.zeros(n)
    return Lanes(
        now_ms=seen.now_ms,
        arrival_ms=nothing,
        started_ms=seen.started_ms,
        heard_ms=seen.now_ms - layout.age_ms(observations, "silence"),
        rate_log2=np.log2(layout.power(observations, "rate_last")),
        timeouts=layout.count(observations, "timeouts"),
        temperature_c=seen.temperature_c,
        eta=seen.eta,
        difficulty=seen.difficulty,
        cpu=seen.cpu,
        gpu=seen.gpu,
        mem=seen.mem,
        trips=seen.trips,
        stream=np.zeros(n, dtype=np.uint64),
        request=np.zeros(n, dtype=np.int64),
    )


class MpcPolicy:
    """A `DevicePolicy`: rollouts over the one-step planner.

    Args:
        planner: the one-step planner.
        rollout: serves the futures.
        futures: the moments that futures begin at.
        at_ms: float64 [M] where in the bank each moment is.
        horizon: how many requests after the present one.
        margin: by how much another action must beat the planner's (cost units).
    """

    def __init__(
        self, planner: PlannerPolicy, rollout: Rollout, futures: NearMoments, at_ms: Floats, horizon: int,
        margin: float,
    ) -> None:  # fmt: skip
        self._planner, self._rollout, self._futures, self._at_ms = planner, rollout, futures, at_ms
        self._horizon, self._margin = horizon, margin
        model, queue_share = planner.model, planner.search.queue_share
        classes, local = planner.present.classes, planner.model.sizes[CUT] - 1
        self._stay = Search(model, prepare_space(model, cuts=np.array([local])), queue_share, classes)
        self._send = (
            Search(model, prepare_space(model, cuts=np.arange(local)), queue_share, classes)
            if local
            else None
        )

    def reset(self) -> None:
        """Forget what the planner remembers."""
        self._planner.reset()

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        chosen = self._planner.decide(observation)
        present = self._planner.present
        if self._send is None or self._horizon == 0 or present.unusual[0]:
            return chosen
        row = one_row(observation, present.layout.size)
        seen = seen_by(self._planner.model, present, row)
        candidates = self._candidates(seen.here(0), chosen, *self._planner.believed)
        lanes = lanes_of(seen, present.layout, row)
        at_ms = self._at_ms[self._futures.find(row)[0]]
        costs = self._rollout.costs(lanes, at_ms, candidates, self._horizon)
        costs[1:] += self._margin
        best: Ints = candidates[int(costs.argmin())]
        self._planner.took(best)
        return best.copy()

    def _candidates(self, here: Here, first: Ints, worlds: NDArray[np.float32], weights: Floats) -> Ints:
        """Joint actions [4, 6]: the planner's, local, sent, and sent for the worse third."""
        assert self._send is not None
        bad = worst_third(worlds[None], weights[None])[0]
        found = [first]
        for search, likely in ((self._stay, weights), (self._send, weights), (self._send, bad)):
            start = first.copy()
            start[CUT] = search.space.cuts[-1]
            found.append(search(here, worlds, likely, start)[0])
        return np.stack(found)


def open(bundle: Bundle) -> MpcPolicy:
    """The policy of a bundle of kind mpc.

    Raises:
        BundleError: settings or tables are missing or do not fit.
    """
    settings, arrays = settings_of(bundle, MpcNumbers), Arrays(bundle)
    base, layout = settings.planner, layout_of(bundle)
    model = unpack_cost_model(bundle, arrays, base.numbers)
    present = unpack_present(arrays, base.present, model, layout)
    at_ms = arrays.take("moment_at_ms", np.float64, None)
    return MpcPolicy(
        PlannerPolicy(model, present, base.queue_share),
        _rollout(bundle, arrays, settings, model),
        unpack_moments(arrays, settings.futures, layout, "future", len(at_ms)),
        at_ms,
        settings.horizon,
        settings.margin,
    )


def _rollout(bundle: Bundle, arrays: Arrays, settings: MpcNumbers, model: CostModel) -> Rollout:
    numbers, p = settings.rollout, model.numbers
    where = f"{bundle.path}: policy: settings: rollout"
    for name in ("bank_step_ms", "time_constant_ms", "monitor_ms"):
        value: Any = getattr(numbers, name)
        if value is not None and not value > 0.0:
            raise BundleError(f"{where}: {name}: is {value}, expected more than 0")
    if len(numbers.class_edge) < p.n_classes - 1:
        raise BundleError(f"{where}: class_edge: has {len(numbers.class_edge)} of {p.n_classes} classes")
    head, idle = model.head.shape[:-1], model.idle.shape[:-1]
    board = Board(
        arrays.take("head_board_mj", np.float32, *head),
        arrays.take("idle_board_mw", np.float32, *idle),
        arrays.take("codec_board_mw", np.float32, *idle),
    )
    situations = max(p.n_classes, 1) * 6 * RATE_BINS
    habits = np.stack(
        [arrays.indices(f"habits_{i}", size, situations) for i, size in enumerate(model.sizes)], axis=1
    )
    bank = arrays.take("bank", np.float32, None, 4)
    return Rollout(model, board, numbers, bank, habits)
