"""A linear bandit over the cut that goes on learning on the device (ANS-style), in training and there alike.

The device knows what its own layers cost; what follows a cut is a linear function of the cut's context with
unknown coefficients. Taken is the cut with the least device cost + estimate - confidence bound; every so
often sending is forced. See `dvfo_agents.baselines.ans_style`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.bundle import Bundle
from dvfo_controller.policies.cost_model import CUT, Ints
from dvfo_controller.policies.layout import Floats, Layout, Observations
from dvfo_controller.policies.packing import Arrays, check_action, layout_of, one_row, settings_of

RIDGE = 1.0
#: A cost above this teaches as if it were this much.
WORST = 20.0


@dataclass(frozen=True)
class BanditNumbers:
    """What of a bandit is no array.

    Attributes:
        queue_limit_ms, energy_weight_per_mj, latency_weight_per_ms: of the scenario.
        forget: share of what is known that an answer leaves.
        width: of the confidence bound.
        force_every: decisions between forced offloads.
        trust: weight of what training taught.
        action: joint action whose cut is chosen.
    """

    queue_limit_ms: float
    energy_weight_per_mj: float
    latency_weight_per_ms: float
    forget: float
    width: float
    force_every: int
    trust: float
    action: tuple[int, ...]


class Bandit:
    """muLinUCB over cuts for a batch of devices, each with estimates of its own.

    Args:
        layout: of observations.
        numbers: see there.
        head: float64 [K, 2] what the head before each cut costs, ms and mJ.
        context: float64 [K - 1, d] of the cuts that send.
        taught: float64 [d] coefficients to begin with.
    """

    def __init__(
        self, layout: Layout, numbers: BanditNumbers, head: Floats, context: Floats, taught: Floats
    ) -> None:
        self.layout, self.numbers, self.head, self.context, self.taught = (
            layout, numbers, head, context, taught,
        )  # fmt: skip
        self.local = len(head) - 1
        self._action = np.array(numbers.action, dtype=np.int64)
        self.reset(0)

    def reset(self, n: int) -> None:
        """Begin again at what training taught."""
        d = self.context.shape[1]
        weight = self.numbers.trust * np.eye(d)
        self._gram = np.repeat(weight[None], n, axis=0)
        self._moment = np.repeat((weight @ self.taught)[None], n, axis=0)
        self._count = 0
        self._cuts: Ints = np.zeros(n, dtype=np.int64)
        self._known: Floats = np.zeros(n)

    def act(self, observations: Observations) -> Ints:
        """Indices int64 [N, 6] for observations float32 [N, features]."""
        n, p = len(observations), self.numbers
        if len(self._gram) != n:
            self.reset(n)
        eta = self.layout.feature(observations, "eta")[:, None]
        own = eta * p.energy_weight_per_mj * self.head[:, 1]
        own = own + (1.0 - eta) * p.latency_weight_per_ms * self.head[:, 0]
        waited = (1.0 - eta[:, 0]) * p.latency_weight_per_ms * p.queue_limit_ms
        waited = waited * self.layout.feature(observations, "waiting")
        self._cuts = np.full(n, self.local)
        if self.local:
            inverse = np.linalg.inv(self._gram)
            theta = (inverse * self._moment[:, None]).sum(axis=2)
            spread = ((self.context @ inverse) * self.context).sum(axis=2)
            mean = (theta[:, None] * self.context).sum(axis=2)
            rest = np.maximum(mean - p.width * np.sqrt(spread), 0.0)
            offloaded = own[:, :-1] + rest
            self._count += 1
            forced = self._count % p.force_every == 0
            stays = (offloaded.min(axis=1) >= own[:, -1]) & (not forced)
            self._cuts = np.where(stays, self.local, offloaded.argmin(axis=1))
        self._known = own[np.arange(n), self._cuts] + waited
        actions = np.repeat(self._action[None], n, axis=0)
        actions[:, CUT] = self._cuts
        return actions

    def learn(self, costs: Floats) -> None:
        """Take the costs [N] of the requests last decided on."""
        sent = np.flatnonzero(self._cuts < self.local)
        if len(sent) == 0:
            return
        x = self.context[self._cuts[sent]]
        rest = np.minimum(costs[sent] - self._known[sent], WORST)
        keep = self.numbers.forget
        # what is forgotten gives way to a little of the start
        ridge = (1.0 - keep) * RIDGE * np.eye(x.shape[1])
        self._gram[sent] = keep * self._gram[sent] + ridge + x[:, :, None] * x[:, None, :]
        self._moment[sent] = keep * self._moment[sent] + ridge @ self.taught + x * rest[:, None]


class BanditPolicy:
    """A `Bandit` as a `LearningDevicePolicy`."""

    def __init__(self, bandit: Bandit) -> None:
        self._bandit = bandit
        self.reset()

    def reset(self) -> None:
        """Begin again at what training taught."""
        self._bandit.reset(1)

    def decide(self, observation: NDArray[np.float32]) -> NDArray[np.int64]:
        """Joint-action indices int64 [6] for an observation float32 [features].

        Raises:
            ActionError: the observation has another shape or is not finite.
        """
        action: Ints = self._bandit.act(one_row(observation, self._bandit.layout.size))[0]
        return action

    def learn(self, cost: float) -> None:
        """What the request last decided on turned out to cost, dropped ones since included."""
        self._bandit.learn(np.array([cost]))


def open(bundle: Bundle) -> BanditPolicy:
    """The policy of a bundle of kind bandit.

    Raises:
        BundleError: settings or tables are missing or do not fit.
    """
    settings, arrays = settings_of(bundle, BanditNumbers), Arrays(bundle)
    check_action(settings.action, bundle, "action")
    cuts = bundle.manifest.action.sizes[0]
    context = arrays.take("context", np.float64, cuts - 1, None)
    taught = arrays.take("taught", np.float64, context.shape[1])
    head = arrays.take("head", np.float64, cuts, 2)
    return BanditPolicy(Bandit(layout_of(bundle), settings, head, context, taught))
