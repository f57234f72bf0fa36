"""Every baseline of the registry keeps to the contract of policies, in small made-up worlds."""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import pytest

from dvfo_agents.contract import PolicyContract
from dvfo_agents.policy import Policy
from dvfo_agents.registry import baseline_names, make_baseline
from dvfo_env.tables import CostTables, compile_scenario
from tests.worlds import device, scenario

#: Where the files of the toy worlds lie until the tests end.
FOLDER = TemporaryDirectory()
#: Toy worlds: options of the device, and fields of the scenario.
WORLDS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "no GPU": ({"gpu": False}, {"requests": {"period_ms": 400.0, "deadline_ms": 300.0}}),
    "hot, in a hurry, any weight": (
        {"hot": True, "memory": False},
        {
            "requests": {"period_ms": 60.0, "deadline_ms": 50.0, "arrival": "poisson"},
            "objective": {"eta": [0.2, 0.8]},
            "link_monitor_ms": 100.0,
        },
    ),
    "whole": ({}, {}),
    "nothing can be sent, hard requests known": (
        {},
        {
            "action": {"cuts": ["fc"]},
            "requests": {"period_ms": 120.0, "deadline_ms": 100.0, "difficulty": "known"},
        },
    ),
}
#: Worlds that only slow runs visit.
SLOW = ("whole", "nothing can be sent, hard requests known")


@lru_cache
def compiled(world: str) -> CostTables:
    """A toy world with a handful of cuts and levels, so that searches are short."""
    options, changes = WORLDS[world]
    folder = Path(FOLDER.name) / str(len(list(Path(FOLDER.name).iterdir())))
    folder.mkdir()
    place = partial(scenario, folder, device(**options), episode_requests=16, compression_levels=3)
    cuts = compile_scenario(place()).choices["cut"]
    few = [cuts[0], cuts[len(cuts) // 2], cuts[-1]]
    return compile_scenario(place(**{"action": {"cuts": few}, **changes}))


class BaselineContract(PolicyContract):
    """The contract for the baseline called `baseline`."""

    worlds: ClassVar[tuple[Any, ...]] = tuple(
        pytest.param(world, marks=pytest.mark.slow) if world in SLOW else world for world in WORLDS
    )
    baseline: ClassVar[str]

    def make_policy(self, tables: CostTables) -> Policy:
        return make_baseline(self.baseline, tables)

    def compile(self, world: str) -> CostTables:
        return compiled(world)


for _name in baseline_names():
    _title = "Test" + "".join(word.capitalize() for word in _name.split("-"))
    globals()[_title] = type(_title, (BaselineContract,), {"baseline": _name, "__module__": __name__})
