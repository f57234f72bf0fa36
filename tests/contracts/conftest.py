"""Searches of these tests are short, and keep their results in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from dvfo_agents.planning import belief
from tests.baselines.briefly import searches_of_tests

__all__ = ["searches_of_tests"]


@pytest.fixture(autouse=True, scope="package")
def short_statistics() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(belief, "_SAMPLES", 4_000)
        yield
