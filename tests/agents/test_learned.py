import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO, SAC

import dvfo_train
from dvfo_agents.checkpoint import newest_whole
from dvfo_agents.history import History
from dvfo_agents.learned import load_policy
from dvfo_agents.learners import build_learner, training_env
from dvfo_agents.policy import Policy
from dvfo_agents.snapshot import restore
from dvfo_env.errors import CheckpointError, ConfigError
from dvfo_env.observation import OBSERVATION_SIZE
from dvfo_env.tables import ACTION_PARTS, compile_scenario
from tests import worlds
from tests.agents import small

OBSERVATIONS = np.random.default_rng(0).uniform(-1.0, 1.0, size=(500, OBSERVATION_SIZE)).astype(np.float32)


@pytest.fixture(scope="module", params=small.KINDS)
def run(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    assert dvfo_train.main([*small.train_arguments(folder, request.param, steps=1024), "--json"]) == 0
    return folder / "run"


def test_the_numpy_policy_decides_as_stable_baselines3_does(run: Path) -> None:
    policy = load_policy(run)
    checked: Policy = policy
    tables = compile_scenario(policy.scenario)  # type: ignore[arg-type]
    learner = build_learner(small.agent(policy.name), tables, seed=5)
    checkpoint = newest_whole(run / "checkpoints", print)
    assert checkpoint is not None
    restore(learner, checkpoint)
    view = training_env(learner).view
    expected = view.to_indices(learner.predict(OBSERVATIONS, deterministic=True)[0])
    assert (
        checked.act(OBSERVATIONS) == expected
    ).mean() > 0.999  # ties and bin edges may round the other way
    assert policy.steps == checkpoint.steps
    assert checked.act(OBSERVATIONS).shape == (500, len(ACTION_PARTS))


def test_a_policy_needs_neither_torch_nor_stable_baselines3(run: Path) -> None:
    code = f"""
import sys, numpy, dvfo_agents.learned
from dvfo_env.observation import OBSERVATION_SIZE
policy = dvfo_agents.learned.load_policy({str(run)!r})
policy.act(numpy.zeros((3, OBSERVATION_SIZE), dtype=numpy.float32))
print([name for name in ("torch", "stable_baselines3", "sb3_contrib") if name in sys.modules])
"""
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_decisions_do_not_depend_on_the_batch(run: Path) -> None:
    policy = load_policy(run)
    policy.reset(1)
    single = np.concatenate([policy.act(row[None]) for row in OBSERVATIONS[:50]])
    np.testing.assert_array_equal(single, policy.act(OBSERVATIONS)[:50])


def test_a_scenario_with_other_action_sizes_is_refused_by_part(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    tables = compile_scenario(worlds.scenario(other, worlds.device(points=4)))
    with pytest.raises(ConfigError, match="with 3 choices of cpu_mhz, scenario 'toy' has 4"):
        load_policy(run, tables)


def test_a_scenario_with_equal_action_sizes_is_accepted(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    tables = compile_scenario(worlds.scenario(other, offload_timeout_ms=300.0))
    assert load_policy(run, tables).act(OBSERVATIONS).shape == (500, len(ACTION_PARTS))


def test_a_folder_without_a_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds no run"):
        load_policy(tmp_path)


def test_a_run_without_a_checkpoint_is_one_line(run: Path, tmp_path: Path) -> None:
    shutil.copy(run / "run.yaml", tmp_path)
    with pytest.raises(CheckpointError, match="nothing has been saved yet"):
        load_policy(tmp_path)


def test_run_folders_hold_the_whole_configuration(run: Path) -> None:
    data = yaml.safe_load((run / "run.yaml").read_text())
    assert data["scenario"]["workload"] == "inception-v4"
    assert data["agent"]["net_arch"] == [16, 16]


@pytest.mark.parametrize(("kind", "algorithm"), [("ppo", PPO), ("sac", SAC)])
def test_stable_baselines3_files_load_only_when_their_pickles_are_trusted(
    tmp_path: Path, kind: str, algorithm: type[PPO] | type[SAC]
) -> None:
    tables = compile_scenario(small.scenario(tmp_path))
    env = training_env(build_learner(small.agent(kind), tables, seed=0))
    model = algorithm("MlpPolicy", env, device="cpu")
    path = tmp_path / "model.zip"
    model.save(path)
    with pytest.raises(CheckpointError, match="--trust-pickle"):
        load_policy(path, tables)
    with pytest.raises(ConfigError, match="does not say its scenario"):
        load_policy(path, trust_pickle=True)
    policy = load_policy(path, tables, trust_pickle=True)
    expected = env.view.to_indices(model.predict(OBSERVATIONS, deterministic=True)[0])
    np.testing.assert_array_equal(policy.act(OBSERVATIONS), expected)
    path.write_bytes(b"not a zip")
    with pytest.raises(CheckpointError, match="is not a stable-baselines3 file"):
        load_policy(path, tables, trust_pickle=True)


def test_a_policy_with_history_remembers_as_it_did_in_training_and_forgets(tmp_path: Path) -> None:
    changes = {"history": 3, "acts_on": ["cut", "compression"], "name": "limited"}
    assert dvfo_train.main([*small.train_arguments(tmp_path, "ppo", **changes), "--json"]) == 0
    policy = load_policy(tmp_path / "run")
    assert policy.name == "limited"
    tables = compile_scenario(policy.scenario)  # type: ignore[arg-type]
    learner = build_learner(small.agent("ppo", **changes), tables, seed=5)
    checkpoint = newest_whole(tmp_path / "run" / "checkpoints", print)
    assert checkpoint is not None
    restore(learner, checkpoint)
    history, view = History(3), training_env(learner).view
    frames = OBSERVATIONS[:480].reshape(6, 80, -1)
    given = []
    for frame in frames:
        stacked = history.push(frame)
        expected = view.to_indices(learner.predict(stacked, deterministic=True)[0])
        given.append(policy.act(frame))
        assert (given[-1] == expected).mean() > 0.999
    policy.reset(80)
    np.testing.assert_array_equal(policy.act(frames[0]), given[0])
    np.testing.assert_array_equal(given[0][:, 1:5], np.tile(tables.out_of_the_box[1:5], (80, 1)))
