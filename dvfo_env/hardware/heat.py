"""Temperatures, where the kernel begins to throttle, whether it does, and how full the battery is."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dvfo_env.hardware.meters import batteries
from dvfo_env.hardware.sysfs import SysFs

THERMAL = "sys/class/thermal"
VIRTUAL = "sys/devices/virtual/thermal"
CPU_COUNTS = "sys/devices/system/cpu/cpu*/thermal_throttle/*_throttle_count"
#: Raspberry Pi: the firmware's throttling flags; bits 0 to 3 are what holds now.
#: https://www.raspberrypi.com/documentation/computers/os.html#get_throttled
PI_FLAGS = "sys/devices/platform/soc/soc:firmware/get_throttled"

#: Zones that show no temperature of what computes: the PMIC's constant 100 C on Jetsons, phones' currents and
#: state of charge.
_NO_TEMPERATURE = re.compile(r"pmic|vbat|ibat|bcl|^soc$|lowf|hexf", re.IGNORECASE)
#: Cooling devices that slow something down; the others are fans.
_SLOWS_DOWN = re.compile(r"cpu|gpu|processor|throttle|devfreq|emc", re.IGNORECASE)

#: A sensor outside these is switched off or broken (-256 C on a gated rail of Jetsons).
PLAUSIBLE_C = (-40.0, 150.0)
#: A trip point outside these is unset, or no limit of what computes.
PLAUSIBLE_TRIP_C = (60.0, 125.0)
#: How far the limit lies below the temperature at which the machine switches off, if no other is known.
CRITICAL_MARGIN_C = 10.0


@dataclass(frozen=True)
class Zone:
    """One thermal zone. `limit_c` is where the kernel slows down, or shortly before it switches off."""

    name: str
    path: str
    limit_c: float | None


def thermal_zones(sysfs: SysFs) -> tuple[Zone, ...]:
    """Every zone that shows the temperature of something that computes."""
    found: dict[str, Zone] = {}
    for folder in sysfs.folders(f"{THERMAL}/thermal_zone*") or sysfs.folders(f"{VIRTUAL}/thermal_zone*"):
        kind = sysfs.read(f"{folder}/type") or folder.rsplit("/", 1)[-1]
        if _NO_TEMPERATURE.search(kind) or not sysfs.exists(f"{folder}/temp"):
            continue
        name = kind if kind not in found else f"{kind} {folder.rsplit('thermal_zone', 1)[-1]}"
        found[name] = Zone(name, f"{folder}/temp", _limit_c(sysfs, folder))
    return tuple(found.values())


def temperature_c(sysfs: SysFs, zone: Zone) -> float | None:
    """Degrees Celsius now; None where the sensor is off."""
    value = sysfs.integer(zone.path)
    celsius = None if value is None else value / 1e3
    return celsius if celsius is not None and PLAUSIBLE_C[0] < celsius < PLAUSIBLE_C[1] else None


def _limit_c(sysfs: SysFs, folder: str) -> float | None:
    """Lowest trip point where the kernel slows down; else a margin below where it switches off."""
    trips: dict[str, list[float]] = {}
    for path in sysfs.folders(f"{folder}/trip_point_*_type"):
        value = sysfs.integer(f"{path.removesuffix('_type')}_temp")
        if value is not None and PLAUSIBLE_TRIP_C[0] <= value / 1e3 <= PLAUSIBLE_TRIP_C[1]:
            trips.setdefault(sysfs.read(path) or "", []).append(value / 1e3)
    slowing = min(trips.get("passive", []), default=None)
    off = min(trips.get("hot", []) + trips.get("critical", []), default=None)
    return slowing if slowing is not None else None if off is None else off - CRITICAL_MARGIN_C


class Throttling:
    """Whether the machine slows itself down now: cooling devices, x86's counts, a Raspberry Pi's flags."""

    def __init__(self, sysfs: SysFs) -> None:
        self._sysfs = sysfs
        folders = sysfs.folders(f"{THERMAL}/cooling_device*") or sysfs.folders(f"{VIRTUAL}/cooling_device*")
        self._cooling = [
            f"{folder}/cur_state"
            for folder in folders
            if _SLOWS_DOWN.search(sysfs.read(f"{folder}/type") or "")
        ]
        self._counts = sysfs.folders(CPU_COUNTS)
        self._count = self._total()
        self.known = bool(self._cooling or self._counts or sysfs.exists(PI_FLAGS))

    def __call__(self) -> bool:
        """Whether something is slowed down now, or was since the last call where only counts tell."""
        total = self._total()
        counted, self._count = total > self._count, total
        cooled = any((self._sysfs.integer(path) or 0) > 0 for path in self._cooling)
        return counted or cooled or bool(self._pi_flags() & 0b1111)

    def _total(self) -> int:
        return sum(self._sysfs.integer(path) or 0 for path in self._counts)

    def _pi_flags(self) -> int:
        try:
            return int(self._sysfs.read(PI_FLAGS) or "0", 16)
        except ValueError:
            return 0


def battery_share(sysfs: SysFs) -> float | None:
    """State of charge from 0 to 1 of the battery that feeds this machine; None where it has none."""
    for supply in batteries(sysfs):
        capacity = sysfs.integer(f"{supply}/capacity")
        if capacity is not None:
            return min(max(capacity / 100.0, 0.0), 1.0)
        for kind in ("energy", "charge"):
            now, full = (sysfs.integer(f"{supply}/{kind}_{which}") for which in ("now", "full"))
            if now is not None and full:
                return min(max(now / full, 0.0), 1.0)
    return None
