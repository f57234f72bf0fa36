"""Cost tables are the same on every processor, so that results made on one replay on another."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_PRINT = """
from dvfo_agents.result_cache import tables_digest
from dvfo_env.scenario import list_scenarios, load_scenario
from dvfo_env.tables import compile_scenario
for name in list_scenarios():
    print(name, tables_digest(compile_scenario(load_scenario(name))))
"""


def _digests(without: str = "") -> str:
    """Digests of all shipped scenarios, without some of the processor's features."""
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": without}
    command = [sys.executable, "-W", "ignore", "-c", _PRINT]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names x86 features")
@pytest.mark.parametrize("without", ["X86_V4", "X86_V4,X86_V3"])  # AVX-512; AVX2 as well
def test_shipped_scenarios_compile_to_the_same_numbers_with_fewer_vector_instructions(without: str) -> None:
    everything = _digests()
    assert len(everything.splitlines()) > 10
    assert _digests(without) == everything
