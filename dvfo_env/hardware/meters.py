"""What can measure power here: RAPL, INA3221 and other hwmon sensors, the battery."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from dvfo_env.hardware.sysfs import SysFs

Scope = Literal["board", "package", "rails"]

POWERCAP = "sys/class/powercap"
HWMON = "sys/class/hwmon"
BATTERY = "sys/class/power_supply"

#: Rails that carry the whole board's input where a sensor chip has one.
_INPUT_RAIL = re.compile(r"^(VDD_IN|POM_5V_IN|VIN_SYS|VBUS|VCC_IN)", re.IGNORECASE)
_NOT_A_RAIL = re.compile(r"^NC$|^sum", re.IGNORECASE)

#: hwmon drivers that measure what a board or its rails draw; graphics cards and supplies have hwmon too.
_POWER_CHIPS = re.compile(r"^(ina\d|ltc\d|adm1\d|macsmc|scmi_sensors|power_meter)", re.IGNORECASE)

#: Time between two readings of a sensor that shows power rather than counting energy.
SAMPLE_S = 0.02


class Meter(Protocol):
    """One way to know power.

    `scope` says what is inside: the whole board, the processor package, or compute rails. `window_s` is the
    shortest time worth measuring over.
    """

    name: str
    scope: Scope
    window_s: float

    def start(self) -> None:
        """Begin a window."""

    def stop(self) -> float | None:
        """End it: mean power (mW) since `start`, or None where nothing could be read."""


@dataclass(frozen=True)
class EnergyCounter:
    """An energy counter in microjoules that wraps after `wrap_uj`."""

    path: str
    wrap_uj: int

    def since(self, before: int, after: int) -> int:
        """Energy (uJ) between two readings."""
        return after - before if after >= before else after - before + self.wrap_uj + 1


class EnergyCounters:
    """RAPL and other energy counters: mean power is energy over time, whatever happened in between."""

    window_s = 1.0

    def __init__(
        self,
        sysfs: SysFs,
        name: str,
        scope: Scope,
        counters: tuple[EnergyCounter, ...],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.scope = scope
        self._sysfs = sysfs
        self._counters = counters
        self._clock = clock
        self._before: list[int | None] = []
        self._begun = 0.0

    def start(self) -> None:
        """Read every counter."""
        self._before = [self._sysfs.integer(counter.path) for counter in self._counters]
        self._begun = self._clock()

    def stop(self) -> float | None:
        """Mean power (mW) since `start`; None where a counter could not be read."""
        after = [self._sysfs.integer(counter.path) for counter in self._counters]
        seconds = self._clock() - self._begun
        energy_uj = 0
        for counter, first, last in zip(self._counters, self._before, after, strict=True):
            if first is None or last is None:
                return None
            energy_uj += counter.since(first, last)
        return energy_uj / seconds / 1e3 if seconds > 0.0 else None


class PowerSensors:
    """Sensors that show power: their sum is read by a thread during the window, and the mean of it counts."""

    def __init__(
        self,
        name: str,
        scope: Scope,
        read_mw: Callable[[], float | None],
        window_s: float = 1.0,
        sample_s: float = SAMPLE_S,
    ) -> None:
        self.name = name
        self.scope = scope
        self.window_s = window_s
        self._read_mw = read_mw
        self._sample_s = sample_s
        self._samples: list[float] = []
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to sample."""
        self._samples = []
        self._ended.clear()
        self._sample()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> float | None:
        """Mean power (mW) of the samples, or None where there were none."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        self._sample()
        return sum(self._samples) / len(self._samples) if self._samples else None

    def _run(self) -> None:
        while not self._ended.wait(self._sample_s):
            self._sample()

    def _sample(self) -> None:
        value = self._read_mw()
        if value is not None:
            self._samples.append(value)


def discover_meters(
    sysfs: SysFs, clock: Callable[[], float] = time.monotonic
) -> tuple[tuple[Meter, ...], tuple[str, ...]]:
    """Meters that can be read now, widest scope first, and a line for each that cannot be used."""
    meters: list[Meter] = []
    notes: list[str] = []
    _rapl(sysfs, meters, notes, clock)
    _hwmon(sysfs, meters)
    _ina3221_iio(sysfs, meters)
    _battery(sysfs, meters, notes)
    order = {"board": 0, "package": 1, "rails": 2}
    return tuple(sorted(meters, key=lambda meter: order[meter.scope])), tuple(notes)


def _rapl(sysfs: SysFs, meters: list[Meter], notes: list[str], clock: Callable[[], float]) -> None:
    """Packages and memory beside them make one meter, `psys` another."""
    counters = energy_counters(sysfs, notes)
    platform = {name: counter for name, counter in counters.items() if name.startswith("psys")}
    package = {name: counter for name, counter in counters.items() if name not in platform}
    if platform:
        meters.append(EnergyCounters(sysfs, "RAPL psys", "board", tuple(platform.values()), clock))
    if package:
        name = f"RAPL {' + '.join(package)}"
        meters.append(EnergyCounters(sysfs, name, "package", tuple(package.values()), clock))


def energy_counters(sysfs: SysFs, notes: list[str] | None = None) -> dict[str, EnergyCounter]:
    """RAPL's counters by name: packages, memory beside them, and `psys`, the platform where it is wired.

    A line for each that cannot be read is added to `notes`.
    https://docs.kernel.org/power/powercap/powercap.html
    """
    found: dict[str, EnergyCounter] = {}
    for zone in sysfs.folders(f"{POWERCAP}/intel-rapl:*"):
        name = sysfs.read(f"{zone}/name") or ""
        if not (name.startswith("package") or name in ("psys", "dram")):
            continue
        wrap = sysfs.integer(f"{zone}/max_energy_range_uj")
        path = f"{zone}/energy_uj"
        if sysfs.integer(path) is None or wrap is None:
            if notes is not None:
                notes.append(f"/{path}: cannot be read (root can)")
            continue
        found[name if name not in found else f"{name} {zone.rsplit('intel-rapl', 1)[-1]}"] = EnergyCounter(
            path, wrap
        )
    return found


def power_rails(sysfs: SysFs) -> dict[str, Callable[[], float | None]]:
    """Sensors that show power now, by rail: a function that reads each, in milliwatts, batteries included."""
    supplies = {f"battery {supply.rsplit('/', 1)[-1]}": supply for supply in batteries(sysfs)}
    return (
        hwmon_rails(sysfs)[0]
        | iio_rails(sysfs)
        | {name: _while_discharging(sysfs, supply) for name, supply in supplies.items()}
    )


def whole_device_mw(rails: Mapping[str, float]) -> float | None:
    """Power of the whole device from its rails: input rail, psys or battery; else the sum of what there is.

    As jetson_stats counts it: without an input rail the total is the sum of the rails.
    """
    inputs = [power for name, power in rails.items() if _INPUT_RAIL.match(name)]
    if inputs:
        return sum(inputs)
    for start in ("psys", "battery"):
        found = [power for name, power in rails.items() if name.startswith(start)]
        if found:
            return sum(found)
    return sum(rails.values()) if rails else None


def _hwmon(sysfs: SysFs, meters: list[Meter]) -> None:
    rails, chips = hwmon_rails(sysfs)
    _from_rails(rails, chips, meters)


def hwmon_rails(sysfs: SysFs) -> tuple[dict[str, Callable[[], float | None]], str]:
    """INA3221 (volts times amperes per rail) and sensors that show power, rail by rail; the chips' names."""
    rails: dict[str, Callable[[], float | None]] = {}
    chips: list[str] = []
    for chip in sysfs.folders(f"{HWMON}/hwmon*"):
        name = sysfs.read(f"{chip}/name") or ""
        if not _POWER_CHIPS.match(name):
            continue
        before = len(rails)
        for path in sysfs.folders(f"{chip}/curr*_input"):
            number = path.removesuffix("_input").rsplit("curr", 1)[1]
            label = sysfs.read(f"{chip}/in{number}_label") or sysfs.read(f"{chip}/curr{number}_label")
            volts = f"{chip}/in{number}_input"
            if sysfs.exists(f"{chip}/power{number}_input") or not sysfs.exists(volts):
                continue
            if not _NOT_A_RAIL.match(label or ""):
                rails[label or f"{name} channel {number}"] = _product(sysfs, volts, path, 1e-3)
        for path in sysfs.folders(f"{chip}/power*_input"):
            label = sysfs.read(f"{path.removesuffix('_input')}_label") or f"{name} power"
            if not _NOT_A_RAIL.match(label):
                rails[label] = _scaled(sysfs, path, 1e-3)  # microwatts
        if len(rails) > before:
            chips.append(name)
    return rails, " + ".join(dict.fromkeys(chips))


def _ina3221_iio(sysfs: SysFs, meters: list[Meter]) -> None:
    _from_rails(iio_rails(sysfs), "INA3221", meters)


def iio_rails(sysfs: SysFs) -> dict[str, Callable[[], float | None]]:
    """INA3221 as NVIDIA's kernels before 5.10 show it: milliwatts and a name per rail."""
    rails: dict[str, Callable[[], float | None]] = {}
    for device in sysfs.folders("sys/bus/i2c/drivers/ina3221x/*/iio:device*"):
        for path in sysfs.folders(f"{device}/in_power*_input"):
            number = path.removesuffix("_input").rsplit("in_power", 1)[1]
            label = sysfs.read(f"{device}/rail_name_{number}") or f"channel {number}"
            if not _NOT_A_RAIL.match(label):
                rails[label] = _scaled(sysfs, path, 1.0)
    return rails


def _from_rails(rails: dict[str, Callable[[], float | None]], chips: str, meters: list[Meter]) -> None:
    """The input rail is the board; without one, all rails together are what is known of it."""
    readable = {label: read for label, read in rails.items() if read() is not None}
    if not readable:
        return
    inputs = {label: read for label, read in readable.items() if _INPUT_RAIL.match(label)}
    rest = {label: read for label, read in readable.items() if label not in inputs}
    for scope, chosen in (("board", inputs), ("rails", rest)):
        if chosen:
            name = f"{chips} {' + '.join(chosen)}"
            meters.append(
                PowerSensors(name, "board" if scope == "board" else "rails", _sum(tuple(chosen.values())))
            )


def _battery(sysfs: SysFs, meters: list[Meter], notes: list[str]) -> None:
    """What a discharging battery delivers is what the whole device draws."""
    for supply in batteries(sysfs):
        name = supply.rsplit("/", 1)[-1]
        status = sysfs.read(f"{supply}/status")
        if status != "Discharging":
            notes.append(f"battery {name}: {status or 'no status'}; it measures only while it discharges")
            continue
        read = _drawn(sysfs, supply)
        if read() is None:
            notes.append(f"battery {name}: shows neither power_now nor current_now")
            continue
        meters.append(PowerSensors(f"battery {name}", "board", read, window_s=20.0, sample_s=0.5))


def batteries(sysfs: SysFs) -> tuple[str, ...]:
    """Folders of the batteries that feed this machine (a mouse has one too)."""
    return tuple(
        supply
        for supply in sysfs.folders(f"{BATTERY}/*")
        if sysfs.read(f"{supply}/type") == "Battery" and sysfs.read(f"{supply}/scope") != "Device"
    )


def _drawn(sysfs: SysFs, supply: str) -> Callable[[], float | None]:
    read = _scaled(sysfs, f"{supply}/power_now", 1e-3)
    return _absolute(
        read
        if read() is not None
        else _product(sysfs, f"{supply}/voltage_now", f"{supply}/current_now", 1e-9)
    )


def _while_discharging(sysfs: SysFs, supply: str) -> Callable[[], float | None]:
    drawn = _drawn(sysfs, supply)
    return lambda: drawn() if sysfs.read(f"{supply}/status") == "Discharging" else None


def _scaled(sysfs: SysFs, path: str, factor: float) -> Callable[[], float | None]:
    def read() -> float | None:
        value = sysfs.integer(path)
        return None if value is None else value * factor

    return read


def _product(sysfs: SysFs, volts: str, amperes: str, factor: float) -> Callable[[], float | None]:
    def read() -> float | None:
        voltage, current = sysfs.integer(volts), sysfs.integer(amperes)
        return None if voltage is None or current is None else voltage * current * factor

    return read


def _sum(reads: tuple[Callable[[], float | None], ...]) -> Callable[[], float | None]:
    def read() -> float | None:
        values = [read_one() for read_one in reads]
        known = [value for value in values if value is not None]
        return sum(known) if len(known) == len(values) else None

    return read


def _absolute(read_signed: Callable[[], float | None]) -> Callable[[], float | None]:
    """Some batteries show the current they deliver as negative."""

    def read() -> float | None:
        value = read_signed()
        return None if value is None else abs(value)

    return read
