"""One board: its clocks with their legal values, its sensors, and what it says now."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dvfo_env.hardware.clocks import DOMAINS, ClockAxis, Domain, current_mhz, discover_clocks
from dvfo_env.hardware.heat import Throttling, Zone, battery_share, temperature_c, thermal_zones
from dvfo_env.hardware.meters import EnergyCounter, energy_counters, power_rails, whole_device_mw
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import CPU, Topology, process_cpus
from dvfo_env.hardware.topology import discover as discover_topology

#: The governor under which energy-aware scheduling works; any other one switches it off.
#: https://docs.kernel.org/scheduler/sched-energy.html
EAS_GOVERNOR = "schedutil"

#: Two clocks that differ by less are the same one, written with fewer digits.
SAME_CLOCK = 1e-3


@dataclass(frozen=True)
class Reading:
    """What the board says at one moment; None and missing keys are what it cannot say.

    Attributes:
        at_s: time of the reading by the monotonic clock.
        temperatures_c: by thermal zone.
        power_mw: by rail, now; RAPL's counters as the mean since the reading before.
        throttled: whether the machine slows itself down; None where nothing tells.
    """

    at_s: float
    cpu_mhz: float | None
    gpu_mhz: float | None
    mem_mhz: float | None
    temperatures_c: Mapping[str, float]
    power_mw: Mapping[str, float]
    battery_share: float | None
    throttled: bool | None

    @property
    def hottest_c(self) -> float | None:
        """Highest temperature of all zones."""
        return max(self.temperatures_c.values(), default=None)

    @property
    def device_mw(self) -> float | None:
        """Power of the whole device, or of all its rails where no sensor sees the whole."""
        return whole_device_mw(self.power_mw)


class Board:
    """Found with `discover`. Reads whatever is there; `Governor` is what writes.

    Attributes:
        topology: the board's cores; `usable`: those of them that this process may run on.
        knobs: by domain, the legal clocks, whether they may be chosen, and if not, why (`reason`).
        zones: thermal zones with the temperature from which each counts as too hot.
    """

    def __init__(
        self,
        sysfs: SysFs,
        topology: Topology,
        knobs: dict[Domain, ClockAxis],
        usable: Topology | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sysfs = sysfs
        self.topology = topology
        self.knobs = knobs
        self.usable = usable or topology
        self.zones: tuple[Zone, ...] = thermal_zones(sysfs)
        self._rails = power_rails(sysfs)
        self._counters = energy_counters(sysfs)
        self._throttling = Throttling(sysfs)
        self._clock = clock
        self._counted: dict[str, tuple[float, int]] = {}

    @classmethod
    def discover(cls, root: Path = Path("/"), sysfs: SysFs | None = None) -> Board:
        """Look at this machine, or at a copy of another's files below `root`."""
        sysfs = sysfs or SysFs(root)
        usable = topology = discover_topology(sysfs)
        if sysfs.root != Path("/"):  # a copy's cores are not those this process may run on
            online, mine = sysfs.cpus(f"{CPU}/online"), process_cpus()
            topology = discover_topology(sysfs, online or None)
            usable = discover_topology(sysfs, online & mine or mine)
        return cls(sysfs, topology, discover_clocks(sysfs), usable)

    @property
    def sensors(self) -> tuple[str, ...]:
        """Names of everything that shows power."""
        return (*self._rails, *self._counters)

    def reading(self, power: bool = True) -> Reading:
        """What the board says now. Rails on an I2C bus take their time; `power=False` leaves them out."""
        now = self._clock()
        cpu_mhz, gpu_mhz, mem_mhz = self.clocks_mhz()
        temperatures = {zone.name: temperature_c(self.sysfs, zone) for zone in self.zones}
        return Reading(
            at_s=now,
            cpu_mhz=cpu_mhz,
            gpu_mhz=gpu_mhz,
            mem_mhz=mem_mhz,
            temperatures_c={name: value for name, value in temperatures.items() if value is not None},
            power_mw=self._power_mw(now) if power else {},
            battery_share=battery_share(self.sysfs),
            throttled=self._throttling() if self._throttling.known else None,
        )

    def clocks_mhz(self) -> tuple[float | None, float | None, float | None]:
        """CPU, GPU and memory clock now, and nothing else: two or three files."""
        clocks = current_mhz(self.sysfs, self.knobs)
        return clocks["cpu"], clocks["gpu"], clocks["memory"]

    def _power_mw(self, now: float) -> dict[str, float]:
        read = {name: rail() for name, rail in self._rails.items()}
        found = {name: value for name, value in read.items() if value is not None}
        for name, counter in self._counters.items():
            value = self.sysfs.integer(counter.path)
            if value is None:
                continue
            mean = self._mean_mw(name, counter, now, value)
            self._counted[name] = (now, value)
            if mean is not None:
                found[name] = mean
        return found

    def _mean_mw(self, name: str, counter: EnergyCounter, now: float, value: int) -> float | None:
        if name not in self._counted:
            return None
        before_s, before = self._counted[name]
        return counter.since(before, value) / (now - before_s) / 1e3 if now > before_s else None

    def too_hot(self, reading: Reading, limit_c: float | None = None, below_c: float = 0.0) -> str | None:
        """The zone that is at or above its limit, in words; None where none is.

        `limit_c` replaces the zones' own limits, `below_c` lowers every limit: what began
        at a limit ends some way below it.
        """
        for zone in self.zones:
            celsius = reading.temperatures_c.get(zone.name)
            limit = zone.limit_c if limit_c is None else limit_c
            if celsius is not None and limit is not None and celsius >= limit - below_c:
                return f"{zone.name} is at {celsius:g} C (limit {limit:g} C)"
        return None

    def choices(self, domain: Domain, clocks_mhz: Sequence[float]) -> tuple[bool, ...]:
        """Which of a policy's clocks it may choose here: the legal ones, always at least one.

        Where the clock cannot be set that is the one nearest to what stands now, the highest where that is
        not known. Where none is legal it is the one nearest to what the highest would be snapped down to.
        """
        axis = self.knobs[domain]
        if axis.settable:
            legal = [abs(axis.snapped_down(mhz) / mhz - 1.0) < SAME_CLOCK for mhz in clocks_mhz]
            if any(legal):
                return tuple(legal)
            wanted = axis.snapped_down(max(clocks_mhz))
        else:
            stands = current_mhz(self.sysfs, self.knobs)[domain] or (axis.mhz[-1] if axis.mhz else None)
            wanted = max(clocks_mhz) if stands is None else stands
        nearest = min(clocks_mhz, key=lambda mhz: abs(mhz - wanted))
        return tuple(mhz == nearest for mhz in clocks_mhz)

    def mask(self, domain: Domain, reason: str) -> None:
        """Take a domain from the choices, because it turned out that it cannot be set."""
        self.knobs[domain] = replace(self.knobs[domain], settable=False, reason=reason)

    def written_files(self) -> tuple[str, ...]:
        """Every file that setting the clocks of this board writes, whether this process may or not."""
        return tuple(
            path for domain in DOMAINS for knob in self.knobs[domain].knobs for path in knob.written_files
        )

    def notes(self) -> tuple[str, ...]:
        """What somebody should know before clocks are set here, one line each."""
        found = []
        uneven = len({cluster.speed for cluster in self.topology.clusters}) > 1
        for knob in self.knobs["cpu"].knobs:
            governor = self.sysfs.read(f"{knob.folder}/{knob.governor}")
            name = knob.folder.rsplit("/", 1)[-1]
            if uneven and governor is not None and governor != EAS_GOVERNOR:
                found.append(
                    f"{name}: governor {governor}: energy-aware scheduling between unlike cores needs "
                    f"{EAS_GOVERNOR}"
                )
            elif governor == "userspace":
                found.append(f"{name}: governor userspace: another program sets this clock within the limits")
        if uneven and self.sysfs.integer("proc/sys/kernel/sched_energy_aware") == 0:
            found.append("energy-aware scheduling is off (/proc/sys/kernel/sched_energy_aware is 0)")
        for domain in DOMAINS:
            for knob in self.knobs[domain].knobs:
                low, high = (self.sysfs.integer(path) for path in knob.limit_files)
                if not knob.held and low is not None and low == high and len(knob.points) > 1:
                    found.append(f"{knob.folder}: both limits are {low} already (jetson_clocks or the like?)")
        return tuple(found)
