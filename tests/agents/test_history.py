import numpy as np

from dvfo_agents.history import History
from dvfo_agents.training_env import TrainingEnv
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import CostTables


def rows(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)[:, None]


def test_the_newest_observation_comes_first() -> None:
    history = History(3)
    for value in (1.0, 2.0, 3.0, 4.0):
        stacked = history.push(rows(value, -value))
    np.testing.assert_array_equal(stacked, [[4, 3, 2], [-4, -3, -2]])


def test_what_came_before_an_episode_is_its_first_observation() -> None:
    history = History(3)
    np.testing.assert_array_equal(history.push(rows(1.0, 5.0)), [[1, 1, 1], [5, 5, 5]])
    stacked = history.push(rows(2.0, 6.0), np.array([False, True]))
    np.testing.assert_array_equal(stacked, [[2, 1, 1], [6, 6, 6]])


def test_a_batch_of_another_size_begins_anew() -> None:
    history = History(2)
    history.push(rows(1.0, 2.0))
    np.testing.assert_array_equal(history.push(rows(3.0)), [[3, 3]])


def test_the_training_environment_stacks_what_the_plain_one_shows(tables: CostTables) -> None:
    plain, stacking = (
        TrainingEnv(tables, 4, continuous=False, seed=0, cost_knee=2.0, history=history) for history in (1, 3)
    )
    assert stacking.observation_space.shape == (3 * OBSERVATION_SIZE,)
    seen = [plain.reset()]
    stacking.reset()
    rng, began = np.random.default_rng(0), np.zeros(4, dtype=int)
    for step in range(1, 3 * tables.scenario.episode_requests):
        action = rng.integers(plain.view.sizes, size=(4, len(plain.view.sizes)))
        observations, rewards, dones, infos = plain.step(action)
        answer, same, _, stacked_infos = stacking.step(action)
        stacked = np.asarray(answer)
        np.testing.assert_array_equal(rewards, same)
        for i in np.flatnonzero(dones).tolist():
            last = stacked_infos[i]["terminal_observation"]
            np.testing.assert_array_equal(last[:OBSERVATION_SIZE], infos[i]["terminal_observation"])
            np.testing.assert_array_equal(last[OBSERVATION_SIZE : 2 * OBSERVATION_SIZE], seen[-1][i])
        began[dones] = step
        seen.append(np.asarray(observations))
        for i in range(4):
            expected = np.concatenate([seen[max(step - back, int(began[i]))][i] for back in range(3)])
            np.testing.assert_array_equal(stacked[i], expected)
    assert began.any()
