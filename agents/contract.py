"""What every policy has to keep to, as tests that anybody can run on an agent of their own.

In a test file, with pytest:

    from dvfo_agents.contract import PolicyContract

    class TestMyAgent(PolicyContract):
        def make_policy(self, tables):
            return MyAgent(tables)

Each test runs in every one of `worlds`: shipped scenarios with short episodes, unless `compile` is
overridden. A policy is made once a world, and again where a test asks whether making it is repeatable, so
settings that take long to find should be kept on disk (`dvfo_agents.result_cache`).
"""

# ruff: noqa: D102 - the names of the tests are their documentation

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from dvfo_agents.policy import LearnsOnline, Policy, SeesTrueState
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.scenario import load_scenario
from dvfo_env.simulator import Simulator
from dvfo_env.tables import ACTION_PARTS, CostTables, compile_scenario

#: Bank and episodes of the tests; training bank and training episodes are others.
BANK_SEED, FIRST_SEED = 11, 77_000
_DEVICES, _REQUESTS = 5, 24


class Trajectory(NamedTuple):
    """What a batch of devices did: joint actions int64 [T, N, parts] and costs float64 [T, N]."""

    actions: NDArray[np.int64]
    costs: NDArray[np.float64]


class PolicyContract:
    """Tests of one policy; subclass it under a name that begins with `Test` and give `make_policy`.

    Class flags:
        worlds: names handed to `compile`, one after the other (or `pytest.param` of one, with marks).
        shares_experience: True for a policy that learns online from the whole batch together, so that what
            one device does depends on what the others have met.
    """

    worlds: ClassVar[tuple[Any, ...]] = (
        "zero2w-mobilenet-v2-5g-walking",
        "pi4b-resnet50-tmobile-lte",
        "nano-mobilenet-v2-wifi-campus",
    )
    shares_experience: ClassVar[bool] = False

    _made: ClassVar[dict[tuple[type, str], tuple[CostTables, Policy]]] = {}

    def make_policy(self, tables: CostTables) -> Policy:
        """The policy for a compiled scenario, as an evaluation makes it."""
        raise NotImplementedError("give make_policy(self, tables)")

    def compile(self, world: str) -> CostTables:
        """The tables of a world: the shipped scenario of that name with short episodes."""
        return compile_scenario(load_scenario(world, episode_requests=_REQUESTS))

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Run every test in every world."""
        if "world" in metafunc.fixturenames:
            metafunc.parametrize("world", self.worlds)

    def made(self, world: str) -> tuple[CostTables, Policy]:
        """Tables and policy of a world, made once for all tests of the class."""
        key = (type(self), world)
        if key not in self._made:
            tables = self.compile(world)
            self._made[key] = tables, self.make_policy(tables)
        return self._made[key]

    def test_it_has_a_name_for_tables(self, world: str) -> None:
        name = self.made(world)[1].name
        assert isinstance(name, str)
        assert name.isprintable()
        assert name.strip() == name != ""

    def test_a_whole_held_out_episode_runs_with_legal_actions(self, world: str) -> None:
        tables, policy = self.made(world)
        costs = run(policy, tables, seeds()).costs  # an illegal action raises ActionError
        assert np.isfinite(costs).all()

    def test_actions_are_int64_indices_of_every_part(self, world: str) -> None:
        tables, policy = self.made(world)
        observations = begin(policy, tables, seeds()).observations
        _assert_legal(policy.act(observations), tables, len(observations))

    def test_after_a_reset_it_does_the_same_again(self, world: str) -> None:
        tables, policy = self.made(world)
        first, again = run(policy, tables, seeds()), run(policy, tables, seeds())
        np.testing.assert_array_equal(first.actions, again.actions, "reset(n) must forget everything")

    def test_made_twice_it_decides_the_same(self, world: str) -> None:
        tables, policy = self.made(world)
        twin = self.make_policy(tables)
        theirs = run(twin, tables, seeds()).actions
        np.testing.assert_array_equal(run(policy, tables, seeds()).actions, theirs)

    def test_a_device_does_not_depend_on_the_others_of_its_batch(self, world: str) -> None:
        if self.shares_experience:
            pytest.skip("learns from the whole batch together")
        tables, policy = self.made(world)
        together = run(policy, tables, seeds()).actions
        backwards = run(policy, tables, seeds()[::-1].copy()).actions[:, ::-1]
        np.testing.assert_array_equal(together, backwards)
        alone = run(policy, tables, seeds()[1:2]).actions
        np.testing.assert_array_equal(together[: len(alone), 1:2], alone)

    def test_a_batch_of_another_size_begins_anew(self, world: str) -> None:
        tables, policy = self.made(world)
        if isinstance(policy, SeesTrueState):
            pytest.skip("belongs to the simulator it is bound to")
        policy.reset(2)
        for n in (1, 3, _DEVICES, 1):
            observations = Simulator(tables, n, bank_seed=BANK_SEED).reset(seeds()[:n]).copy()
            actions = policy.act(observations).copy()
            _assert_legal(actions, tables, n)
            policy.reset(n)
            np.testing.assert_array_equal(actions, policy.act(observations))

    def test_it_leaves_observations_and_its_own_answers_alone(self, world: str) -> None:
        tables, policy = self.made(world)
        simulator = begin(policy, tables, seeds())
        observations = simulator.observations.copy()
        observations.setflags(write=False)
        actions = policy.act(observations)
        kept = actions.copy()
        policy.act(np.ascontiguousarray(observations[::-1]))
        np.testing.assert_array_equal(actions, kept, "an answer must not change with the next one")

    @pytest.mark.parametrize("value", [-1.0, 0.0, 1.0])
    def test_it_survives_observations_at_the_edge_of_their_range(self, world: str, value: float) -> None:
        tables, policy = self.made(world)
        begin(policy, tables, seeds())
        observations = np.full((_DEVICES, OBSERVATION_SIZE), value, dtype=np.float32)
        for _ in range(2):
            _assert_legal(policy.act(observations), tables, _DEVICES)

    def test_parts_with_one_choice_stay_pinned(self, world: str) -> None:
        tables = self.made(world)[0]
        pinned = pinned_tables(tables)
        actions = run(self.make_policy(pinned), pinned, seeds()).actions
        fixed = [part for part, size in enumerate(pinned.sizes) if size == 1]
        assert len(fixed) >= 5
        assert (actions[..., fixed] == 0).all()

    def test_what_it_learns_online_is_its_own(self, world: str) -> None:
        tables, policy = self.made(world)
        if not isinstance(policy, LearnsOnline):
            pytest.skip("does not learn online")
        simulator = begin(policy, tables, seeds())
        for scale in (0.0, 1.0, 1e6):  # free, ordinary, and far beyond anything seen
            _assert_legal(policy.act(simulator.observations), tables, _DEVICES)
            costs = np.full(_DEVICES, scale)
            costs.setflags(write=False)
            policy.learn(costs)
        _assert_legal(policy.act(simulator.observations), tables, _DEVICES)


class Begun(NamedTuple):
    """A simulator at the beginning of its episodes, and what its devices see."""

    simulator: Simulator
    observations: NDArray[np.float32]


def seeds() -> NDArray[np.int64]:
    """Held-out episodes of the tests, int64 [N]."""
    return FIRST_SEED + np.arange(_DEVICES, dtype=np.int64)


def begin(policy: Policy, tables: CostTables, episode_seeds: NDArray[np.int64]) -> Begun:
    """Begin episodes as an evaluation does: reset, and show the simulator to those that may look."""
    simulator = Simulator(tables, len(episode_seeds), bank_seed=BANK_SEED, autoreset=False)
    observations = simulator.reset(episode_seeds)
    policy.reset(len(episode_seeds))
    if isinstance(policy, SeesTrueState):
        policy.bind(simulator)
    return Begun(simulator, observations)


def run(policy: Policy, tables: CostTables, episode_seeds: NDArray[np.int64]) -> Trajectory:
    """Run whole episodes as an evaluation does; online learners learn. Ends when all have ended.

    Actions and costs of devices whose episode has ended are zero.

    Raises:
        ActionError: an action was out of range.
    """
    simulator, observations = begin(policy, tables, episode_seeds)
    running = np.ones(len(episode_seeds), dtype=bool)
    actions, costs = [], []
    while running.any():
        chosen = policy.act(observations)
        _assert_legal(chosen, tables, len(running))
        batch = simulator.step(chosen)
        cost = -batch.rewards.astype(np.float64)
        if isinstance(policy, LearnsOnline):
            policy.learn(cost.copy())
        actions.append(np.where(running[:, None], chosen, 0))
        costs.append(np.where(running, cost, 0.0))
        running &= batch.ends == 0
        observations = batch.observations
    return Trajectory(np.stack(actions), np.stack(costs))


def pinned_tables(tables: CostTables) -> CostTables:
    """The same scenario with one choice left of every part but the cut, of which the first and last are
    left.
    """
    names = {"cut": "cuts", "mapping": "mappings"}
    axes: dict[str, tuple[str | float, ...]] = {
        names.get(part, part): tables.choices[part][:1] for part in ACTION_PARTS
    }
    axes["cuts"] = tuple(dict.fromkeys((tables.choices["cut"][0], tables.choices["cut"][-1])))
    return compile_scenario(load_scenario(tables.scenario, action=axes))


def _assert_legal(actions: NDArray[np.int64], tables: CostTables, n: int) -> None:
    assert isinstance(actions, np.ndarray)
    assert actions.dtype == np.int64, f"actions are {actions.dtype}, not int64"
    assert actions.shape == (n, len(ACTION_PARTS)), (
        f"actions are {actions.shape}: {n} devices, {ACTION_PARTS}"
    )
    legal = (actions >= 0) & (actions < np.array(tables.sizes))
    assert legal.all(), f"actions {actions[~legal.all(axis=1)][:3].tolist()} are out of range {tables.sizes}"
