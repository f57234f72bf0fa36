"""A device and its parts small enough to compute by hand."""

from __future__ import annotations

from typing import Any

from dvfo_env.devices.profile import DeviceProfile
from dvfo_env.schema import parse_record


def number(value: float, unit: str = "ms") -> dict[str, Any]:
    return {"value": value, "unit": unit, "evidence": "assumed", "source": "made up for a test"}


def cpu_only(**changes: Any) -> DeviceProfile:
    """Two CPU cores, no GPU, no clocks at all; 100 ms for ResNet-50 on both cores."""
    law = {"kind": "clock_law", "t0_ms": number(100.0), "fit": {"points": 1, "conditions": "test"}}
    data: dict[str, Any] = {
        "name": "small",
        "title": "Small",
        "cores": {"all": 2},
        "mappings": {
            "both": {"kind": "cpu", "cluster": "all", "threads": 2},
            "one": {"kind": "cpu", "cluster": "all", "threads": 1},
        },
        "out_of_the_box": "both",
        "latency": {"resnet50": {"both": law, "one": {**law, "t0_ms": number(180.0)}}},
        "power": {
            "board": {
                "base_mw": number(1000.0, "mW"),
                "cores": {"all": {"core_mw": number(500.0, "mW"), "cluster_mw": number(100.0, "mW")}},
                "fit": {"points": 1, "conditions": "test"},
            }
        },
    }
    return parse_record(data | changes, DeviceProfile, "small")
