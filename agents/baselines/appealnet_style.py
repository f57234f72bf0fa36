"""AppealNet-style: hard inputs are treated in one way, easy ones in another.

Li et al., "AppealNet: An Efficient and Highly-Accurate Edge/Cloud Collaborative Architecture for DNN
Inference" (DAC 2021, arXiv 2105.04104): a small network on the device has a second head that predicts
whether this input is easy; hard ones appeal to the large network in the cloud.

What differs: there is one network, so "little" and "big" become two joint actions, and what an easy input may
lose and a hard one may not is accuracy under compression. The predictor's place is taken by the class of
difficulty in the observation (`requests.difficulty: known`), which is never wrong. The threshold on the class
and the two joint actions, each local or sent, with its own level and clocks, are chosen on training episodes:
candidates are the cheapest joint actions for every class over the training bank's rates, sent and local, and
`best-fixed`. The decision does not depend on the bandwidth, as in the paper. Where a scenario averages
difficulty there is one class, and what is left is the best of the candidates as a fixed action.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dvfo_agents.baselines import best_fixed
from dvfo_agents.planning.belief import states_of
from dvfo_agents.planning.search import make_space, search
from dvfo_agents.planning.tuning import training_cost
from dvfo_agents.result_cache import recall, remember, tables_digest
from dvfo_env.observation import index_of
from dvfo_env.simulator import TRAINING_BANK_SEED, Simulator
from dvfo_env.tables import CPU, CUT, GPU, MEM, CostTables

_KIND = "appealnet-style"
_WORLDS = 256
_DIFFICULTY = index_of("difficulty")


class AppealNet:
    """One joint action for classes below `threshold` (hard), one for the others; implements `Policy`.

    Args:
        classes: number of classes of difficulty.
        threshold: classes below it are hard.
        hard, easy: joint actions int64 [parts].
    """

    name = "appealnet-style"

    def __init__(
        self, classes: int, threshold: int, hard: NDArray[np.int64], easy: NDArray[np.int64]
    ) -> None:
        self.threshold = threshold
        self.hard, self.easy = hard, easy
        self._top = max(classes - 1, 1)

    def reset(self, n: int) -> None:
        """Nothing is remembered, so there is nothing to forget."""

    def act(self, observations: NDArray[np.float32]) -> NDArray[np.int64]:
        """Indices int64 [N, parts] for observations float32 [N, OBSERVATION_SIZE]."""
        classes = np.rint(observations[:, _DIFFICULTY] * self._top)
        actions: NDArray[np.int64] = np.where((classes < self.threshold)[:, None], self.hard, self.easy)
        return actions


def _candidates(tables: CostTables) -> list[NDArray[np.int64]]:
    """Joint actions worth a try: `best-fixed`, and the cheapest for each class, local and sent."""
    bank = tables.bank(TRAINING_BANK_SEED)
    samples = np.random.default_rng(0).choice(len(bank), _WORLDS, replace=False)
    worlds = np.ascontiguousarray(bank[samples][None])
    local = tables.sizes[CUT] - 1
    found = [best_fixed.make(tables).action]
    for class_ in range(int(tables.params[0]["n_classes"])):
        for cuts in (np.array([local]), np.arange(local)):
            if len(cuts) == 0:
                continue
            states = states_of(tables, Simulator(tables, 1).reset(np.array([0])))
            states["difficulty"] = class_
            action = tables.out_of_the_box[None].copy()
            action[0, CUT] = cuts[-1]
            for _ in range(3):  # what is found is in force from then on
                search(tables, make_space(tables, cuts=cuts), states, worlds, action)
                states["cpu"], states["gpu"], states["mem"] = action[:, CPU], action[:, GPU], action[:, MEM]
            found.append(action[0])
    return list(np.unique(np.stack(found), axis=0))


def make(tables: CostTables) -> AppealNet:
    """The policy for a compiled scenario: the pair and threshold that cost least on training episodes."""
    classes = int(tables.params[0]["n_classes"])
    key = tables_digest(tables)
    stored = _stored(recall(_KIND, key), tables)
    if stored is not None:
        return stored
    candidates = _candidates(tables)
    policies = [
        AppealNet(classes, threshold, hard, easy)
        for threshold in range(1, max(classes, 2))
        for hard in candidates
        for easy in candidates
        if classes > 1 or hard is easy
    ]
    best = min(policies, key=lambda policy: training_cost(policy, tables))
    plain = {"threshold": best.threshold, "hard": best.hard.tolist(), "easy": best.easy.tolist()}
    remember(_KIND, key, plain)
    return best


def _stored(result: dict[str, object] | None, tables: CostTables) -> AppealNet | None:
    if result is None or not isinstance(result.get("threshold"), int):
        return None
    actions = []
    for name in ("hard", "easy"):
        action = result.get(name)
        if not isinstance(action, list) or len(action) != len(tables.sizes):
            return None
        if not all(isinstance(i, int) and 0 <= i < n for i, n in zip(action, tables.sizes, strict=True)):
            return None
        actions.append(np.array(action, dtype=np.int64))
    return AppealNet(int(tables.params[0]["n_classes"]), int(str(result["threshold"])), *actions)
