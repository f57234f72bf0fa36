import numpy as np

from dvfo_agents.fleet import GROUPS, REDRAW_STEPS, Fleet
from dvfo_env.simulator import Simulator
from dvfo_env.tables import CostTables


def play(simulator: Simulator, steps: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    sizes = simulator.tables.sizes
    return np.stack(
        [
            simulator.step(rng.integers(sizes, size=(simulator.n, len(sizes)))).rewards.copy()
            for _ in range(steps)
        ]
    )


def first_rewards(fleet: Fleet) -> np.ndarray:
    """Rewards of the same request, out of the box, on each device."""
    fleet.reset(np.zeros(fleet.n, dtype=int))
    return fleet.step(np.tile(fleet.tables.out_of_the_box, (fleet.n, 1))).rewards.copy()


def test_a_fleet_without_spread_is_the_plain_simulator(tables: CostTables) -> None:
    plain, fleet = Simulator(tables, 20), Fleet(tables, 20, spread=0.0, seed=1)
    np.testing.assert_array_equal(plain.reset(np.arange(20)), fleet.reset(np.arange(20)))
    np.testing.assert_array_equal(play(plain, REDRAW_STEPS + 50), play(fleet, REDRAW_STEPS + 50))


def test_groups_live_on_different_devices(tables: CostTables) -> None:
    fleet = Fleet(tables, 2 * GROUPS, spread=0.2, seed=1)
    rewards = first_rewards(fleet).reshape(GROUPS, 2)
    np.testing.assert_array_equal(rewards[:, 0], rewards[:, 1])
    assert len(np.unique(rewards[:, 0])) == GROUPS


def test_devices_are_drawn_again_and_a_restored_fleet_has_the_same_ones(tables: CostTables) -> None:
    fleet = Fleet(tables, GROUPS, spread=0.2, seed=3)
    first = first_rewards(fleet)
    play(fleet, (GROUPS + 3) * REDRAW_STEPS + 7)
    age = fleet.age
    assert not np.isin(first_rewards(fleet), first).any()
    fleet.restore_age(age)
    other = Fleet(tables, GROUPS, spread=0.2, seed=3)
    other.states[:] = fleet.states
    other.restore_age(fleet.age)
    np.testing.assert_array_equal(play(fleet, REDRAW_STEPS, 5), play(other, REDRAW_STEPS, 5))


def test_other_seeds_draw_other_devices(tables: CostTables) -> None:
    rewards = [first_rewards(Fleet(tables, GROUPS, spread=0.2, seed=seed)) for seed in (0, 1)]
    assert not np.isin(rewards[0], rewards[1]).any()


def test_a_share_of_the_fleet_is_on_other_uplinks(tables: CostTables) -> None:
    plain, fleet = Simulator(tables, 32), Fleet(tables, 32, spread=0.0, seed=1, other_uplinks=0.125)
    plain.reset(np.arange(32))
    fleet.reset(np.arange(32))
    at_home, elsewhere = play(plain, 50), play(fleet, 50)
    np.testing.assert_array_equal(at_home[:, :28], elsewhere[:, :28])
    assert (at_home[:, 28:] != elsewhere[:, 28:]).any(axis=0).all()


def test_other_uplinks_are_drawn_again_and_restored(tables: CostTables) -> None:
    fleet = Fleet(tables, 16, spread=0.0, seed=3, other_uplinks=0.25)
    play(fleet, 3 * REDRAW_STEPS + 7)
    other = Fleet(tables, 16, spread=0.0, seed=3, other_uplinks=0.25)
    other.states[:] = fleet.states
    other.restore_age(fleet.age)
    np.testing.assert_array_equal(play(fleet, REDRAW_STEPS, 5), play(other, REDRAW_STEPS, 5))
