"""Which coefficients a scenario reaches, and that the fully measured ones reach nothing assumed."""

from __future__ import annotations

import pytest

from dvfo_env.evidence import assumed, assumed_line
from dvfo_env.scenario import load_scenario
from dvfo_env.schema import Coefficient
from dvfo_env.tables import compile_scenario

FULLY_MEASURED = (
    "pi3b-plus-mobilenet-v2-5g-driving",
    "zero2w-mobilenet-v2-5g-driving",
    "zero2w-mobilenet-v2-5g-walking",
)


def coefficients(name: str, **changes: object) -> dict[str, Coefficient]:
    return compile_scenario(load_scenario(name, **changes)).coefficients


@pytest.mark.parametrize("name", FULLY_MEASURED)
def test_fully_measured_scenarios_reach_nothing_assumed(name: str) -> None:
    found = coefficients(name)
    assert assumed(found) == {}
    assert assumed_line(found).startswith("Every number")
    assert {"accuracy.accuracy", "accuracy.bytes", "device.encoder_ms_ghz", "uplink.rtt_ms"} <= set(found)


def test_setting_free_what_nobody_measured_shows_at_once() -> None:
    name = FULLY_MEASURED[0]
    free = {"cuts": ["image", "classifier"]}
    clocks = assumed(coefficients(name, action=free))
    assert {"device.cpu.effect_delay_ms", "device.latency.mobilenet-v2.cpu4.t0_ms"} <= set(clocks)
    inner = {"mappings": ["cpu4"], "cpu_mhz": [1400.0]}
    assert {"device.split.cpu4", "server.tail_share"} <= set(assumed(coefficients(name, action=inner)))
    energy = coefficients(name, objective={"eta": 0.5}, action={**free, **inner})
    assert any(key.startswith("device.power.") for key in assumed(energy))
    assert any(key.startswith("server.load.") for key in assumed(coefficients(name, server_load="shared")))


def test_a_known_difficulty_is_labelled_an_assumption() -> None:
    requests = {"period_ms": 200.0, "deadline_ms": 120.0, "difficulty": "known"}
    assert set(assumed(coefficients(FULLY_MEASURED[0], requests=requests))) == {"requests.difficulty"}


def test_what_is_assumed_is_named_in_one_line() -> None:
    line = assumed_line(coefficients("default"))
    assert line.startswith("Assumed, not measured (")
    assert "requests.difficulty" in line
    assert "accuracy" not in line  # measured
