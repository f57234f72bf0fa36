"""The environments as gymnasium and stable-baselines3 see them, and what they say to bad input."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from gymnasium.utils.env_checker import check_env
from stable_baselines3.common.env_checker import check_env as sb3_check_env

import dvfo_env
from dvfo_env.env import DVFOEnv
from dvfo_env.errors import ActionError, ConfigError, TraceError
from dvfo_env.observation import FEATURES, OBSERVATION_SIZE, index_of, rate_mbps
from dvfo_env.sb3 import SB3VecEnv
from dvfo_env.scenario import list_scenarios, load_scenario
from dvfo_env.tables import compile_scenario
from tests import worlds

IDS = ("dvfo_env:DVFO-v0", "dvfo_env:DVFOContinuous-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_both_checkers_pass(env_id: str) -> None:
    env = gym.make(env_id, scenario="default", render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)
    sb3_check_env(env.unwrapped, warn=True)


@pytest.mark.parametrize("name", list_scenarios())
def test_every_shipped_scenario_runs_an_episode(name: str) -> None:
    env = gym.make("dvfo_env:DVFO-v0", scenario=name)
    observation, _ = env.reset(seed=0)
    env.action_space.seed(0)
    for _ in range(300):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        assert env.observation_space.contains(observation)
        assert np.isfinite(reward)
        if terminated or truncated:
            break
    assert truncated


def test_default_is_an_alias_of_a_shipped_scenario() -> None:
    assert load_scenario("default").name in list_scenarios()
    assert "default" not in list_scenarios()


def test_make_vec_gives_the_native_batch() -> None:
    envs = gym.make_vec("dvfo_env:DVFO-v0", num_envs=5, scenario="default")
    observations, _ = envs.reset(seed=1)
    assert observations.shape == (5, OBSERVATION_SIZE)
    _, rewards, _, _, info = envs.step(envs.action_space.sample())
    assert rewards.shape == (5,)
    assert info["reward_vector"].shape == (5, 3)
    envs.close()


def test_reward_vector_weighted_gives_the_cost(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    env = DVFOEnv(tables=tables)
    env.reset(seed=3)
    env.action_space.seed(3)
    objective = tables.scenario.objective
    for _ in range(20):
        _, _, _, _, info = env.step(env.action_space.sample())
        latency, energy, accuracy = (float(v) for v in info["reward_vector"])
        cost = -(0.5 * latency + 0.5 * energy + objective.accuracy_weight_per_point * accuracy)
        cost += objective.deadline_weight * info["deadline_missed"]
        assert cost == pytest.approx(info["cost"], rel=1e-4)
        assert env.reward_space.contains(info["reward_vector"])


def test_copies_and_pickles_go_on_the_same_way(tmp_path: Path) -> None:
    env = DVFOEnv(tables=compile_scenario(worlds.scenario(tmp_path)))
    env.reset(seed=5)
    env.action_space.seed(5)
    env.step(env.action_space.sample())
    twins = [copy.deepcopy(env), pickle.loads(pickle.dumps(env))]
    for _ in range(10):
        action = env.action_space.sample()
        seen = env.step(action)
        for twin in twins:
            again = twin.step(action)
            assert np.array_equal(seen[0], again[0])
            assert seen[1] == again[1]


def test_rendering_changes_nothing(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    plain, drawn = DVFOEnv(tables=tables), DVFOEnv(tables=tables, render_mode="rgb_array")
    plain.reset(seed=2)
    drawn.reset(seed=2)
    assert drawn.render().shape == (720, 960, 3)
    drawn.action_space.seed(2)
    for _ in range(5):
        action = drawn.action_space.sample()
        assert plain.step(action)[1] == drawn.step(action)[1]
        assert drawn.render().dtype == np.uint8


def test_ansi_is_one_line(tmp_path: Path) -> None:
    env = DVFOEnv(tables=compile_scenario(worlds.scenario(tmp_path)), render_mode="ansi")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    text = env.render()
    assert "\n" not in text
    assert "Mbit/s" in text


@pytest.mark.parametrize(
    ("continuous", "action", "complaint"),
    [
        (True, lambda n: np.full(n, np.nan, np.float32), "is not finite"),
        (False, lambda n: np.full(n, 99), "is out of range"),
        (False, lambda n: np.full(n, -1), "is out of range"),
        (False, lambda n: np.full(n, 0.5), "is not a whole number"),
        (False, lambda n: np.full(n, np.nan), "is not a whole number"),
        (False, lambda n: np.zeros(n + 1, np.int64), "shape"),
    ],
)
def test_bad_actions_are_refused_and_change_nothing(
    tmp_path: Path, continuous: bool, action: Any, complaint: str
) -> None:
    env = DVFOEnv(tables=compile_scenario(worlds.scenario(tmp_path)), continuous=continuous)
    env.reset(seed=0)
    before = env.simulator.states.copy()
    with pytest.raises(ActionError, match=complaint):
        env.step(action(len(env.view.free)))
    assert np.array_equal(before, env.simulator.states)


def test_stepping_past_the_end_asks_for_a_reset(tmp_path: Path) -> None:
    env = DVFOEnv(tables=compile_scenario(worlds.scenario(tmp_path, episode_requests=1)))
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[3]
    with pytest.raises(gym.error.ResetNeeded):
        env.step(env.action_space.sample())


def edited(folder: Path, **changes: Any) -> Path:
    """The default scenario's file with fields replaced (dots go down), as a new file."""
    data = load_scenario("default").model_dump(mode="json", exclude_unset=True)
    for key, value in changes.items():
        at = data
        *path, last = key.split("__")
        for step in path:
            at = at.setdefault(step, {})
        at[last] = value
    file = folder / "edited.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour: unknown key"),
        ({"requests__period_ms": -3}, "requests.period_ms"),
        ({"requests__period_ms": "fast"}, "requests.period_ms"),
        ({"requests__deadline_s": 1}, "requests.deadline_s: unknown key"),
        ({"objective__eta": 1.5}, "objective.eta"),
        ({"objective__eta": [0.9, 0.1]}, "eta"),
        ({"objective__energy": "joules"}, "objective.energy"),
        ({"device": "toaster"}, "toaster"),
        ({"workload": "resnet9000"}, "resnet9000"),
        ({"uplink": "tin-can"}, "tin-can"),
        ({"server": "abacus"}, "abacus"),
        ({"accuracy": "magic"}, "magic"),
        ({"device": "missing-device.yaml"}, "missing-device.yaml"),
        ({"action": {"gpu_mhz": [1234.0]}}, "action.gpu_mhz"),
        ({"action": {"cuts": ["image"]}}, "action.cuts"),
        ({"action": {"mappings": ["npu"]}}, "npu"),
        ({"action": {"compression": []}}, "compression"),
        ({"episode_requests": 0}, "episode_requests"),
    ],
)
def test_bad_scenarios_get_one_line_that_names_the_field(
    tmp_path: Path, changes: dict[str, Any], field: str
) -> None:
    with pytest.raises((ConfigError, TraceError)) as caught:
        compile_scenario(load_scenario(edited(tmp_path, **changes)))
    message = str(caught.value)
    assert field in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("rows", "complaint"),
    [
        (["0,1.0", "1,-2.0"], "below 0"),
        (["0,1.0", "500,2.0"], "gap"),
        (["0,1.0", "1,nan"], "line 3"),
        ([], "trace"),
    ],
)
def test_bad_traces_are_refused(tmp_path: Path, rows: list[str], complaint: str) -> None:
    trace = tmp_path / "trace.csv"
    trace.write_text("\n".join(["time_s,mbps", *rows]), encoding="utf-8")
    with pytest.raises(TraceError, match=complaint):
        compile_scenario(load_scenario("default", uplink=str(trace)))


def test_a_workload_with_one_cut_has_nothing_to_send(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path, action={"cuts": ["fc"]}))
    env = DVFOEnv(tables=tables)
    assert "cut" not in env.view.free
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[4]["send_ms"] == 0.0


def test_a_scenario_with_nothing_to_choose_still_runs(tmp_path: Path) -> None:
    action = {
        "cuts": ["fc"], "mappings": ["gpu"], "cpu_mhz": [2000.0], "gpu_mhz": [1300.0], "mem_mhz": [1800.0],
        "compression": ["level-3"],
    }  # fmt: skip
    env = DVFOEnv(tables=compile_scenario(worlds.scenario(tmp_path, action=action)))
    env.reset(seed=0)
    assert env.step(env.action_space.sample())[4]["cost"] == pytest.approx(1.0, rel=1e-5)


def test_rate_features_can_be_undone() -> None:
    assert rate_mbps(np.array([-1.0, 0.0, 1.0])) == pytest.approx([1 / 16, 8.0, 1024.0])
    assert index_of("rate_last") == 1
    assert len({feature.name for feature in FEATURES}) == OBSERVATION_SIZE


def test_sb3_batch_follows_its_conventions(tmp_path: Path) -> None:
    envs = SB3VecEnv(worlds.scenario(tmp_path, episode_requests=4), n_envs=3, seed=7)
    first = envs.reset()
    rng = np.random.default_rng(0)
    done_seen = 0
    for _ in range(12):
        actions = np.stack([rng.integers(0, size, 3) for size in envs.view.sizes], axis=1)
        observations, rewards, dones, infos = envs.step(actions)
        assert observations.dtype == first.dtype == np.float32
        assert rewards.shape == (3,)
        for done, info in zip(dones, infos, strict=True):
            assert ("terminal_observation" in info) == bool(done)
            done_seen += bool(done)
    assert done_seen >= 6


def test_the_link_monitor_tells_the_rate_without_sending(tmp_path: Path) -> None:
    trace = tmp_path / "steps.csv"
    trace.write_text(
        "time_s,mbps\n" + "\n".join(f"{t},{8.0 if t < 2 else 32.0}" for t in range(400)), encoding="utf-8"
    )
    silent = DVFOEnv(worlds.scenario(tmp_path, uplink=str(trace)))
    monitored = DVFOEnv(worlds.scenario(tmp_path, uplink=str(trace), link_monitor_ms=500.0))
    local = silent.view.from_indices(silent.tables.out_of_the_box[None])[0]
    for env, knows in ((silent, False), (monitored, True)):
        env.reset(seed=0)
        for _ in range(20):
            observation = env.step(local)[0]
        assert (observation[index_of("silence")] < 0.5) == knows
        if knows:
            assert rate_mbps(observation[index_of("rate_last")]) == pytest.approx(32.0, rel=0.8)


def test_public_names_are_the_sorted_list() -> None:
    for name in dvfo_env.__all__:
        assert getattr(dvfo_env, name) is not None
    assert len(set(dvfo_env.__all__)) == len(dvfo_env.__all__)


def test_an_action_is_described_by_what_encodes_at_its_cut(tmp_path: Path) -> None:
    tables = compile_scenario(worlds.scenario(tmp_path))
    names = {
        cut: tables.describe_action(tables.action_indices(cut=cut, compression="level-2"))["compression"]
        for cut in (tables.choices["cut"][i] for i in (0, 5, -1))
    }
    assert list(names.values()) == ["jpeg-q95", "fp16", "none"]
