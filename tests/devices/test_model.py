from __future__ import annotations

import numpy as np
import pytest

from dvfo_env.devices import DeviceModel, load_device
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import load_workload
from tests.devices.small import cpu_only, number

WORKLOADS = ("vgg19", "inception-v4", "resnet50", "yolov3-tiny")
ENERGIES = ("board", "dynamic", "rails")


@pytest.fixture(scope="module", params=WORKLOADS)
def tx2(request: pytest.FixtureRequest) -> DeviceModel:
    return DeviceModel(load_device("jetson-tx2"), load_workload(request.param))


def clocks(model: DeviceModel) -> tuple[tuple[float, ...], ...]:
    return model.cpu_mhz, model.gpu_mhz, model.mem_mhz


def mappings_and_a_composite(model: DeviceModel) -> list[str]:
    middle = model.card.segments[len(model.card.segments) // 2].layers[0]
    return [*model.mappings, f"cpu6>gpu@{middle}", f"gpu>cpu1@{middle}"]


def test_the_tx2_offers_its_clocks_and_mappings(tx2: DeviceModel) -> None:
    assert (len(tx2.cpu_mhz), len(tx2.gpu_mhz), len(tx2.mem_mhz)) == (12, 13, 4)
    assert tx2.mappings == ("gpu", "cpu1", "cpu6")
    assert tx2.effect_delay_ms == (1.0, 5.0, 8.0)


def test_rows_are_cumulative_and_start_at_zero(tx2: DeviceModel) -> None:
    for mapping in mappings_and_a_composite(tx2):
        latency = tx2.head_latency_ms(mapping, *clocks(tx2))
        assert latency.shape == (len(tx2.card.cuts), 12, 13, 4)
        assert np.all(latency[0] == 0.0)
        assert np.all(np.diff(latency, axis=0) >= 0.0)
        assert np.all(latency[-1] > 0.0)


def test_higher_clock_is_never_slower_for_any_cut_and_mapping(tx2: DeviceModel) -> None:
    for mapping in mappings_and_a_composite(tx2):
        latency = tx2.head_latency_ms(mapping, *clocks(tx2))
        for axis in (1, 2, 3):
            assert np.all(np.diff(latency, axis=axis) <= 1e-9), (mapping, axis)


def test_the_layers_sum_to_the_whole_network_at_every_clock(tx2: DeviceModel) -> None:
    law = tx2.profile.latency[tx2.card.name]["gpu"]
    cpu, gpu, mem = (np.asarray(mhz) / 1000.0 for mhz in clocks(tx2))
    p = law.shape.value
    roofline = (law.gpu_ms_ghz.value / gpu[:, None]) ** p + (law.mem_ms_ghz.value / mem[None, :]) ** p
    start = law.t0_ms.value + law.cpu_ms_ghz.value / cpu
    expected = start[:, None, None] + roofline[None] ** (1.0 / p)
    np.testing.assert_allclose(tx2.head_latency_ms("gpu", *clocks(tx2))[-1], expected, rtol=1e-12)


@pytest.mark.parametrize("energy", ENERGIES)
def test_energy_parts_add_up(tx2: DeviceModel, energy: str) -> None:
    for mapping in mappings_and_a_composite(tx2):
        parts = tx2.head_energy_parts_mj(mapping, *clocks(tx2), energy)
        total = tx2.head_energy_mj(mapping, *clocks(tx2), energy)
        assert set(parts) == {"idle", "cpu", "gpu", "memory"}
        np.testing.assert_allclose(sum(parts.values()), total)
        assert np.all(total >= 0.0)
        assert np.all(np.diff(total, axis=0) >= 0.0)


def test_energies_are_nested(tx2: DeviceModel) -> None:
    for mapping in tx2.mappings:
        board, dynamic, rails = (tx2.head_energy_mj(mapping, *clocks(tx2), energy) for energy in ENERGIES)
        assert np.all(board[1:] > dynamic[1:])
        assert np.all(board[1:] > rails[1:])


@pytest.mark.parametrize("energy", ENERGIES)
def test_power_rises_with_clocks_and_load(tx2: DeviceModel, energy: str) -> None:
    idle = tx2.idle_power_mw(*clocks(tx2), energy)
    codec = tx2.codec_power_mw(*clocks(tx2), energy)
    assert idle.shape == codec.shape == (12, 13, 4)
    assert np.all(codec > idle)
    for power in (idle, codec):
        for axis in (0, 1, 2):
            assert np.all(np.diff(power, axis=axis) >= -1e-9)
    if energy == "dynamic":
        assert idle.min() == 0.0


def test_a_composite_pays_both_parts_and_the_copy() -> None:
    model = DeviceModel(load_device("jetson-tx2"), load_workload("resnet50"))
    split = 5
    point = ((2035.2,), (1300.5,), (1866.0,))
    mixed = model.head_latency_ms(f"cpu6>gpu@{model.card.segments[split].layers[0]}", *point)[:, 0, 0, 0]
    cpu, gpu = (model.head_latency_ms(name, *point)[:, 0, 0, 0] for name in ("cpu6", "gpu"))
    cost = model.profile.copies["cpu>gpu"]
    copy = cost.base_ms.value + cost.ms_per_mb.value * float(model.card.elements[split]) * 4.0 / 1e6
    np.testing.assert_allclose(mixed[: split + 1], cpu[: split + 1])
    np.testing.assert_allclose(mixed[split + 1 :], cpu[split] + copy + gpu[split + 1 :] - gpu[split])


def test_a_device_without_gpu_and_clocks_works() -> None:
    model = DeviceModel(cpu_only(), load_workload("resnet50"))
    assert (model.cpu_mhz, model.gpu_mhz, model.mem_mhz) == ((0.0,), (0.0,), (0.0,))
    assert model.effect_delay_ms == (0.0, 0.0, 0.0)
    assert model.mappings == ("both", "one")
    latency = model.head_latency_ms("both", *clocks(model))
    assert latency[-1] == pytest.approx(100.0)
    assert model.head_energy_mj("both", *clocks(model), "board")[-1] == pytest.approx(0.1 * 2100.0)
    assert model.head_energy_mj("both", *clocks(model), "dynamic")[-1] == pytest.approx(0.1 * 1100.0)
    assert model.idle_power_mw(*clocks(model), "board") == pytest.approx(1000.0)
    assert model.codec_power_mw(*clocks(model), "board") == pytest.approx(1600.0)


def test_rail_energy_without_rail_measurements_is_refused() -> None:
    model = DeviceModel(cpu_only(), load_workload("resnet50"))
    with pytest.raises(ConfigError, match="energy 'rails' is not known here"):
        model.idle_power_mw(*clocks(model), "rails")


def test_an_unmeasured_workload_is_refused_with_the_measured_ones() -> None:
    with pytest.raises(ConfigError, match="no latency for workload 'vgg19'; it has resnet50"):
        DeviceModel(cpu_only(), load_workload("vgg19"))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ("npu", "expected one of gpu, cpu1, cpu6, or FIRST>SECOND@LAYER"),
        ("cpu6>npu@conv1_1", "'npu' is not one of"),
        ("cpu6>gpu@nowhere", "has no layer 'nowhere'"),
        ("cpu6>gpu@conv1_1", "nothing is left before layer"),
        ("cpu6>gpu", "expected one of"),
    ],
)
def test_bad_mappings_are_refused(mapping: str, message: str) -> None:
    model = DeviceModel(load_device("jetson-tx2"), load_workload("vgg19"))
    with pytest.raises(ConfigError, match=message):
        model.validate_mapping(mapping)


def test_a_composite_between_cores_without_copy_cost_is_free_on_one_cluster() -> None:
    model = DeviceModel(cpu_only(), load_workload("resnet50"))
    model.validate_mapping(f"both>one@{model.card.segments[3].layers[0]}")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out_of_the_box": "gpu"}, "out_of_the_box 'gpu' is not one of"),
        ({"mappings": {"both": {"kind": "cpu", "cluster": "all", "threads": 3}}}, "more than cores has"),
        ({"mappings": {"both": {"kind": "gpu", "cluster": "all", "threads": 1}}}, "gpu is missing"),
        ({"speed": 3}, "speed: unknown key"),
    ],
)
def test_impossible_profiles_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cpu_only(**changes)


def test_a_law_over_a_clock_the_device_lacks_is_refused() -> None:
    law = {"kind": "clock_law", "mem_ms_ghz": number(1.0), "fit": {"points": 1, "conditions": "test"}}
    with pytest.raises(ConfigError, match="mem_ms_ghz: the device has no such clock"):
        cpu_only(latency={"resnet50": {"both": law}})


def test_a_layer_table_sums_to_its_segments_and_names_a_missing_layer() -> None:
    card = load_workload("resnet50")
    layers = {layer: 1.0 for segment in card.segments for layer in segment.layers}
    fused = card.segments[-1].layers[-1]
    del layers[fused]
    table = {
        "kind": "layer_table",
        "layer_ms": layers,
        "fused": [fused],
        "evidence": "assumed",
        "source": "made up for a test",
        "fit": {"points": 1, "conditions": "test"},
    }
    model = DeviceModel(cpu_only(latency={"resnet50": {"both": table}}), card)
    latency = model.head_latency_ms("both", *clocks(model))[:, 0, 0, 0]
    np.testing.assert_allclose(np.diff(latency)[:-1], card.ops[:-1])
    assert latency[-1] == pytest.approx(len(layers))
    with pytest.raises(ConfigError, match=f"layer '{fused}' of resnet50 is missing"):
        DeviceModel(cpu_only(latency={"resnet50": {"both": {**table, "fused": []}}}), card)


def test_a_layered_law_is_cumulative_and_monotone() -> None:
    profile = load_device("jetson-tx2")
    law = profile.latency["vgg19"]["gpu"].model_copy(update={"split": "layered"})
    changed = profile.model_copy(update={"latency": {"vgg19": {"gpu": law}}})
    model = DeviceModel(changed, load_workload("vgg19"))
    latency = model.head_latency_ms("gpu", *clocks(model))
    for axis, sign in ((0, 1.0), (1, -1.0), (2, -1.0), (3, -1.0)):
        assert np.all(sign * np.diff(latency, axis=axis) >= -1e-9)
