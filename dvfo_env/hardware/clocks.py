"""The clocks that can be set here: finding them, their legal values, and writing them in an order that holds.

Paths and their differences between boards: cpufreq and devfreq of the kernel's documentation; memory clocks
of NVIDIA's boards as its own `jetson_clocks` script sets them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from dvfo_env.errors import BoardError
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import CPU

Domain = Literal["cpu", "gpu", "memory"]
DOMAINS: tuple[Domain, ...] = ("cpu", "gpu", "memory")

#: Where devfreq devices are shown: by class, and below the device itself where the class lacks it.
DEVFREQ = ("sys/class/devfreq/*", "sys/devices/*/devfreq/*", "sys/devices/platform/*/devfreq/*")
KGSL = "sys/class/kgsl/kgsl-3d0/devfreq"
MALI = "sys/class/misc/mali0/device"
BPMP = "sys/kernel/debug/bpmp/debug"
TEGRA210 = "sys/kernel/debug/clk/override.emc"
TEGRA210_RANGE = "sys/kernel/debug/tegra_bwmgr"
EMC_CAP = "sys/kernel/nvpmodel_emc_cap/emc_iso_cap"

_GPU = re.compile(r"gpu|gv11b|gp10b|ga10b|gb10b|gm20b|mali|kgsl|panfrost", re.IGNORECASE)
_MEMORY = re.compile(r"emc|dmc|ddr|bwmgr|memory|mif", re.IGNORECASE)
#: Votes for bandwidth on phones (gpubw, cpu-llcc-ddr-bw, kgsl-busmon): megabytes per second, not clocks.
_BANDWIDTH = re.compile(r"bw(?!mgr)|busmon", re.IGNORECASE)

#: Points taken from a range where the driver lists no clocks (intel_pstate, amd-pstate).
RANGE_POINTS = 4

#: A devfreq figure from here on is in hertz, below in kilohertz (Mali of Pixel phones): 10 MHz or 10 GHz.
_HERTZ = 10_000_000


@dataclass(frozen=True)
class Knob:
    """One clock in sysfs or debugfs. Figures are in the files' own unit, `per_mhz` of them make a MHz.

    Attributes:
        minimum, maximum: files of the two limits; the same file where there is one rate.
        current: the file that shows what stands, read back after a rate is written.
        points: ascending legal values; where `listed` is false only the first and the last are known to be.
        held: files with the values that make a rate hold, written before it; empty for limits.
    """

    folder: str
    minimum: str
    maximum: str
    governor: str
    current: str
    per_mhz: int
    points: tuple[int, ...]
    listed: bool
    held: tuple[tuple[str, str], ...] = ()

    @property
    def limit_files(self) -> tuple[str, str]:
        """The two files that are written: lower and upper limit."""
        return f"{self.folder}/{self.minimum}", f"{self.folder}/{self.maximum}"

    @property
    def written_files(self) -> tuple[str, ...]:
        """Every file that setting this clock writes."""
        held = (f"{self.folder}/{name}" for name, _ in self.held)
        return tuple(dict.fromkeys((*held, *self.limit_files)))


@dataclass(frozen=True)
class ClockAxis:
    """One domain's clocks.

    `mhz` ascends and holds the fastest knob's points; where clusters have several knobs, the others go to
    the point at the same place of their own range. `settable` says whether this process may choose; where it
    may not, `mhz` has one value (or none that is known) and `reason` says why.
    """

    domain: Domain
    mhz: tuple[float, ...]
    settable: bool
    reason: str
    knobs: tuple[Knob, ...]

    @property
    def fastest(self) -> Knob:
        """The knob whose clocks name the axis' clocks."""
        return max(self.knobs, key=lambda knob: knob.points[-1] / knob.per_mhz)

    def with_known_clocks(self) -> ClockAxis:
        """What those see who try every clock: one of firmware that lists none is left alone.

        Between the ends of its range the legal clocks are not known, and the lowest rates of a memory are not
        safe on every board.
        """
        if not any(knob.held and not knob.listed for knob in self.knobs):
            return self
        reason = "the firmware lists no clocks of this domain: left alone"
        return replace(self, mhz=self.mhz[-1:], settable=False, reason=reason)

    def thinned(self, most: int | None) -> ClockAxis:
        """At most `most` clocks, evenly spaced with both ends kept; None keeps all."""
        if most is None or len(self.mhz) <= most:
            return self
        last = len(self.mhz) - 1
        kept = {last} if most == 1 else {round(step * last / (most - 1)) for step in range(most)}
        return replace(self, mhz=tuple(self.mhz[index] for index in sorted(kept)))

    def snapped_down(self, mhz: float) -> float:
        """The highest legal clock that is not above `mhz`; the lowest there is where all are above.

        Between the ends of a range without a list every clock is legal: the driver or firmware rounds it.
        """
        low, high = self.mhz[0], self.mhz[-1]
        if not self.fastest.listed:
            return min(max(mhz, low), high)
        return max((clock for clock in self.mhz if clock <= mhz * (1.0 + 1e-9)), default=low)


def discover_clocks(sysfs: SysFs) -> dict[Domain, ClockAxis]:
    """The three axes; one that does not exist or may not be written says so in `reason`."""
    knobs: dict[Domain, list[Knob]] = {"cpu": _cpufreq(sysfs), "gpu": [], "memory": []}
    seen: set[str] = set()
    for pattern in (*DEVFREQ, KGSL, MALI):
        for folder in sysfs.folders(pattern):
            real = os.path.realpath(sysfs.root / folder)
            domain = _domain(sysfs, folder)
            knob = _devfreq(sysfs, folder) if domain and real not in seen else None
            if domain and knob:
                seen.add(real)
                knobs[domain].append(knob)
    knobs["memory"] += _bpmp(sysfs) or _tegra210(sysfs)
    return {domain: _axis(sysfs, domain, tuple(found)) for domain, found in knobs.items()}


def _domain(sysfs: SysFs, folder: str) -> Domain | None:
    """What a devfreq device clocks, by its name, its device's and the device tree's."""
    if folder in (KGSL, MALI):
        return "gpu"
    *_, device, _, name = folder.split("/")
    names = f"{name} {device} {sysfs.read(f'{folder}/device/of_node/name') or ''}"
    if _BANDWIDTH.search(names):
        return None
    return "gpu" if _GPU.search(names) else "memory" if _MEMORY.search(names) else None


def _cpufreq(sysfs: SysFs) -> list[Knob]:
    found = []
    for folder in sysfs.folders(f"{CPU}/cpufreq/policy*"):
        points = set(sysfs.integers(f"{folder}/scaling_available_frequencies"))
        listed = bool(points)
        low, high = (sysfs.integer(f"{folder}/cpuinfo_{end}_freq") for end in ("min", "max"))
        if not listed and low and high:
            steps = (low + (high - low) * step / (RANGE_POINTS - 1) for step in range(RANGE_POINTS))
            points = {low, high, *(round(value / 100_000) * 100_000 for value in steps)}
            points = {value for value in points if low <= value <= high}
        if points:
            limits = ("scaling_min_freq", "scaling_max_freq", "scaling_governor", "scaling_cur_freq")
            found.append(Knob(folder, *limits, 1_000, tuple(sorted(points)), listed))
    return found


def _devfreq(sysfs: SysFs, folder: str) -> Knob | None:
    points = tuple(sorted(set(sysfs.integers(f"{folder}/available_frequencies")) - {0}))
    limits = ("scaling_min_freq", "scaling_max_freq") if folder == MALI else ("min_freq", "max_freq")
    if not points or not sysfs.exists(f"{folder}/{limits[1]}"):
        return None
    per_mhz = 1_000_000 if points[-1] >= _HERTZ else 1_000
    return Knob(folder, *limits, "governor", "cur_freq", per_mhz, points, True)


def _bpmp(sysfs: SysFs) -> list[Knob]:
    """Memory of TX2, Xavier and Orin: the firmware's clock, locked to a rate. Lists are in kHz."""
    clock, tables = f"{BPMP}/clk/emc", f"{BPMP}/emc"
    low, high = sysfs.integer(f"{clock}/min_rate"), sysfs.integer(f"{clock}/max_rate")
    if not sysfs.exists(f"{clock}/mrq_rate_locked") or not low or not high:
        return []
    names = (path.rsplit("/", 1)[-1] for path in sysfs.folders(f"{tables}/tables/regular/*"))
    listed = {*sysfs.integers(f"{tables}/possible_rates"), *(int(name) for name in names if name.isdigit())}
    cap = sysfs.integer(EMC_CAP) or high  # nvpmodel's; 0 is none
    points = {khz * 1_000 for khz in listed} or {low, min(high, cap)}
    legal = tuple(sorted(point for point in points if low <= point <= min(high, cap)))
    held = (("mrq_rate_locked", "1"), ("state", "1"))
    return [Knob(clock, "rate", "rate", "", "rate", 1_000_000, legal, bool(listed), held)] if legal else []


def _tegra210(sysfs: SysFs) -> list[Knob]:
    """Memory of the Nano and the TX1: an override of the clock that the bandwidth manager would choose."""
    low, high = (sysfs.integer(f"{TEGRA210_RANGE}/emc_{end}_rate") for end in ("min", "max"))
    if not sysfs.exists(f"{TEGRA210}/clk_update_rate") or not low or not high or low > high:
        return []
    points = tuple(sorted({low, high}))
    rate = ("clk_update_rate", "clk_update_rate", "", "clk_rate")
    return [Knob(TEGRA210, *rate, 1_000_000, points, False, (("clk_state", "1"),))]


def _axis(sysfs: SysFs, domain: Domain, knobs: tuple[Knob, ...]) -> ClockAxis:
    if not knobs:
        where = {"cpu": "cpufreq", "gpu": "devfreq device of a GPU", "memory": "memory clock that can be set"}
        mhz = _nominal_mhz(sysfs) if domain == "cpu" else ()
        known = f"; it runs at about {mhz[0]:g} MHz by /proc/cpuinfo" if mhz else ""
        closed_debugfs = domain == "memory" and _debugfs_closed(sysfs)
        hint = " (debugfs cannot be looked into; root can)" if closed_debugfs else ""
        return ClockAxis(domain, mhz, False, f"no {where[domain]} here{known}{hint}", ())
    closed = [path for knob in knobs for path in knob.written_files if not sysfs.writable(path)]
    axis = ClockAxis(domain, (), False, "", knobs)
    fastest = axis.fastest
    if closed:
        top = sysfs.integer(fastest.limit_files[1]) or fastest.points[-1]
        reason = f"may not write {closed[0]} (root can)"
        return replace(axis, mhz=(top / fastest.per_mhz,), reason=reason)
    mhz = tuple(point / fastest.per_mhz for point in fastest.points)
    how = "listed by the driver" if fastest.listed else "chosen from the driver's range"
    several = len(mhz) > 1
    return replace(axis, mhz=mhz, settable=several, reason=how if several else "the driver has one clock")


def _debugfs_closed(sysfs: SysFs) -> bool:
    folder = sysfs.root / "sys/kernel/debug"
    return folder.is_dir() and not os.access(folder, os.R_OK | os.X_OK)


def _nominal_mhz(sysfs: SysFs) -> tuple[float, ...]:
    for line in (sysfs.read("proc/cpuinfo") or "").splitlines():
        field, _, value = line.partition(":")
        if field.strip() == "cpu MHz":
            with suppress(ValueError):
                return (round(float(value)) * 1.0,)
    return ()


def point_of(knob: Knob, axis: ClockAxis, mhz: float) -> int:
    """The knob's own figure for a clock of the axis: the same place in its own range, nearest point."""
    wanted = mhz * knob.per_mhz
    fastest = axis.fastest
    if knob.points != fastest.points:
        low, high = (fastest.points[end] / fastest.per_mhz for end in (0, -1))
        place = (mhz - low) / (high - low) if high > low else 1.0
        wanted = knob.points[0] + place * (knob.points[-1] - knob.points[0])
    elif not knob.listed:
        return min(max(round(wanted), knob.points[0]), knob.points[-1])
    return min(knob.points, key=lambda point: (abs(point - wanted), point))


def current_mhz(sysfs: SysFs, axes: Mapping[Domain, ClockAxis]) -> dict[Domain, float | None]:
    """What the kernel says the clocks are now; the fastest of a domain's, None where it does not say."""
    found: dict[Domain, float | None] = {}
    for domain in DOMAINS:
        values = [(sysfs.integer(f"{knob.folder}/{knob.current}"), knob) for knob in axes[domain].knobs]
        found[domain] = max((value / knob.per_mhz for value, knob in values if value), default=None)
    return found


@dataclass(frozen=True)
class Written:
    """One write: what was to stand in the file, what stands there, and the kernel's refusal if it did."""

    path: str
    value: str
    found: str | None
    refused: OSError | None = None

    @property
    def stands(self) -> bool:
        """Whether the file holds what was written."""
        return self.found == self.value


def write_limits(sysfs: SysFs, knob: Knob, low: int, high: int) -> tuple[Written, ...]:
    """Write a clock's files in an order in which no lower limit is ever above the upper one; read them back.

    Raising writes the upper limit first, lowering the lower one. A limit is written even where the file shows
    it: what a kernel shows may be somebody else's limit (a thermal cap) that goes away again. A refusal ends
    it: what follows would not be ordered any more.
    """
    minimum, maximum = knob.limit_files
    if knob.held:
        order = [*((f"{knob.folder}/{name}", value) for name, value in knob.held), (maximum, str(high))]
    else:
        order = [(maximum, str(high)), (minimum, str(low))]
        present = sysfs.integer(minimum)
        if present is not None and high < present:
            order.reverse()
    written: list[Written] = []
    for path, value in order:
        if path in knob.limit_files or sysfs.read(path) != value:
            try:
                sysfs.write(path, value)
            except OSError as error:
                return (*written, Written(path, value, sysfs.read(path), error))
        shown = f"{knob.folder}/{knob.current}" if knob.held and path == maximum else path
        written.append(Written(path, value, sysfs.read(shown)))
    return tuple(written)


def set_limits(sysfs: SysFs, knob: Knob, low: int, high: int) -> None:
    """`write_limits` for those who cannot go on without.

    Raises:
        BoardError: the kernel refused, or something else holds the clock (thermal cap, power daemon).
    """
    for done in write_limits(sysfs, knob, low, high):
        if done.refused is not None:
            why = done.refused.strerror or str(done.refused)
            raise BoardError(f"/{done.path}: cannot write {done.value}: {why}")
        if not done.stands:
            raise BoardError(
                f"/{done.path}: wrote {done.value}, reads {done.found}: something else holds this clock"
            )
