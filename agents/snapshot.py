"""What a checkpoint of a learner holds, as plain files, and how a learner is put back from it.

    weights.safetensors    every network's parameters, under stable-baselines3's names
    optimisers.safetensors the moments of every optimiser
    world.npy              the state of every simulated device (structured array `state.STATE`)
    arrays.safetensors     last observations, running returns, random state of torch and numpy, SAC's replay
    buffer counters.json          step counts, seconds trained, random state of python and of the action
    space, recent costs

A learner restored from it goes on exactly as the one it was taken from would have: the same weights, bit for
bit, after the same number of further steps (same machine, same torch, same number of threads, a budget in
steps).
"""

from __future__ import annotations

import io
import json
import random
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch
from numpy.typing import NDArray

from dvfo_agents.checkpoint import Checkpoint
from dvfo_agents.learners import Learner, SACLearner, training_env
from dvfo_env.errors import CheckpointError
from dvfo_env.state import STATE

WEIGHTS = "weights.safetensors"
_REPLAY = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")


def capture(learner: Learner, seconds: float) -> dict[str, bytes]:
    """Everything needed to go on later, as file contents by name; `seconds` is the time trained so far."""
    world = io.BytesIO()
    np.save(world, training_env(learner).simulator.states, allow_pickle=False)
    return {
        WEIGHTS: safetensors.torch.save(_weights(learner)),
        "optimisers.safetensors": safetensors.torch.save(_moments(learner)),
        "world.npy": world.getvalue(),
        "arrays.safetensors": safetensors.numpy.save(_arrays(learner)),
        "counters.json": json.dumps(_counters(learner, seconds)).encode(),
    }


def restore(learner: Learner, checkpoint: Checkpoint) -> float:
    """Put a freshly built learner into the state of `checkpoint`; returns the seconds trained before.

    Raises:
        CheckpointError: the checkpoint lacks a part or was taken from another scenario or configuration.
    """
    files = checkpoint.files
    try:
        counters = json.loads(files["counters.json"])
        learner.policy.load_state_dict(safetensors.torch.load(files[WEIGHTS]))
        _restore_moments(learner, safetensors.torch.load(files["optimisers.safetensors"]))
        _restore_world(learner, np.load(io.BytesIO(files["world.npy"]), allow_pickle=False))
        arrays = safetensors.numpy.load(files["arrays.safetensors"])
        _restore_arrays(learner, arrays)
        _restore_counters(learner, counters, arrays["numpy.keys"])
    except (KeyError, ValueError, RuntimeError, IndexError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{checkpoint.path}: does not fit this run: {reason:.200}") from None
    return float(counters["seconds"])


def _weights(learner: Learner) -> dict[str, torch.Tensor]:
    return {name: tensor.contiguous() for name, tensor in learner.policy.state_dict().items()}


def _moments(learner: Learner) -> dict[str, torch.Tensor]:
    return {
        f"{name}.{index}.{key}": tensor
        for name, optimiser in learner.optimisers().items()
        for index, moments in optimiser.state_dict()["state"].items()
        for key, tensor in moments.items()
    }


def _restore_moments(learner: Learner, tensors: dict[str, torch.Tensor]) -> None:
    for name, optimiser in learner.optimisers().items():
        state: dict[Any, dict[str, torch.Tensor]] = {}
        for full_name, tensor in tensors.items():
            owner, index, key = full_name.split(".")
            if owner == name:
                state.setdefault(int(index), {})[key] = tensor
        groups = optimiser.state_dict()["param_groups"]
        optimiser.load_state_dict({"state": state, "param_groups": groups})


def _restore_world(learner: Learner, states: NDArray[np.void]) -> None:
    simulator = training_env(learner).simulator
    if states.dtype.names != STATE.names or states.shape != simulator.states.shape:
        raise ValueError("world.npy holds another number or kind of environments")
    simulator.states[:] = states


def _arrays(learner: Learner) -> dict[str, NDArray[Any]]:
    env = training_env(learner)
    numpy_rng = _numpy_rng()
    arrays: dict[str, NDArray[Any]] = {
        "returns": env._returns,
        "lengths": env._lengths,
        "numpy.keys": numpy_rng["state"]["key"],
        "torch.rng": torch.get_rng_state().numpy(),
    }
    if learner._last_obs is not None:  # None before the first step
        arrays["last_observations"] = np.asarray(learner._last_obs)
        arrays["last_episode_starts"] = np.asarray(learner._last_episode_starts)
    if isinstance(learner, SACLearner) and learner.replay_buffer is not None:
        buffer = learner.replay_buffer
        filled = buffer.buffer_size if buffer.full else buffer.pos
        arrays |= {f"replay.{name}": np.ascontiguousarray(getattr(buffer, name)[:filled]) for name in _REPLAY}
    return arrays


def _numpy_rng() -> dict[str, Any]:
    """State of numpy's global generator, which stable-baselines3 draws from."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(state, dict)
    return state


def _restore_arrays(learner: Learner, arrays: dict[str, NDArray[Any]]) -> None:
    env = training_env(learner)
    env._returns[:] = arrays["returns"]
    env._lengths[:] = arrays["lengths"]
    torch.set_rng_state(torch.from_numpy(arrays["torch.rng"].copy()))
    if "last_observations" in arrays:
        learner._last_obs = arrays["last_observations"].copy()
        learner._last_episode_starts = arrays["last_episode_starts"].copy()
    if isinstance(learner, SACLearner) and learner.replay_buffer is not None:
        for name in _REPLAY:
            saved = arrays[f"replay.{name}"]
            getattr(learner.replay_buffer, name)[: len(saved)] = saved


def _counters(learner: Learner, seconds: float) -> dict[str, Any]:
    numpy_rng = _numpy_rng()
    counters: dict[str, Any] = {
        "seconds": seconds,
        "action_sizes": list(training_env(learner).tables.sizes),
        "num_timesteps": learner.num_timesteps,
        "updates": learner._n_updates,
        "episodes": learner._episode_num,
        "recent_costs": list(training_env(learner).recent_costs),
        "python_rng": random.getstate(),
        "numpy_rng": [numpy_rng["state"]["pos"], numpy_rng["has_gauss"], numpy_rng["gauss"]],
        "action_space_rng": learner.action_space.np_random.bit_generator.state,
    }
    if isinstance(learner, SACLearner) and learner.replay_buffer is not None:
        counters["replay"] = {"pos": learner.replay_buffer.pos, "full": learner.replay_buffer.full}
    return counters


def _restore_counters(learner: Learner, counters: dict[str, Any], numpy_keys: NDArray[Any]) -> None:
    learner.num_timesteps = counters["num_timesteps"]
    learner._n_updates = counters["updates"]
    learner._episode_num = counters["episodes"]
    training_env(learner).recent_costs.extend(counters["recent_costs"])
    version, words, gauss = counters["python_rng"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(("MT19937", numpy_keys, *counters["numpy_rng"]))  # noqa: NPY002
    learner.action_space.np_random.bit_generator.state = counters["action_space_rng"]
    if isinstance(learner, SACLearner) and learner.replay_buffer is not None:
        learner.replay_buffer.pos = counters["replay"]["pos"]
        learner.replay_buffer.full = counters["replay"]["full"]
