"""A tiny network, measured on this machine once for all tests here."""

from __future__ import annotations

import pytest

from dvfo_verification.world import World, WorldOptions, measure_world
from tests.split.models import small_network


@pytest.fixture(scope="session")
def options(tmp_path_factory: pytest.TempPathFactory) -> WorldOptions:
    """What to measure: a network of microseconds, in a few seconds."""
    folder = tmp_path_factory.mktemp("world")
    model = folder / "tiny.onnx"
    model.write_bytes(small_network())
    return WorldOptions(
        folder / "out",
        workload="tiny",
        model=model,
        server_threads=1,
        profile_s=2.0,
        one_core=True,
        most_cuts=5,
    )


@pytest.fixture(scope="session")
def world(options: WorldOptions) -> World:
    """The measured world."""
    return measure_world(options, lambda line: None)
