"""The toy scenario, compiled once for all tests here: tables never change."""

from __future__ import annotations

import pytest

from dvfo_env.tables import CostTables, compile_scenario
from tests.agents import small


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    return compile_scenario(small.scenario(tmp_path_factory.mktemp("toy")))
