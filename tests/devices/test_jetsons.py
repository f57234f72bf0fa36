"""Claims about the shipped Jetson profiles; no raw measurement is needed."""

from __future__ import annotations

import numpy as np
import pytest

from dvfo_env.devices import DeviceModel, load_device, predict
from dvfo_env.devices.profile import ClockLaw
from dvfo_env.devices.provenance import coefficients_of
from dvfo_env.workloads import load_workload

JETSONS = (
    "jetson-agx-xavier",
    "jetson-nano",
    "jetson-orin-agx",
    "jetson-orin-nano",
    "jetson-tx2",
    "jetson-tx2-nx",
    "jetson-xavier-nx",
)


def whole_network_ms(device: str, workload: str, mapping: str) -> float:
    profile = load_device(device)
    top = (domain.mhz[-1] if domain else None for domain in (profile.cpu, profile.gpu, profile.memory))
    return float(predict(profile, workload, mapping, *top)["latency_ms"])


@pytest.mark.parametrize(
    ("device", "gpu_mhz", "latency_ms", "watts"),
    [
        ("jetson-agx-xavier", 216.75, 21.37, 12.5),
        ("jetson-agx-xavier", 905.25, 6.28, 19.3),
        ("jetson-agx-xavier", 1377.0, 4.85, 27.4),
        ("jetson-nano", 76.8, 234.7, 3.0),
        ("jetson-nano", 460.8, 42.75, 4.9),
        ("jetson-nano", 921.6, 24.66, 8.1),
    ],
)
def test_mobilenet_v2_is_within_five_percent_of_quoted_points(
    device: str, gpu_mhz: float, latency_ms: float, watts: float
) -> None:
    profile = load_device(device)
    assert profile.cpu is not None
    assert profile.memory is not None
    result = predict(profile, "mobilenet-v2", "gpu", profile.cpu.mhz[-1], gpu_mhz, profile.memory.mhz[-1])
    assert result["latency_ms"] == pytest.approx(latency_ms, rel=0.05)
    assert result["power_mw"]["total"] / 1000.0 == pytest.approx(watts, rel=0.05)


@pytest.mark.parametrize(
    ("device", "workload", "mapping", "latency_ms"),
    [
        ("jetson-nano", "resnet50", "cpu4", 204.08),
        ("jetson-nano", "vgg16", "gpu", 310.44),
        ("jetson-agx-xavier", "resnet18", "cpu1", 53.40),
        ("jetson-orin-nano", "resnet50", "gpu", 9.41),
        ("jetson-orin-nano", "mobilenet-v2", "cpu6", 6.51),
        ("jetson-orin-agx", "resnet50", "gpu", 6.08),
        ("jetson-orin-agx", "squeezenet", "cpu12", 3.65),
        ("jetson-tx2-nx", "efficientnet-b0", "gpu", 11.49),
    ],
)
def test_whole_networks_at_the_highest_clocks_are_as_measured(
    device: str, workload: str, mapping: str, latency_ms: float
) -> None:
    assert whole_network_ms(device, workload, mapping) == pytest.approx(latency_ms, rel=1e-3)


@pytest.mark.parametrize("device", JETSONS)
def test_every_law_passes_through_its_anchor(device: str) -> None:
    profile = load_device(device)
    for workload, laws in profile.latency.items():
        for mapping, law in laws.items():
            if isinstance(law, ClockLaw) and law.anchor is not None:
                found = whole_network_ms(device, workload, mapping)
                assert found == pytest.approx(law.anchor.latency.value, rel=1e-3), (workload, mapping)


@pytest.mark.parametrize("device", JETSONS)
def test_latency_never_rises_and_power_never_falls_with_a_clock(device: str) -> None:
    model = DeviceModel(load_device(device), load_workload("resnet50"))
    for mapping in model.mappings:
        grid = (model.cpu_mhz, model.gpu_mhz, model.mem_mhz)
        latency = model.head_latency_ms(mapping, *grid)[-1]
        power = model.head_energy_mj(mapping, *grid, "board")[-1] / latency
        for axis in range(3):
            assert np.all(np.diff(latency, axis=axis) <= 1e-9), mapping
            if axis != 2 or mapping != "gpu":  # a faster memory clock also raises the traffic's rate
                assert np.all(np.diff(power, axis=axis) >= -1e-9), mapping


@pytest.mark.parametrize("device", JETSONS)
def test_every_coefficient_has_a_source_and_what_is_assumed_a_reason(device: str) -> None:
    for name, coefficient in coefficients_of(load_device(device)).items():
        assert coefficient.source, name
        if coefficient.evidence == "assumed":
            assert coefficient.note, name
            if coefficient.range is not None:
                low, high = coefficient.range
                assert low <= coefficient.value <= high, name


@pytest.mark.parametrize("device", [name for name in JETSONS if name != "jetson-tx2"])
def test_what_is_assumed_has_a_range(device: str) -> None:
    for name, coefficient in coefficients_of(load_device(device)).items():
        assert coefficient.evidence != "assumed" or coefficient.range is not None, name


def test_wall_power_and_board_power_are_told_apart() -> None:
    meters = {}
    for name in JETSONS:
        power = load_device(name).power
        meters[name] = power.meter if power else None
    assert meters["jetson-agx-xavier"] == meters["jetson-nano"] == "wall socket"
    assert meters["jetson-tx2"] == "board input"
    assert meters["jetson-xavier-nx"] == "module input"
    assert meters["jetson-orin-nano"] == meters["jetson-orin-agx"] == meters["jetson-tx2-nx"] == "none"


def test_the_faster_memory_of_the_orin_nano_is_worth_what_was_published() -> None:
    """3199 to 2133 MHz costs 11-48 % of latency (arXiv 2606.16106): the borrowed laws stay near that."""
    model = DeviceModel(load_device("jetson-orin-nano"), load_workload("resnet50"))
    slow, fast = model.head_latency_ms("gpu", model.cpu_mhz[-1], model.gpu_mhz[-1], model.mem_mhz)[-1, 0, 0]
    assert 1.05 < slow / fast < 1.48
