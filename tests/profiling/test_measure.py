"""The loop on a simulated machine: it settles, stops, resumes, and notices when it is not alone."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from pathlib import Path

import pytest

from dvfo_env.errors import MeasurementError
from dvfo_env.profiling.estimates import MIN_VISITS, settled
from dvfo_env.profiling.load import Load, judge
from dvfo_env.profiling.log import read_log
from dvfo_env.profiling.measure import Progress, measure
from dvfo_env.profiling.result import findings
from dvfo_env.profiling.statistics import median, median_interval, noise
from tests.hardware import trees
from tests.profiling.simulated import NETWORK, SimulatedMeter, World, open_log, plan

FEWEST_VISITS = 6 * NETWORK.inner_cuts
"""One cut is visited at a time here, and an interval takes six values."""


def conditions_of(path: Path) -> list[str]:
    return [entry["condition"] for entry in read_log(path) if entry["kind"] == "visit"]


def test_it_runs_until_every_median_is_known_well_enough(tmp_path: Path) -> None:
    world, the_plan = World(noise=0.03), plan(precision=2.0, budget_s=1000.0)
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        assert all(settled(log, NETWORK, condition, 2.0) for condition in the_plan.conditions("net"))
        found = findings(the_plan, log)
    assert world.now < 200.0
    for row in found.rows:
        assert row.visits > MIN_VISITS
        assert row.whole.half_width_percent <= 2.0
        truth = 6.0 * (1.0 if row.condition.place == "cpu1" else 0.6)
        assert row.whole.value == pytest.approx(truth, rel=0.03)


def test_more_noise_takes_more_visits(tmp_path: Path) -> None:
    counts = []
    for each in (0.005, 0.05):
        world, the_plan = World(noise=each), plan(budget_s=1000.0)
        with open_log(tmp_path / str(each), the_plan) as log:
            measure(the_plan, world.machine(), log, world.benches)
        counts.append(world.visits)
    assert counts[0] == 2 * FEWEST_VISITS
    assert counts[1] > counts[0]


def test_the_budget_ends_it_and_what_was_not_reached_is_said(tmp_path: Path) -> None:
    world, the_plan = World(noise=0.5), plan(budget_s=10.0)
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        found = findings(the_plan, log)
    assert world.now == pytest.approx(10.0, abs=1.0)
    assert not any(row.settled for row in found.rows)


def test_every_condition_is_visited_once_even_without_time(tmp_path: Path) -> None:
    world, the_plan = World(), plan(cpu_mhz=(500.0, 1000.0), budget_s=0.001)
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        found = findings(the_plan, log)
    assert sorted(conditions_of(tmp_path / "log")) == sorted(c.key for c in the_plan.conditions("net"))
    for row in found.rows:
        assert row.cuts_left == 1
        first, second, third = row.segments_ms
        assert second == pytest.approx(third)  # the head between them was never timed
        assert first < second


def test_cuts_take_turns_from_coarse_to_fine() -> None:
    cuts = tuple(str(number) for number in range(10))
    network = replace(NETWORK, cuts=cuts, positions=tuple(range(10)))
    assert network.turns == (4, 2, 6, 1, 3, 5, 7, 8)
    assert replace(NETWORK, cuts=("in", "out"), positions=(0, 1)).turns == ()


def test_each_cut_gets_its_turn_also_after_an_interruption(tmp_path: Path) -> None:
    world, the_plan = World(), plan(budget_s=10.0)
    world.stop_after = 3
    with pytest.raises(KeyboardInterrupt), open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
    world.stop_after = None
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        for condition in the_plan.conditions("net"):
            visited = [cut for visit in log.visits_of(condition.key) for cut in visit["cuts"]]
            assert visited == ["1", "2"] * (len(visited) // 2) + ["1"] * (len(visited) % 2)


def test_conditions_are_interleaved_in_a_new_order_every_round(tmp_path: Path) -> None:
    world, the_plan = World(noise=0.05), plan(cpu_mhz=(500.0, 1000.0), budget_s=1000.0)
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
    visited = conditions_of(tmp_path / "log")
    rounds = [tuple(visited[start : start + 4]) for start in range(0, 4 * MIN_VISITS, 4)]
    assert all(len(set(order)) == 4 for order in rounds)
    assert len(set(rounds)) > 2


def test_the_same_machine_gives_the_same_log(tmp_path: Path) -> None:
    logs = []
    for name in ("a", "b"):
        world, the_plan = World(seed=3), plan()
        with open_log(tmp_path / name, the_plan) as log:
            measure(the_plan, world.machine(), log, world.benches)
        logs.append((tmp_path / name).read_bytes())
    assert logs[0] == logs[1]


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    world, the_plan = World(noise=0.03), plan(budget_s=1000.0)
    world.stop_after = 9
    with pytest.raises(KeyboardInterrupt), open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
    first = conditions_of(tmp_path / "log")
    assert len(first) == 9
    again = World(noise=0.03, seed=1)
    with open_log(tmp_path / "log", the_plan) as log:
        assert log.resumed == 9
        measure(the_plan, again.machine(), log, again.benches)
    visited = conditions_of(tmp_path / "log")
    assert visited[:9] == first
    assert len(visited) == 9 + again.visits
    counts = {key: visited.count(key) for key in visited}
    assert min(counts.values()) >= MIN_VISITS


def test_a_line_torn_by_a_power_cut_is_dropped(tmp_path: Path) -> None:
    the_plan, path = plan(), tmp_path / "log"
    with open_log(path, the_plan) as log:
        log.append({"kind": "note", "value": 1})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"kind":"visit","condi')
    with open_log(path, the_plan) as log:
        assert [entry["kind"] for entry in log.entries] == ["plan", "note"]
        log.append({"kind": "note", "value": 2})
    assert [entry.get("value") for entry in read_log(path)] == [None, 1, 2]


def test_a_log_of_another_plan_is_refused(tmp_path: Path) -> None:
    open_log(tmp_path / "log", plan()).close()
    with pytest.raises(MeasurementError, match="holds another plan"):
        open_log(tmp_path / "log", plan(cpu_mhz=(500.0, 1000.0)))


def test_precision_and_budget_do_not_change_the_hash_but_clocks_do() -> None:
    assert plan(budget_s=1.0, precision=9.0).hash == plan().hash
    assert plan(cpu_mhz=(900.0,)).hash != plan().hash


def test_progress_tells_what_is_left(tmp_path: Path) -> None:
    world, the_plan = World(noise=0.06), plan(budget_s=1000.0)
    told: list[Progress] = []
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches, told.append)
    assert told[0].worst_percent is None
    assert told[0].left_s == pytest.approx(the_plan.budget_s, abs=1.0)  # nothing shorter is known yet
    assert told[-1].settled == told[-1].conditions == 2
    assert told[-1].left_s == 0.0
    known = [progress for progress in told[:-1] if progress.worst_percent is not None]
    assert 0.0 < known[-1].left_s < 100.0


def test_power_windows_are_measured_at_every_clock_with_idling_beside_them(tmp_path: Path) -> None:
    world, the_plan = World(), plan(cpu_mhz=(500.0, 1000.0), budget_s=300.0)
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine((SimulatedMeter(world),)), log, world.benches)
        windows = log.of_kind("power")
    states = [(window["state"], tuple(window["clocks"])) for window in windows]
    assert states.count(("idle", (500.0, 0.0, 0.0))) == 3
    assert states.count(("busy", (1000.0, 0.0, 0.0))) == 6


@pytest.mark.parametrize(
    ("others", "stolen", "word"), [(0.5, 0.0, "busy"), (0.0, 0.2, "busy"), (0.0, 0.0, "quiet")]
)
def test_a_busy_machine_is_reported(tmp_path: Path, others: float, stolen: float, word: str) -> None:
    world = World(root=trees.container(tmp_path / "root"))
    world.others_per_s, world.stolen_per_s = others, stolen
    world.pass_time(1.0)
    the_plan = plan()
    with open_log(tmp_path / "log", the_plan) as log:
        measure(the_plan, world.machine(), log, world.benches)
        verdict = findings(the_plan, log).verdict
    assert verdict.text.startswith(word)
    assert verdict.busy == (word == "busy")
    if others:
        assert verdict.others_cpus == pytest.approx(others, abs=0.1)


def test_a_reference_loop_that_does_not_repeat_makes_a_machine_busy() -> None:
    steady = [Load(0.0, 0.0, 1, None, 2.0)] * 20
    slowed = [Load(0.0, 0.0, 1, None, 2.5)] * 5
    assert not judge(steady, ["a"] * 20).busy
    verdict = judge(steady + slowed, ["a"] * 25)
    assert verdict.busy
    assert verdict.disturbed == (False,) * 20 + (True,) * 5
    assert not judge(steady + slowed, ["a"] * 20 + ["b"] * 5).busy  # another clock: no slower than its like


def test_the_interval_of_a_median_is_the_sign_tests() -> None:
    # ranks for 95 % two-sided, e.g. Conover, Practical Nonparametric Statistics: n=6 -> 1, 10 -> 2, 20 -> 6
    for count, rank in ((6, 1), (10, 2), (20, 6)):
        found = median_interval([float(value) for value in range(1, count + 1)])
        assert (found.low, found.high) == (rank, count + 1 - rank)
    assert median_interval([1.0] * 5).low is None


def test_noise_of_a_steady_machine_is_the_medians_interval() -> None:
    order = random.Random(0)
    ratios = []
    for _ in range(40):
        values = [order.gauss(100.0, 1.0) for _ in range(60)]
        ratios.append((noise(values) or 0.0) / (median_interval(values).half_width or 1.0))
    assert min(ratios) == 1.0
    assert sorted(ratios)[20] < 1.5


@pytest.mark.parametrize("correlation_time", [5, 20])
def test_two_runs_of_a_drifting_machine_differ_by_less_than_their_noise(correlation_time: int) -> None:
    order = random.Random(correlation_time)
    decay = math.exp(-1.0 / correlation_time)
    agree = by_interval_alone = 0
    for _ in range(100):
        speed, values = order.gauss(0.0, 1.0), []
        for _ in range(130):
            speed = decay * speed + math.sqrt(1.0 - decay**2) * order.gauss(0.0, 1.0)
            values.append(100.0 + speed + order.gauss(0.0, 0.7))
        first, second = values[:60], values[70:]
        change = abs(median(first) - median(second))
        agree += change <= math.hypot(noise(first) or 0.0, noise(second) or 0.0)
        halves = [median_interval(run).half_width or 0.0 for run in (first, second)]
        by_interval_alone += change <= math.hypot(*halves)
    assert agree >= 93
    assert by_interval_alone < 80


def test_too_few_values_state_no_noise() -> None:
    assert noise([1.0] * 8) is None
    assert noise([1.0] * 9) == 0.0


def test_network_of_the_simulation_has_its_segments() -> None:
    assert NETWORK.segments == ("a", "b", "out")
