"""Profiles pinned to what was measured: the same device where it was measured, and nothing else."""

from __future__ import annotations

import pytest

from dvfo_env.devices import DeviceModel, load_device, predict
from dvfo_env.devices.provenance import coefficients_of
from dvfo_env.workloads import load_workload

JETSONS = ("jetson-agx-xavier", "jetson-nano", "jetson-tx2")


def assumed(name: str, workload: str) -> set[str]:
    found = coefficients_of(load_device(name), workload)
    return {key for key, coefficient in found.items() if coefficient.evidence == "assumed"}


@pytest.mark.parametrize("name", ["jetson-agx-xavier-pinned", "jetson-nano-pinned"])
def test_only_the_delay_of_a_new_gpu_clock_is_assumed(name: str) -> None:
    never = {"cpu.effect_delay_ms", "memory.effect_delay_ms"}  # clocks with one value
    assert assumed(name, "mobilenet-v2") == {"gpu.effect_delay_ms"} | never


def test_of_the_tx2_delays_and_the_encoder_are_assumed() -> None:
    delays = {f"{clock}.effect_delay_ms" for clock in ("cpu", "gpu", "memory")}
    assert assumed("jetson-tx2-pinned", "vgg19") == delays | {"encoder_ms_ghz"}


def test_nothing_that_a_pi5s_rail_reaches_is_assumed() -> None:
    found = assumed("raspberry-pi-5-pinned", "mobilenet-v2")
    assert {name for name in found if not name.startswith("power.board.")} == {"cpu.effect_delay_ms"}


@pytest.mark.parametrize("name", JETSONS)
def test_a_pinned_jetson_is_the_whole_one_at_those_clocks(name: str) -> None:
    whole, pinned = load_device(name), load_device(f"{name}-pinned")
    assert pinned.cpu is not None
    assert pinned.gpu is not None
    assert pinned.memory is not None
    for workload in pinned.latency:
        for gpu in pinned.gpu.mhz:
            for mem in pinned.memory.mhz:
                a, b = (predict(p, workload, "gpu", pinned.cpu.mhz[0], gpu, mem) for p in (whole, pinned))
                assert b["latency_ms"] == pytest.approx(a["latency_ms"], rel=1e-3)
                assert b["power_mw"]["total"] == pytest.approx(a["power_mw"]["total"], rel=1e-3)


@pytest.mark.parametrize(
    ("name", "idle_mw"), [("jetson-agx-xavier-pinned", 9000.0), ("jetson-nano-pinned", 2100.0)]
)
def test_a_waiting_board_takes_what_the_meter_read_before_the_runs(name: str, idle_mw: float) -> None:
    model = DeviceModel(load_device(name), load_workload("mobilenet-v2"))
    clocks = ([mhz[-1]] for mhz in (model.cpu_mhz, model.gpu_mhz, model.mem_mhz))
    assert float(model.idle_power_mw(*clocks, "board").squeeze()) == pytest.approx(idle_mw)


def test_a_pi5_core_draws_what_its_rail_was_metered_at() -> None:
    model = DeviceModel(load_device("raspberry-pi-5-pinned"), load_workload("mobilenet-v2"))
    clocks = ([2400.0], [0.0], [0.0])
    time = model.head_latency_ms("cpu1", *clocks)[-1]
    energy = model.head_energy_mj("cpu1", *clocks, "rails")[-1]
    assert float((energy / time * 1000.0).squeeze()) == pytest.approx(750.0 + 1561.9, rel=1e-3)
    assert float(model.codec_power_mw(*clocks, "rails").squeeze()) == pytest.approx(2311.9, rel=1e-3)
