"""One small network, its engine, and a server for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from dvfo_controller.split.engine import Engine
from dvfo_controller.split.server import ServerSettings, SplitServer, serving
from tests.split.models import example, small_network


@pytest.fixture(scope="session")
def engine() -> Engine:
    """The device's engine."""
    return Engine(small_network(batch="n"))


@pytest.fixture(scope="session")
def expected(engine: Engine) -> np.ndarray:
    """What the whole network says to `example()`."""
    return engine.run_whole(example())[0]


@pytest.fixture(scope="module")
def server() -> Iterator[SplitServer]:
    """A server on loopback."""
    made = SplitServer(
        Engine(small_network(batch="n")), ServerSettings(hello_timeout_s=0.5, frame_timeout_s=0.5)
    )
    with serving(made):
        yield made
