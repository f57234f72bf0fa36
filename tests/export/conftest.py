"""The toy scenario, compiled once, and 10,000 observations of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from dvfo_env.tables import CostTables, compile_scenario
from tests import worlds
from tests.export import policies


@pytest.fixture(scope="session")
def tables(tmp_path_factory: pytest.TempPathFactory) -> CostTables:
    return compile_scenario(worlds.scenario(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="session")
def frames(tables: CostTables) -> NDArray[np.float32]:
    return policies.observations(tables)
