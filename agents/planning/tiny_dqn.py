"""A small deep Q-network in numpy, for baselines whose papers use one over a handful of actions.

Double DQN (van Hasselt et al., AAAI 2016) with two hidden layers of rectifiers, Adam, a ring buffer and a
slowly following target network. It learns on training episodes in well under a minute of one core; what it
learned goes into `result_cache` as plain lists.

Use: `train_cached(kind, tables, joint_actions, columns)` gives a `TinyDqn`, once per scenario; the policy is
`DqnPolicy(name, network, joint_actions, columns)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables

Floats = NDArray[np.float64]

#: Training episodes of the networks; apart from those that settings are chosen on.
FIRST_SEED = 1_200_000
_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8


def seen(observations: NDArray[np.float32], columns: Sequence[int]) -> Floats:
    """What a network sees of observations float32 [N, OBSERVATION_SIZE]: float64 [N, inputs]."""
    return observations[:, list(columns)].astype(np.float64)


@dataclass(frozen=True)
class DqnSettings:
    """How a network is trained; the learning rate and exploration fall linearly over the run.

    steps: decisions in all, over `environments` devices at once; `gamma` may be 0 (a contextual bandit, as
    where every transition ends an episode); `checks`: how often the greedy policy is judged on training
    episodes: the best one is kept.
    """

    steps: int = 60_000
    environments: int = 16
    hidden: int = 48
    gamma: float = 0.9
    learning_rate: float = 2e-3
    replay: int = 20_000
    batch: int = 128
    explore_share: float = 0.5  # of the run, until exploration is down to `explore_last`
    explore_last: float = 0.02
    target_follows: float = 0.01
    reward_scale: float = 1.0
    checks: int = 6
    seed: int = 0


class TinyDqn:
    """Action values of `actions` choices from `inputs` numbers; weights in `layers` [(W, b)] * 3."""

    def __init__(self, inputs: int, actions: int, hidden: int = 48, seed: int = 0) -> None:
        generator = np.random.default_rng(seed)
        widths = (inputs, hidden, hidden, actions)
        self.layers: list[Floats] = []
        for before, after in pairwise(widths):
            self.layers.append(generator.normal(0.0, np.sqrt(2.0 / before), (before, after)))
            self.layers.append(np.zeros(after))
        self.layers[-2] *= 0.1

    def values(self, x: Floats) -> Floats:
        """Action values float64 [N, actions] for inputs float64 [N, inputs]."""
        return self._forward(x)[-1]

    def _forward(self, x: Floats) -> tuple[Floats, Floats, Floats]:
        w1, b1, w2, b2, w3, b3 = self.layers
        first = np.maximum(x @ w1 + b1, 0.0)
        second = np.maximum(first @ w2 + b2, 0.0)
        return first, second, second @ w3 + b3

    def gradients(self, x: Floats, actions: NDArray[np.int64], targets: Floats) -> list[Floats]:
        """Gradients of the mean Huber loss between the values of `actions` and `targets`, both [N]."""
        first, second, values = self._forward(x)
        rows = np.arange(len(x))
        off = np.zeros_like(values)
        off[rows, actions] = np.clip(values[rows, actions] - targets, -1.0, 1.0) / len(x)
        back2 = (off @ self.layers[4].T) * (second > 0.0)
        back1 = (back2 @ self.layers[2].T) * (first > 0.0)
        return [
            x.T @ back1,
            back1.sum(axis=0),
            first.T @ back2,
            back2.sum(axis=0),
            second.T @ off,
            off.sum(axis=0),
        ]

    def copy(self) -> TinyDqn:
        """An independent twin with the same weights."""
        twin = TinyDqn.__new__(TinyDqn)
        twin.layers = [layer.copy() for layer in self.layers]
        return twin

    def as_lists(self) -> list[Any]:
        """The weights as plain lists, for JSON."""
        return [layer.tolist() for layer in self.layers]

    @classmethod
    def from_lists(cls, lists: object, inputs: int, actions: int) -> TinyDqn | None:
        """The network that `as_lists` wrote, or None where it is not one of this shape."""
        if not isinstance(lists, list) or len(lists) != 6:
            return None
        try:
            layers = [np.array(layer, dtype=np.float64) for layer in lists]
        except (TypeError, ValueError):
            return None
        dimensions = [layer.ndim for layer in layers]
        if dimensions != [2, 1, 2, 1, 2, 1] or not all(np.isfinite(layer).all() for layer in layers):
            return None
        hidden = layers[0].shape[1]
        if [layers[0].shape, layers[2].shape, layers[4].shape] != [
            (inputs, hidden),
            (hidden, hidden),
            (hidden, actions),
        ]:
            return None
        network = cls.__new__(cls)
        network.layers = layers
        return network


class _Adam:
    def __init__(self, layers: list[Floats]) -> None:
        self._first = [np.zeros_like(layer) for layer in layers]
        self._second = [np.zeros_like(layer) for layer in layers]
        self._count = 0

    def apply(self, layers: list[Floats], gradients: list[Floats], rate: float) -> None:
        self._count += 1
        scale = rate * np.sqrt(1.0 - _BETA2**self._count) / (1.0 - _BETA1**self._count)
        for layer, gradient, m, v in zip(layers, gradients, self._first, self._second, strict=True):
            m += (1.0 - _BETA1) * (gradient - m)
            v += (1.0 - _BETA2) * (gradient * gradient - v)
            layer -= scale * m / (np.sqrt(v) + _TINY)


class _Replay:
    def __init__(self, room: int, inputs: int) -> None:
        self.x, self.later = np.zeros((room, inputs)), np.zeros((room, inputs))
        self.actions = np.zeros(room, dtype=np.int64)
        self.rewards, self.goes_on = np.zeros(room), np.zeros(room)
        self.filled, self._next = 0, 0

    def add(self, x: Floats, actions: NDArray[np.int64], rewards: Floats, later: Floats, on: Floats) -> None:
        at = (self._next + np.arange(len(x))) % len(self.x)
        self.x[at], self.actions[at], self.rewards[at] = x, actions, rewards
        self.later[at], self.goes_on[at] = later, on
        self._next = (self._next + len(x)) % len(self.x)
        self.filled = min(self.filled + len(x), len(self.x))


class DqnPolicy:
    """Takes the joint action with the highest value; implements `Policy`.

    Args:
        name: what tables print.
        network: the values.
        joint_actions: int64 [actions, parts].
        columns: features of the observation that the network sees.
    """

    def __init__(
        self, name: str, network: TinyDqn, joint_actions: NDArray[np.int64], columns: Sequence[int]
    ) -> None:
        self.name = name
        self.network = network
        self.joint_actions = joint_actions
        self.columns = tuple(columns)

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        chosen = self.network.values(seen(observations, self.columns)).argmax(axis=1)
        actions: NDArray[np.int64] = self.joint_actions[chosen]
        return actions


def train(
    tables: CostTables,
    joint_actions: NDArray[np.int64],
    columns: Sequence[int],
    settings: DqnSettings = DqnSettings(),
    reward: Callable[[NDArray[np.float32], Floats], Floats] | None = None,
) -> TinyDqn:
    """Learn the values of `joint_actions` int64 [A, parts] on training episodes.

    `reward` maps outcome rows float32 [N, len(OUTCOME)] and costs [N] (dropped requests included) to rewards
    [N]; by default minus the cost. The network kept is the one whose greedy policy cost least.
    """
    s = settings
    simulator = Simulator(tables, s.environments)
    x = seen(simulator.reset(FIRST_SEED + s.seed * s.environments + np.arange(s.environments)), columns)
    network = TinyDqn(x.shape[1], len(joint_actions), s.hidden, s.seed)
    target, adam = network.copy(), _Adam(network.layers)
    replay, generator = _Replay(s.replay, x.shape[1]), np.random.default_rng(s.seed + 1)
    rounds = max(s.steps // s.environments, 1)
    best, best_cost = network, np.inf
    for at in range(rounds):
        share = at / rounds
        explore = max(1.0 - share / s.explore_share, 0.0) * (1.0 - s.explore_last) + s.explore_last
        chosen = network.values(x).argmax(axis=1)
        chance = generator.random(s.environments) < explore
        chosen = np.where(chance, generator.integers(len(joint_actions), size=s.environments), chosen)
        batch = simulator.step(joint_actions[chosen])
        costs = -batch.rewards.astype(np.float64)
        gained = -costs if reward is None else reward(batch.outcomes, costs)
        later = seen(batch.observations, columns)
        ended = batch.ends > 0
        onward = later.copy()
        if ended.any():
            onward[ended] = seen(batch.final_observations[ended], columns)
        replay.add(x, chosen, s.reward_scale * gained, onward, (batch.ends != 2).astype(np.float64))
        x = later
        if replay.filled >= s.batch:
            rows = generator.integers(replay.filled, size=s.batch)
            targets = replay.rewards[rows]
            if s.gamma > 0.0:
                after = replay.later[rows]
                follow = network.values(after).argmax(axis=1)
                targets = (
                    targets
                    + s.gamma * replay.goes_on[rows] * (target.values(after)[np.arange(s.batch), follow])
                )
            gradients = network.gradients(replay.x[rows], replay.actions[rows], targets)
            adam.apply(network.layers, gradients, s.learning_rate * (1.0 - 0.9 * share))
            for slow, fast in zip(target.layers, network.layers, strict=True):
                slow += s.target_follows * (fast - slow)
        if (at + 1) % max(rounds // s.checks, 1) == 0 or at + 1 == rounds:
            cost = training_cost(DqnPolicy("", network, joint_actions, columns), tables)
            if cost < best_cost:
                best, best_cost = network.copy(), cost
    return best


def train_cached(
    kind: str,
    tables: CostTables,
    joint_actions: NDArray[np.int64],
    columns: Sequence[int],
    settings: DqnSettings = DqnSettings(),
    reward: Callable[[NDArray[np.float32], Floats], Floats] | None = None,
) -> TinyDqn:
    """`train`, but what has been learned before for these tables and settings under the name `kind` is read
    from disk.
    """
    key = tables_digest(tables)
    inputs = len(columns)
    stored = recall(kind, key) or {}
    wanted = {"settings": dataclasses.asdict(settings), "actions": joint_actions.tolist()}
    if {name: stored.get(name) for name in wanted} == wanted:
        known = TinyDqn.from_lists(stored.get("layers"), inputs, len(joint_actions))
        if known is not None:
            return known
    network = train(tables, joint_actions, columns, settings, reward)
    remember(kind, key, {**wanted, "layers": network.as_lists()})
    return network
