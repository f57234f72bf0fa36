"""The contract notices policies that break it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dvfo_agents.baselines.constant import ConstantPolicy
from dvfo_agents.contract import PolicyContract
from dvfo_agents.policy import Policy
from dvfo_env.tables import LEVEL, CostTables
from tests.contracts.test_registry import compiled

WORLD = "no GPU"


class Constant(ConstantPolicy):
    """Keeps to the contract; the policies below each break it in one way."""

    def __init__(self, tables: CostTables) -> None:
        super().__init__("mine", tables.out_of_the_box)


class Nameless(Constant):
    def __init__(self, tables: CostTables) -> None:
        super().__init__(tables)
        self.name = ""


class OutOfRange(Constant):
    def __init__(self, tables: CostTables) -> None:
        super().__init__(tables)
        self.action = np.array(tables.sizes, dtype=np.int64)


class Floats(Constant):
    def act(self, observations: Any) -> Any:
        return super().act(observations).astype(np.float64)


class OneForAll(Constant):
    def act(self, observations: Any) -> Any:
        return self.action


class Remembers(Constant):
    count = 0

    def act(self, observations: Any) -> Any:
        actions = super().act(observations)
        actions[:, LEVEL] = min(self.count, 1)
        self.count += 1
        return actions


class LooksAtOthers(Constant):
    def act(self, observations: Any) -> Any:
        actions = super().act(observations)
        actions[0, LEVEL] = 1
        return actions


class Scribbles(Constant):
    def act(self, observations: Any) -> Any:
        observations[:] = 0.0
        return super().act(observations)


class AnswersInPlace(Constant):
    answer: Any = ()

    def act(self, observations: Any) -> Any:
        if len(self.answer) != len(observations):
            self.answer = super().act(observations)
        self.answer[:, LEVEL] = 1 - self.answer[:, LEVEL]
        return self.answer


class TakesPinnedPartsForFree(Constant):
    def __init__(self, tables: CostTables) -> None:
        super().__init__(tables)
        self.action[LEVEL] = 1


class Overwrites(Constant):
    def learn(self, costs: Any) -> None:
        costs[:] = 0.0


BROKEN = [
    (Nameless, "test_it_has_a_name_for_tables"),
    (OutOfRange, "test_a_whole_held_out_episode_runs_with_legal_actions"),
    (Floats, "test_actions_are_int64_indices_of_every_part"),
    (OneForAll, "test_actions_are_int64_indices_of_every_part"),
    (Remembers, "test_after_a_reset_it_does_the_same_again"),
    (LooksAtOthers, "test_a_device_does_not_depend_on_the_others_of_its_batch"),
    (Remembers, "test_a_batch_of_another_size_begins_anew"),
    (Scribbles, "test_it_leaves_observations_and_its_own_answers_alone"),
    (AnswersInPlace, "test_it_leaves_observations_and_its_own_answers_alone"),
    (TakesPinnedPartsForFree, "test_parts_with_one_choice_stay_pinned"),
    (Overwrites, "test_what_it_learns_online_is_its_own"),
]


def contract_of(kind: Any) -> PolicyContract:
    class Contract(PolicyContract):
        def make_policy(self, tables: CostTables) -> Policy:
            return kind(tables)

        def compile(self, world: str) -> CostTables:
            return compiled(world)

    return Contract()


@pytest.mark.parametrize(("kind", "test"), BROKEN, ids=[f"{k.__name__}-{t}" for k, t in BROKEN])
def test_a_policy_that_breaks_it_fails(kind: Any, test: str) -> None:
    with pytest.raises((AssertionError, ValueError)):
        getattr(contract_of(kind), test)(WORLD)


@pytest.mark.parametrize("test", sorted({test for _, test in BROKEN[:-1]}))
def test_a_policy_that_keeps_to_it_passes(test: str) -> None:
    getattr(contract_of(Constant), test)(WORLD)


def test_it_asks_for_a_policy() -> None:
    with pytest.raises(NotImplementedError, match="make_policy"):
        PolicyContract().make_policy(compiled(WORLD))
