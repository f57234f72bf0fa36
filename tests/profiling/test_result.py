"""From a log to a profile that scenarios can use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_cli.main import main
from dvfo_env.devices import DeviceModel, load_device
from dvfo_env.devices.profile import ClockTable, DeviceProfile, PowerLaw, SegmentTable
from dvfo_env.errors import ConfigError
from dvfo_env.hardware.clocks import DOMAINS, ClockAxis
from dvfo_env.hardware.meters import Meter
from dvfo_env.profiling.compare import compare, loops_beside
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.measure import measure
from dvfo_env.profiling.plan import Plan
from dvfo_env.profiling.power import Watts, power_by_hand, power_measured
from dvfo_env.profiling.result import Findings, build_profile, findings, merged
from dvfo_env.record_yaml import rounded, write_record
from dvfo_env.scenario import load_scenario
from dvfo_env.tables import compile_scenario
from dvfo_env.workloads import load_workload
from dvfo_env.workloads.card import Cut, CutTensor, Segment, WorkloadCard
from tests.profiling.simulated import (
    CUT_COST,
    SEGMENTS_MS,
    SimulatedBench,
    SimulatedMeter,
    World,
    open_log,
    plan,
)

CORES = {"cpu": 2}


def axes(of: Plan) -> dict[str, ClockAxis]:
    return {
        domain: ClockAxis(domain, mhz, len(mhz) > 1, "listed" if len(mhz) > 1 else "nothing to set here", ())
        for domain, mhz in zip(DOMAINS, of.axes, strict=True)
    }


def measured(
    path: Path, of: Plan, world: World | None = None, meters: tuple[Meter, ...] = ()
) -> tuple[Findings, MeasurementLog]:
    world = world or World()
    with open_log(path, of) as log:
        measure(of, world.machine(meters), log, world.benches)
        return findings(of, log), log


def profile_of(of: Plan, found: Findings, power: PowerLaw | None = None) -> DeviceProfile:
    return build_profile("host", of, found, axes(of), CORES, ("CPU 3: offline",), power, "2026-01-01")


def card() -> WorkloadCard:
    def cut(name: str, position: int, elements: int) -> Cut:
        tensors = (CutTensor(name=name, shape=(elements,)),) if elements else ()
        return Cut(name=name, position=position, tensors=tensors, elements=elements)

    segment = {"flops": 10, "traffic_bytes_fp32": 10, "weight_bytes_fp32": 1, "ops": 1}
    return WorkloadCard(
        name="net",
        title="net",
        source="a test",
        counting="by hand",
        checks=(),
        input_shape=(3, 8, 8),
        input_bytes=192,
        answer_bytes=4,
        answer_note="",
        parameters=1,
        cuts=(cut("in", 0, 192), cut("a", 1, 10), cut("b", 2, 5), cut("out", 3, 0)),
        segments=tuple(Segment(**segment, layers=(name,)) for name in ("x", "y", "z")),
    )


def test_segments_are_differences_of_heads_and_sum_to_the_whole(tmp_path: Path) -> None:
    the_plan = plan()
    found, _ = measured(tmp_path / "log", the_plan)
    assert found.all_add_up
    row = found.rows[0]
    assert row.sums_percent == pytest.approx((104.0, 104.0), abs=0.3)  # each piece pays for the cut
    law = profile_of(the_plan, found).latency["net"]["cpu1"]
    assert isinstance(law, SegmentTable)
    assert sum(law.segment_ms.values()) == pytest.approx(row.whole.value, rel=1e-12)
    heads = np.cumsum(list(law.segment_ms.values()))[:-1]
    assert heads == pytest.approx(np.cumsum(SEGMENTS_MS)[:-1] + CUT_COST * 6.0, rel=0.02)
    assert "head and tail take 10" in law.split_note
    low, high = law.range_ms or (0.0, 0.0)
    assert low < row.whole.value < high


def test_heads_and_tails_that_do_not_add_up_are_reported(tmp_path: Path) -> None:
    the_plan, world = plan(), World()
    with open_log(tmp_path / "log", the_plan) as log:
        benches = {place.name: SimulatedBench(world, place, cut_cost=0.06) for place in the_plan.places}
        measure(the_plan, world.machine(), log, lambda network, of: benches)
        found = findings(the_plan, log)
    assert not found.all_add_up
    assert "NOT within 10 %" in profile_of(the_plan, found).latency["net"]["cpu2"].split_note


def test_a_longer_head_never_takes_less_time(tmp_path: Path) -> None:
    the_plan, world = plan(), World()
    path = tmp_path / "log"
    with open_log(path, the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        for entry in log.of_kind("visit"):
            entry["cuts"] = {cut: [{"1": 0.5, "2": 0.4}[cut], 1.0] for cut in entry["cuts"]}
        found = findings(the_plan, log)
    for row in found.rows:
        assert row.segments_ms == pytest.approx([0.45 * row.whole.value, 0.0, 0.55 * row.whole.value])


def test_a_drift_of_the_machine_is_in_the_stated_range(tmp_path: Path) -> None:
    the_plan = plan(precision=0.1)
    widths = []
    for name, drift in (("steady", lambda now: 1.0), ("drifts", lambda now: 1.0 + 0.1 * (now // 10.0 % 2))):
        world = World()
        with open_log(tmp_path / name, the_plan) as log:
            benches = {place.name: SimulatedBench(world, place, drift=drift) for place in the_plan.places}
            measure(the_plan, world.machine(), log, lambda network, of, benches=benches: benches)
            found = findings(the_plan, log)
        low, high = profile_of(the_plan, found).latency["net"]["cpu1"].range_ms
        widths.append((high - low) / found.rows[0].whole.value)
    assert widths[0] < 0.02
    assert widths[1] > 0.1


def test_a_profile_says_what_could_not_be_measured(tmp_path: Path) -> None:
    the_plan = plan()
    found, _ = measured(tmp_path / "log", the_plan)
    profile = profile_of(the_plan, found)
    assert profile.power is None
    assert "Latency only" in profile.description
    assert "cpu clock: one value, nothing to set here" in profile.description
    assert "CPU 3: offline" in profile.description
    assert profile.cpu.mhz == (1000.0,)
    assert profile.out_of_the_box == "cpu2"


def test_clocks_become_a_table_linear_in_the_period(tmp_path: Path) -> None:
    the_plan = plan(cpu_mhz=(500.0, 1000.0, 2000.0))
    found, _ = measured(tmp_path / "log", the_plan, World(noise=0.001))
    profile = profile_of(the_plan, found)
    assert isinstance(profile.latency["net"]["cpu1"], ClockTable)
    model = DeviceModel(profile, card())
    latency = model.head_latency_ms("cpu1", [500.0, 800.0, 1000.0, 2000.0, 4000.0], [0.0], [0.0])[-1, :, 0, 0]
    expected = 6.0 / np.array([0.5, 0.8, 1.0, 2.0, 2.0])
    assert latency == pytest.approx(expected, rel=0.01)


def test_a_profile_survives_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    the_plan = plan(cpu_mhz=(500.0, 1000.0))
    found, _ = measured(tmp_path / "log", the_plan)
    profile = rounded(profile_of(the_plan, found))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    write_record(profile, tmp_path / "dvfo" / "devices" / "host.yaml")
    assert load_device("host") == profile


def test_a_machine_without_a_profile_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(ConfigError, match=r"device 'host'.*host\.yaml.*run dvfo profile first"):
        load_device("host")


def test_power_is_recovered_from_what_a_meter_showed(tmp_path: Path) -> None:
    the_plan, world = plan(cpu_mhz=(500.0, 750.0, 1000.0), budget_s=300.0), World()
    meter = SimulatedMeter(world)
    _, log = measured(tmp_path / "log", the_plan, world, (meter,))
    law = power_measured(the_plan, (meter,), log.entries, CORES)
    assert law.board.base_mw.value == pytest.approx(2000.0)
    assert law.board.cores["cpu"].core_mw.value == pytest.approx(700.0)
    assert law.board.cores["cpu"].cluster_mw.value == pytest.approx(300.0)
    assert law.cpu_voltage.slope_per_ghz.value == pytest.approx(0.5, abs=0.01)
    assert law.board.fit.error_percent == pytest.approx(0.0, abs=0.01)
    assert law.board.base_mw.evidence == "measured"


def test_a_package_meter_says_that_it_does_not_see_the_board(tmp_path: Path) -> None:
    the_plan, world = plan(budget_s=300.0), World()
    meter = SimulatedMeter(world, "RAPL package-0", "package")
    _, log = measured(tmp_path / "log", the_plan, world, (meter,))
    law = power_measured(the_plan, (meter,), log.entries, CORES)
    assert law.rails is None
    assert "not the rest of the board" in law.board.fit.conditions


def test_board_and_rails_are_kept_apart(tmp_path: Path) -> None:
    the_plan, world = plan(budget_s=300.0), World()
    meters = (SimulatedMeter(world), SimulatedMeter(world, "INA3221 rails", "rails"))
    _, log = measured(tmp_path / "log", the_plan, world, meters)
    law = power_measured(the_plan, meters, log.entries, CORES)
    assert law.rails is not None


def test_watts_by_hand_are_labelled_assumed() -> None:
    law = power_by_hand(Watts(idle=3.0, cpu=7.0), plan(), CORES)
    assert law.board.base_mw.evidence == "assumed"
    assert law.board.cores["cpu"].core_mw.value == 2000.0
    assert law.board.cores["cpu"].core_mw.evidence == "assumed"
    with pytest.raises(ConfigError, match=r"--cpu-watts: 2 must be above --idle-watts 3"):
        power_by_hand(Watts(idle=3.0, cpu=2.0), plan(), CORES)


def test_another_network_joins_the_profile_and_another_machine_does_not(tmp_path: Path) -> None:
    the_plan = plan()
    found, _ = measured(tmp_path / "log", the_plan)
    profile = profile_of(the_plan, found)
    other = profile.model_copy(
        update={"latency": {"older": profile.latency["net"]}, "inference": {"older": "x"}}
    )
    both = merged(profile, other)
    assert set(both.latency) == {"net", "older"}
    with pytest.raises(ConfigError, match="--replace forgets"):
        merged(profile, other.model_copy(update={"cores": {"cpu": 4}}))


def test_two_runs_of_a_steady_machine_agree_and_a_slower_one_does_not(tmp_path: Path) -> None:
    the_plan = plan()
    profiles = []
    for seed in (1, 2):
        found, _ = measured(tmp_path / str(seed), the_plan, World(seed=seed))
        profiles.append(profile_of(the_plan, found))
    rows = compare(*profiles, {}, {})
    assert len(rows) == 2
    assert all(row.agrees for row in rows)
    slower_plan = plan(cpu_mhz=(900.0,))
    found, _ = measured(tmp_path / "slow", slower_plan, World(seed=3))
    rows = compare(profiles[0], profile_of(slower_plan, found), {}, {})
    assert not any(row.agrees for row in rows)
    assert rows[0].change_percent == pytest.approx(100.0 * (1 / 0.9 - 1) / ((1 + 1 / 0.9) / 2), abs=2.0)


def test_a_machine_whose_reference_loop_changed_may_differ_by_as_much(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    the_plan, paths = plan(), []
    for name, slower, loop_ms in (("first", 1.0, 2.0), ("second", 1.1, 2.24)):
        world, path = World(noise=0.001), tmp_path / name / "host.yaml"
        with open_log(path.with_name(f"host.{the_plan.hash}.jsonl"), the_plan) as log:
            benches = {
                place.name: SimulatedBench(world, place, drift=lambda now, by=slower: by, loop_ms=loop_ms)
                for place in the_plan.places
            }
            measure(the_plan, world.machine(), log, lambda network, of, benches=benches: benches)
            write_record(rounded(profile_of(the_plan, findings(the_plan, log))), path)
        paths.append(path)
    profiles = [load_device(path) for path in paths]
    rows = compare(*profiles, *map(loops_beside, paths))
    assert [row.loop_percent for row in rows] == pytest.approx([11.3, 11.3], abs=0.1)
    assert rows[0].change_percent == pytest.approx(9.5, abs=0.5)
    assert rows[0].noise_percent < 12.0
    assert not any(row.agrees for row in compare(*profiles, {}, {}))
    assert main(["profile", "--compare", *map(str, paths)]) == 0
    told = capsys.readouterr().out
    assert "change %" in told
    assert "2 of 2 agree" in told


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A latency-only profile of this machine for MobileNetV2, found as `host`."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    the_plan = plan()
    found, _ = measured(tmp_path / "log", the_plan)
    profile = profile_of(the_plan, found)
    names = load_workload("mobilenet-v2").cut_names[1:]
    laws = {
        mapping: law.model_copy(
            update={"segment_ms": {name: 1.0 + index for index, name in enumerate(names)}}
        )
        for mapping, law in profile.latency["net"].items()
    }
    profile = profile.model_copy(update={"latency": {"mobilenet-v2": laws}})
    path = tmp_path / "dvfo" / "devices" / "host.yaml"
    write_record(profile, path)
    return path


def on_host(**objective: float):
    scenario = load_scenario("tx2-resnet50-wifi-30fps", device="host", workload="mobilenet-v2")
    return scenario.model_copy(update={"objective": scenario.objective.model_copy(update=objective)})


def test_an_energy_weighted_scenario_is_refused_where_nothing_measured_energy(host: Path) -> None:
    with pytest.raises(ConfigError, match=r"objective\.eta: 0\.5 needs energy, but .*'host' is latency only"):
        compile_scenario(on_host(eta=0.5))


def test_a_latency_scenario_runs_where_nothing_measured_energy(host: Path) -> None:
    tables = compile_scenario(on_host(eta=0.0))
    assert np.isfinite(tables.head).all()
    assert tables.head[..., 1:].max() == 0.0
    assert tables.reference_latency_ms > 0.0
