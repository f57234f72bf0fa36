"""Searches of tests: results in a folder of their own, learned baselines trained for a moment only."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from dvfo_agents.planning import tiny_dqn

_STEPS = 640


@pytest.fixture(autouse=True, scope="package")
def searches_of_tests(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    train = tiny_dqn.train

    def briefly(tables: Any, joint_actions: Any, features: Any, settings: Any, *rest: Any) -> Any:
        short = dataclasses.replace(settings, steps=min(settings.steps, _STEPS), checks=1)
        return train(tables, joint_actions, features, short, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DVFO_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(tiny_dqn, "train", briefly)
        yield
