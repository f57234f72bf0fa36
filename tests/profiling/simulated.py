"""A simulated machine: time passes only when something runs, noise comes from a seeded generator."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from dvfo_env.hardware.meters import Meter, Scope
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.profiling.log import MeasurementLog
from dvfo_env.profiling.measure import Bench, Machine, Sample
from dvfo_env.profiling.plan import Network, Place, Plan
from tests.hardware import trees

NETWORK = Network("net", "shipped:net", ("in", "a", "b", "out"), (0, 1, 2, 3), (3, 8, 8))
PLACES = (
    Place("cpu1", "torch", "cpu", "cpu", (1,), "one core"),
    Place("cpu2", "torch", "cpu", "cpu", (0, 1), "two cores"),
)
SEGMENTS_MS = (1.0, 2.0, 3.0)
"""At 1 GHz on one core; two cores take 0.6 of it."""
CUT_COST = 0.02
"""What a head, and a tail, take more than their segments within the whole, of the whole network."""


class World:
    """Time, clocks, power and noise of the simulated machine."""

    def __init__(self, noise: float = 0.01, seed: int = 0, root: Path | None = None) -> None:
        self.now = 0.0
        self.cpu_s = 0.0
        self.mhz: tuple[float, ...] = (1000.0, 0.0, 0.0)
        self.busy_cores = 0
        self.noise = noise
        self.random = random.Random(seed)
        self.root = root
        self.extra_cpu_s = 0.0
        self.others_per_s = 0.0
        self.stolen_per_s = 0.0
        self.visits = 0
        self.stop_after: int | None = None

    def clock(self) -> float:
        return self.now

    def own_cpu_s(self) -> float:
        return 0.0

    def pass_time(self, seconds: float, own: float = 0.0) -> None:
        self.now += seconds
        self.cpu_s += own
        if self.root is not None:
            others = self.now * self.others_per_s
            user = round((self.cpu_s + others) * 100)
            trees.write(self.root, {"proc/stat": trees.stat(2, 0, 0).replace("cpu0 0", f"cpu0 {user}", 1)})
            if self.stolen_per_s:
                stolen = round(self.now * self.stolen_per_s * 100)
                trees.write(self.root, {"proc/stat": trees.stat(2, 0, stolen)})

    def set(self, mhz: Sequence[float]) -> None:
        self.mhz = tuple(mhz)

    def current_mhz(self) -> tuple[float | None, ...]:
        return self.mhz

    def power_mw(self) -> float:
        ghz = self.mhz[0] / 1000.0
        voltage = 1.0 + 0.5 * (ghz - 0.5)
        top = 1.0 + 0.5 * 0.5
        return 2000.0 + (300.0 * (self.busy_cores > 0) + 700.0 * self.busy_cores) * ghz * (voltage / top) ** 2

    def benches(self, network: Network, plan: Plan) -> Mapping[str, Bench]:
        return {place.name: SimulatedBench(self, place) for place in plan.places}

    def machine(self, meters: tuple[Meter, ...] = ()) -> Machine:
        sysfs = SysFs(self.root) if self.root else SysFs(Path("/nonexistent"))
        return Machine(sysfs, (0, 1), self, meters, self.clock, self.own_cpu_s, self.pass_time)


class SimulatedBench:
    """Times the whole, head and tail at one cut a visit; a cut costs the head and the tail `cut_cost` each.

    `drift` multiplies all times, as a function of the world's time.
    """

    def __init__(
        self,
        world: World,
        place: Place,
        cut_cost: float = CUT_COST,
        drift: Callable[[float], float] = lambda now: 1.0,
        loop_ms: float = 2.0,
    ) -> None:
        self._world = world
        self._factor = 1.0 if len(place.cpus) == 1 else 0.6
        self._cores = len(place.cpus)
        self._cut_cost = cut_cost
        self._drift = drift
        self._loop_ms = loop_ms

    def visit(self, seconds: float, cuts: Sequence[int]) -> Sample:
        world = self._world
        world.visits += 1
        if world.stop_after is not None and world.visits > world.stop_after:
            raise KeyboardInterrupt
        unit = self._factor / (world.mhz[0] / 1000.0) * self._drift(world.now)
        unit *= 1.0 + world.random.gauss(0.0, world.noise)
        whole = sum(SEGMENTS_MS)
        cut = cuts[0]
        head = sum(SEGMENTS_MS[:cut]) + self._cut_cost * whole
        times = (whole, head, whole - head + 2.0 * self._cut_cost * whole)
        passes = [
            (cut, *(time * unit * (1.0 + world.random.gauss(0.0, 0.002)) for time in times)) for _ in range(5)
        ]
        world.pass_time(seconds, own=seconds)
        return Sample(passes, self._loop_ms, seconds)

    def burn(self, seconds: float) -> int:
        self._world.busy_cores = self._cores
        self._world.pass_time(seconds, own=seconds)
        return 10

    def close(self) -> None:
        pass


class SimulatedMeter:
    """Reads the world's power exactly at the end of a window."""

    window_s = 1.0

    def __init__(self, world: World, name: str = "INA3221 VDD_IN", scope: Scope = "board") -> None:
        self.name = name
        self.scope = scope
        self._world = world

    def start(self) -> None:
        self._world.busy_cores = 0

    def stop(self) -> float | None:
        return self._world.power_mw()


def plan(cpu_mhz: tuple[float, ...] = (1000.0,), budget_s: float = 60.0, precision: float = 2.0) -> Plan:
    machine = (("processor", "Simulated"), ("kernel", "0"), ("torch", "2.8"))
    return Plan((NETWORK,), PLACES, (cpu_mhz, (), ()), machine, precision, budget_s)


def open_log(path: Path, of: Plan) -> MeasurementLog:
    return MeasurementLog(path, of.hash, of.as_data())


Run = Callable[[World, Plan, Path], MeasurementLog]
