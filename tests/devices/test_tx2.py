"""Claims about the shipped Jetson TX2 profile against quoted figures; no raw measurement is needed.

The figures are from thynics/jetson_dvfs (TensorRT, CPU at 2.035 GHz): latency in ms, board power in W.
"""

from __future__ import annotations

import numpy as np
import pytest

from dvfo_env.devices import DeviceModel, describe, list_devices, load_device, opening_lines, predict
from dvfo_env.devices.provenance import coefficients_of
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import load_workload

QUOTED_LATENCY_MS = [
    ("vgg19", 114.75, 1062.4, 577.1),
    ("vgg19", 930.75, 1866.0, 79.6),
    ("vgg19", 1300.5, 1062.4, 99.4),
    ("vgg19", 1300.5, 1866.0, 67.2),
    ("yolov3-tiny", 522.75, 1600.0, 27.2),
    ("yolov3-tiny", 1300.5, 1866.0, 13.1),
    ("inception-v4", 114.75, 1866.0, 679.6),
    ("inception-v4", 1032.75, 1331.2, 84.3),
    ("resnet50", 624.75, 1062.4, 36.4),
    ("resnet50", 1300.5, 1866.0, 18.7),
]
QUOTED_VGG19_BOARD_W = [(114.75, 5.25), (522.75, 8.36), (930.75, 11.22), (1300.5, 15.91)]


def tx2(workload: str) -> DeviceModel:
    return DeviceModel(load_device("jetson-tx2"), load_workload(workload))


@pytest.mark.parametrize(("workload", "gpu_mhz", "mem_mhz", "latency_ms"), QUOTED_LATENCY_MS)
def test_latency_is_within_three_percent_of_quoted_points(
    workload: str, gpu_mhz: float, mem_mhz: float, latency_ms: float
) -> None:
    predicted = tx2(workload).head_latency_ms("gpu", 2035.2, gpu_mhz, mem_mhz)[-1, 0, 0, 0]
    assert predicted == pytest.approx(latency_ms, rel=0.03)


@pytest.mark.parametrize(("gpu_mhz", "watts"), QUOTED_VGG19_BOARD_W)
def test_vgg19_board_power_is_within_five_percent_of_quoted_points(gpu_mhz: float, watts: float) -> None:
    power = predict("jetson-tx2", "vgg19", "gpu", 2035.2, gpu_mhz, 1866.0)["power_mw"]["total"]
    assert power / 1000.0 == pytest.approx(watts, rel=0.05)


def test_vgg19_board_energy_is_least_between_800_and_1000_mhz() -> None:
    model = tx2("vgg19")
    energy = model.head_energy_mj("gpu", 2035.2, model.gpu_mhz, 1866.0, "board")[-1, 0, :, 0]
    assert 800.0 < model.gpu_mhz[int(energy.argmin())] < 1000.0
    assert energy.min() == pytest.approx(894.0, rel=0.03)
    assert energy.min() / energy[-1] - 1.0 == pytest.approx(-0.16, abs=0.03)


def test_counting_less_of_the_board_makes_a_lower_clock_pay_more() -> None:
    model = tx2("vgg19")
    saving = {}
    for energy in ("board", "dynamic", "rails"):
        values = model.head_energy_mj("gpu", 2035.2, model.gpu_mhz, 1866.0, energy)[-1, 0, :, 0]
        saving[energy] = 1.0 - values.min() / values[-1]
    assert saving["board"] < saving["dynamic"] < saving["rails"]


@pytest.mark.parametrize("workload", ["vgg19", "inception-v4", "resnet50", "yolov3-tiny"])
def test_memory_clock_has_no_effect_below_320_mhz_gpu(workload: str) -> None:
    model = tx2(workload)
    slow = [mhz for mhz in model.gpu_mhz if mhz < 320.0]
    latency = model.head_latency_ms("gpu", 2035.2, slow, model.mem_mhz)[-1, 0]
    assert np.all(latency.max(axis=1) / latency.min(axis=1) < 1.02)


def test_memory_clock_matters_when_the_gpu_is_fast() -> None:
    latency = tx2("vgg19").head_latency_ms("gpu", 2035.2, 1300.5, (1062.4, 1866.0))[-1, 0, 0]
    assert latency[0] / latency[1] == pytest.approx(1.48, abs=0.05)


def test_quiet_idle_is_as_measured() -> None:
    model = tx2("vgg19")
    idle = model.idle_power_mw(2035.2, 1300.5, model.mem_mhz, "board")[0, 0] / 1000.0
    np.testing.assert_allclose(idle, [2.0, 2.2, 2.6, 3.4], atol=0.1)


def test_core_mapping_is_a_real_choice() -> None:
    gpu, cpu6, cpu1 = (
        predict("jetson-tx2", "resnet50", mapping, 2035.2, 1300.5, 1866.0)
        for mapping in ("gpu", "cpu6", "cpu1")
    )
    assert gpu["latency_ms"] < cpu6["latency_ms"] < cpu1["latency_ms"]
    assert cpu1["power_mw"]["total"] < cpu6["power_mw"]["total"] < gpu["power_mw"]["total"]


def test_every_coefficient_has_a_source_and_fits_have_errors() -> None:
    profile = load_device("jetson-tx2")
    coefficients = coefficients_of(profile)
    assert len(coefficients) > 50
    for name, coefficient in coefficients.items():
        assert coefficient.source, name
        if coefficient.evidence == "fitted" and not name.startswith(("thermal.", "power.dram_gb.")):
            assert coefficient.error_percent is not None, name
            assert coefficient.holdout_error_percent is not None, name
        if coefficient.evidence == "assumed":
            assert coefficient.note, name


def test_what_nobody_measured_is_labelled_assumed() -> None:
    coefficients = coefficients_of(load_device("jetson-tx2"))
    for name in (
        "latency.vgg19.gpu.cpu_ms_ghz",
        "latency.vgg19.cpu6.cpu_ms_ghz",
        "power.cpu_voltage.slope_per_ghz",
        "power.board.activity.resnet50",
        "power.board.cores.cpu.core_mw",
        "copies.cpu>gpu.base_ms",
        "gpu.effect_delay_ms",
    ):
        assert coefficients[name].evidence == "assumed", name
    assert coefficients["latency.resnet50.cpu6.cpu_ms_ghz"].evidence == "measured"
    assert all(trip.evidence == "assumed" for trip in load_device("jetson-tx2").thermal.trips)


def test_a_model_lists_only_what_its_workload_uses() -> None:
    names = tx2("resnet50").coefficients()
    assert "latency.resnet50.gpu.gpu_ms_ghz" in names
    assert "power.board.base_mw" in names
    assert not [name for name in names if "vgg19" in name]


def test_the_held_out_errors_in_the_profile_reach_the_bar() -> None:
    profile = load_device("jetson-tx2")
    for workload in ("vgg19", "inception-v4", "yolov3-tiny", "resnet50"):
        assert profile.latency[workload]["gpu"].fit.holdout_error_percent <= 1.0
    assert profile.power.board.fit.holdout_error_percent <= 5.0


def test_describe_shows_every_coefficient_and_opens_with_the_evidence() -> None:
    profile = load_device("jetson-tx2")
    rows = describe(profile)
    assert {row["name"] for row in rows} == set(coefficients_of(profile))
    lines = opening_lines(profile)
    assert f"{sum(row['evidence'] == 'assumed' for row in rows)} assumed" in lines[1]


def test_predict_gives_parts_that_add_up() -> None:
    result = predict("jetson-tx2", "resnet50", "gpu", 2035.2, 1300.5, 1866.0, cut=3)
    for key in ("power_mw", "energy_mj"):
        parts = result[key]
        assert parts["total"] == pytest.approx(parts["idle"] + parts["cpu"] + parts["gpu"] + parts["memory"])
    by_name = predict("jetson-tx2", "resnet50", "gpu", 2035.2, 1300.5, 1866.0, cut=result["cut"])
    assert by_name == result


def test_predict_at_the_raw_input_is_idle() -> None:
    result = predict("jetson-tx2", "resnet50", "gpu", 2035.2, 1300.5, 1866.0, cut=0)
    assert result["latency_ms"] == 0.0
    assert result["energy_mj"]["total"] == 0.0
    assert result["power_mw"]["total"] == result["power_mw"]["idle"] > 3000.0


@pytest.mark.parametrize(
    ("point", "message"),
    [
        ((2000.0, 1300.5, 1866.0), "cpu_mhz: 2000, expected one of 345.6, 499.2"),
        ((2035.2, 1300.0, 1866.0), "gpu_mhz: 1300, expected one of 114.75"),
        ((2035.2, 1300.5, None), "mem_mhz: nothing given, expected one of 1062.4"),
        ((2035.2, 1300.5, 800.0), "mem_mhz: 800, expected one of 1062.4, 1331.2, 1600, 1866"),
    ],
)
def test_clocks_that_are_not_offered_are_refused(point: tuple[float, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        predict("jetson-tx2", "vgg19", "gpu", *point)


@pytest.mark.parametrize("cut", ["nowhere", 99, "-99"])
def test_unknown_cuts_are_refused(cut: str | int) -> None:
    with pytest.raises(ConfigError, match="cut: "):
        predict("jetson-tx2", "vgg19", "gpu", 2035.2, 1300.5, 1866.0, cut=cut)


def test_an_unknown_device_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"device 'tx9' is not known; known devices: .*jetson-tx2"):
        load_device("tx9")
    assert "jetson-tx2" in list_devices()
