"""A reinforcement-learning environment for joint split, mapping, clock and compression decisions at the edge.

    import gymnasium as gym
    env = gym.make("dvfo_env:DVFO-v0", scenario="default")

Where gymnasium is installed, importing this package registers `DVFO-v0` (MultiDiscrete) and
`DVFOContinuous-v0` (Box[-1, 1]), each with its natively batched twin. Everything else is imported when first
used, so that the import itself stays light.
"""

from __future__ import annotations

import importlib
from typing import Any

from dvfo_env.errors import DvfoError

__version__ = "0.1.0"

_LAZY = {
    "CostTables": "dvfo_env.tables",
    "DVFOEnv": "dvfo_env.env",
    "DVFOVectorEnv": "dvfo_env.vector",
    "Scenario": "dvfo_env.scenario",
    "Simulator": "dvfo_env.simulator",
    "compile_scenario": "dvfo_env.tables",
    "list_scenarios": "dvfo_env.scenario",
    "load_scenario": "dvfo_env.scenario",
    "predict": "dvfo_env.devices.predict",
}

__all__ = ["DvfoError", "__version__", *_LAZY]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _register() -> None:
    try:
        from gymnasium.envs.registration import register, registry
    except ImportError:  # a device that only encodes and decodes needs no gymnasium
        return
    for env_id, continuous in (("DVFO-v0", False), ("DVFOContinuous-v0", True)):
        if env_id not in registry:
            register(
                id=env_id,
                entry_point="dvfo_env.env:DVFOEnv",
                vector_entry_point="dvfo_env.vector:DVFOVectorEnv",
                kwargs={"continuous": continuous},
            )


_register()
