"""What a checkpoint of a learner holds, as plain files, and how a learner is put back from it.

    weights.safetensors    every network's parameters, under stable-baselines3's names
    optimisers.safetensors the moments of every optimiser
    world.npy              the state of every simulated device (structured array `state.STATE`)
    arrays.safetensors     random state of torch and numpy; what the environments (`TrainingEnv.memory`:
                           running returns, stacked observations) and the learner (`Learner.memory`: last
                           observations, replay buffer) name themselves
    counters.json          steps, seconds trained, random state of python, counts of environments and learner

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
from dvfo_agents.learners import Learner, Memory, training_env
from dvfo_env.errors import CheckpointError
from dvfo_env.state import STATE

WEIGHTS = "weights.safetensors"
_MOMENTS = "optimisers.safetensors"
_WORLD, _OWN = "world.", "learner."  # what the environments and the learner name themselves


def capture(learner: Learner, seconds: float) -> dict[str, bytes]:
    """Everything needed to go on later, as file contents by name; `seconds` is the time trained so far."""
    world, memory = io.BytesIO(), learner.memory()
    np.save(world, training_env(learner).simulator.states, allow_pickle=False)
    return {
        WEIGHTS: safetensors.torch.save(_weights(learner)),
        _MOMENTS: safetensors.torch.save(_moments(learner)),
        "world.npy": world.getvalue(),
        "arrays.safetensors": safetensors.numpy.save(_arrays(learner, memory)),
        "counters.json": json.dumps(_counters(learner, memory, seconds)).encode(),
    }


def restore(learner: Learner, checkpoint: Checkpoint) -> float:
    """Put a freshly built learner into the state of `checkpoint`; returns the seconds trained before.

    Raises:
        CheckpointError: the checkpoint lacks a part or was taken from another scenario or configuration.
    """
    files = checkpoint.files
    if _MOMENTS not in files:
        raise CheckpointError(f"{checkpoint.path}: holds a policy alone, no training to go on with")
    try:
        counters = json.loads(files["counters.json"])
        learner.policy.load_state_dict(safetensors.torch.load(files[WEIGHTS]))
        _restore_moments(learner, safetensors.torch.load(files[_MOMENTS]))
        _restore_world(learner, np.load(io.BytesIO(files["world.npy"]), allow_pickle=False))
        arrays = safetensors.numpy.load(files["arrays.safetensors"])
        _restore_rest(learner, arrays, counters)
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


def _arrays(learner: Learner, memory: Memory) -> dict[str, NDArray[Any]]:
    return {
        "numpy.keys": _numpy_rng()["state"]["key"],
        "torch.rng": torch.get_rng_state().numpy(),
        **{_WORLD + name: array for name, array in training_env(learner).memory().arrays.items()},
        **{_OWN + name: array for name, array in memory.arrays.items()},
    }


def _numpy_rng() -> dict[str, Any]:
    """State of numpy's global generator, which stable-baselines3 draws from."""
    state = np.random.get_state(legacy=False)  # noqa: NPY002
    assert isinstance(state, dict)
    return state


def _counters(learner: Learner, memory: Memory, seconds: float) -> dict[str, Any]:
    numpy_rng = _numpy_rng()
    return {
        "seconds": seconds,
        "action_sizes": list(training_env(learner).tables.sizes),
        "num_timesteps": learner.num_timesteps,
        "python_rng": random.getstate(),
        "numpy_rng": [numpy_rng["state"]["pos"], numpy_rng["has_gauss"], numpy_rng["gauss"]],
        "world": training_env(learner).memory().counters,
        "learner": memory.counters,
    }


def _restore_rest(learner: Learner, arrays: dict[str, NDArray[Any]], counters: dict[str, Any]) -> None:
    def named(prefix: str) -> dict[str, NDArray[Any]]:
        return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

    training_env(learner).restore_memory(Memory(named(_WORLD), counters["world"]))
    learner.num_timesteps = counters["num_timesteps"]
    learner.restore_memory(Memory(named(_OWN), counters["learner"]))
    version, words, gauss = counters["python_rng"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(("MT19937", arrays["numpy.keys"], *counters["numpy_rng"]))  # noqa: NPY002
    torch.set_rng_state(torch.from_numpy(arrays["torch.rng"].copy()))
