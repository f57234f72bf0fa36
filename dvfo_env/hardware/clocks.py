"""The clocks that can be set here: finding them, setting them, and always giving back what was found."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Literal

from dvfo_env.errors import MeasurementError
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import CPU

Domain = Literal["cpu", "gpu", "memory"]
DOMAINS: tuple[Domain, ...] = ("cpu", "gpu", "memory")

DEVFREQ = "sys/class/devfreq"
_GPU = re.compile(r"gpu|gv11b|gp10b|ga10b|gb10b|gm20b|mali|kgsl|panfrost", re.IGNORECASE)
_MEMORY = re.compile(r"emc|dmc|ddr|bwmgr|memory|mif", re.IGNORECASE)

#: Points taken from a range where the driver lists no clocks (intel_pstate, amd-pstate).
RANGE_POINTS = 4


@dataclass(frozen=True)
class Knob:
    """One pair of limits in sysfs. Figures are in the files' own unit, `per_mhz` of them make a MHz."""

    folder: str
    minimum: str
    maximum: str
    governor: str
    current: str
    per_mhz: int
    points: tuple[int, ...]
    listed: bool

    @property
    def limit_files(self) -> tuple[str, str]:
        """The two files that are written: lower and upper limit."""
        return f"{self.folder}/{self.minimum}", f"{self.folder}/{self.maximum}"


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

    def thinned(self, most: int | None) -> ClockAxis:
        """At most `most` clocks, evenly spaced with both ends kept; None keeps all."""
        if most is None or len(self.mhz) <= most:
            return self
        last = len(self.mhz) - 1
        kept = {last} if most == 1 else {round(step * last / (most - 1)) for step in range(most)}
        mhz = tuple(self.mhz[index] for index in sorted(kept))
        return ClockAxis(self.domain, mhz, self.settable, self.reason, self.knobs)


def discover_clocks(sysfs: SysFs) -> dict[Domain, ClockAxis]:
    """The three axes; one that does not exist or may not be written says so in `reason`."""
    knobs: dict[Domain, list[Knob]] = {"cpu": _cpufreq(sysfs), "gpu": [], "memory": []}
    for folder in sysfs.folders(f"{DEVFREQ}/*"):
        name = f"{folder.rsplit('/', 1)[-1]} {sysfs.read(f'{folder}/device/of_node/name') or ''}"
        domain: Domain | None = "gpu" if _GPU.search(name) else "memory" if _MEMORY.search(name) else None
        knob = _devfreq(sysfs, folder)
        if domain and knob:
            knobs[domain].append(knob)
    return {domain: _axis(sysfs, domain, tuple(found)) for domain, found in knobs.items()}


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
            found.append(
                Knob(
                    folder,
                    "scaling_min_freq",
                    "scaling_max_freq",
                    "scaling_governor",
                    "scaling_cur_freq",
                    1_000,
                    tuple(sorted(points)),
                    listed,
                )
            )
    return found


def _devfreq(sysfs: SysFs, folder: str) -> Knob | None:
    points = tuple(sorted(set(sysfs.integers(f"{folder}/available_frequencies"))))
    if not points:
        return None
    return Knob(folder, "min_freq", "max_freq", "governor", "cur_freq", 1_000_000, points, True)


def _axis(sysfs: SysFs, domain: Domain, knobs: tuple[Knob, ...]) -> ClockAxis:
    if not knobs:
        where = {"cpu": "cpufreq", "gpu": "devfreq device of a GPU", "memory": "devfreq device of memory"}
        mhz = _nominal_mhz(sysfs) if domain == "cpu" else ()
        known = f"; it runs at about {mhz[0]:g} MHz by /proc/cpuinfo" if mhz else ""
        return ClockAxis(domain, mhz, False, f"no {where[domain]} here{known}", ())
    closed = [path for knob in knobs for path in knob.limit_files if not sysfs.writable(path)]
    fastest = max(knobs, key=lambda knob: knob.points[-1] / knob.per_mhz)
    if closed:
        top = sysfs.integer(fastest.limit_files[1]) or fastest.points[-1]
        return ClockAxis(
            domain,
            (top / fastest.per_mhz,),
            False,
            f"may not write {closed[0]} (root can); measured under the present governor",
            knobs,
        )
    mhz = tuple(point / fastest.per_mhz for point in fastest.points)
    how = "listed by the driver" if fastest.listed else "chosen from the driver's range"
    return ClockAxis(domain, mhz, len(mhz) > 1, how if len(mhz) > 1 else "the driver has one clock", knobs)


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
    fastest = max(axis.knobs, key=lambda other: other.points[-1] / other.per_mhz)
    if knob.points != fastest.points:
        low, high = (fastest.points[end] / fastest.per_mhz for end in (0, -1))
        place = (mhz - low) / (high - low) if high > low else 1.0
        wanted = knob.points[0] + place * (knob.points[-1] - knob.points[0])
    return min(knob.points, key=lambda point: (abs(point - wanted), point))


def set_limits(sysfs: SysFs, knob: Knob, low: int, high: int) -> None:
    """Write both limits in the order that never puts the lower above the upper, and read them back.

    Raises:
        MeasurementError: the kernel refused, or something else holds the clock (thermal cap, power daemon).
    """
    minimum, maximum = knob.limit_files
    present = sysfs.integer(minimum)
    order = [(maximum, high), (minimum, low)]
    if present is not None and high < present:
        order.reverse()
    for path, value in order:
        try:
            sysfs.write(path, str(value))
        except OSError as error:
            raise MeasurementError(f"/{path}: cannot write {value}: {error.strerror or error}") from None
    for path, value in order:
        found = sysfs.integer(path)
        if found != value:
            raise MeasurementError(f"/{path}: wrote {value}, reads {found}: something else holds this clock")


class ClockSetter:
    """Sets clocks through an axis. Only used inside `clocks_restored`."""

    def __init__(self, sysfs: SysFs, axes: Mapping[Domain, ClockAxis]) -> None:
        self._sysfs = sysfs
        self._axes = axes

    def set(self, mhz: Sequence[float]) -> None:
        """Pin (CPU, GPU, memory) to these clocks; an axis that cannot be set is left alone.

        Raises:
            MeasurementError: a clock could not be set.
        """
        for domain, value in zip(DOMAINS, mhz, strict=True):
            axis = self._axes[domain]
            if axis.settable:
                for knob in axis.knobs:
                    point = point_of(knob, axis, value)
                    set_limits(self._sysfs, knob, point, point)

    def current_mhz(self) -> tuple[float | None, ...]:
        """What the kernel says the clocks are now, (CPU, GPU, memory); None where it does not."""
        found: list[float | None] = []
        for domain in DOMAINS:
            knobs = self._axes[domain].knobs
            values = [self._sysfs.integer(f"{knob.folder}/{knob.current}") for knob in knobs]
            known = [value / knob.per_mhz for value, knob in zip(values, knobs, strict=True) if value]
            found.append(max(known) if known else None)
        return tuple(found)


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, on its way up like Ctrl-C so that everything is put back."""


@contextmanager
def clocks_restored(sysfs: SysFs, axes: Mapping[Domain, ClockAxis], journal: Path) -> Iterator[ClockSetter]:
    """Save governor and limits of everything settable, and put them back on the way out, however that goes.

    `journal` is a file that holds the saved state while clocks are away from it: after a power cut or
    SIGKILL the next call to `restore_from` finds it there. SIGTERM and SIGHUP arrive as `Terminated`.

    Raises:
        MeasurementError: a clock could not be put back; names the file and what it should hold.
    """
    saved = _save(sysfs, [knob for axis in axes.values() if axis.settable for knob in axis.knobs])
    if saved:
        _write_journal(journal, saved)
    with _terminations_raised():
        try:
            yield ClockSetter(sysfs, axes)
        finally:
            with _signals_held():
                problems = _put_back(sysfs, saved)
                if saved and not problems:
                    journal.unlink(missing_ok=True)
        if problems:
            raise MeasurementError(f"clocks not put back: {'; '.join(problems)}; saved state in {journal}")


def restore_from(sysfs: SysFs, journal: Path) -> bool:
    """Put back what an earlier run that was killed could not; False where there is nothing to put back.

    Raises:
        MeasurementError: the journal cannot be read, or a clock not put back.
    """
    if not journal.exists():
        return False
    try:
        saved = [dict(entry) for entry in json.loads(journal.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise MeasurementError(f"{journal}: saved clocks cannot be read: {error}") from None
    problems = _put_back(sysfs, saved)
    if problems:
        raise MeasurementError(f"clocks not put back: {'; '.join(problems)}; saved state in {journal}")
    journal.unlink()
    return True


def _save(sysfs: SysFs, knobs: Sequence[Knob]) -> list[dict[str, str]]:
    saved = []
    for knob in knobs:
        names = (knob.governor, knob.minimum, knob.maximum)
        values = {name: sysfs.read(f"{knob.folder}/{name}") for name in names}
        entry = {"folder": knob.folder, "governor_file": knob.governor}
        entry |= {"minimum_file": knob.minimum, "maximum_file": knob.maximum}
        saved.append(entry | {name: value for name, value in values.items() if value is not None})
    return saved


def _write_journal(journal: Path, saved: list[dict[str, str]]) -> None:
    journal.parent.mkdir(parents=True, exist_ok=True)
    with journal.open("w", encoding="utf-8") as file:
        json.dump(saved, file)
        file.flush()
        os.fsync(file.fileno())


def _put_back(sysfs: SysFs, saved: Sequence[Mapping[str, str]]) -> list[str]:
    """Write the saved state; returns what could not be written, in words."""
    problems = []
    for entry in saved:
        folder, minimum, maximum = entry["folder"], entry["minimum_file"], entry["maximum_file"]
        low, high = entry.get(minimum), entry.get(maximum)
        order = [maximum, minimum]
        present = sysfs.integer(f"{folder}/{minimum}")
        if high is not None and present is not None and low is not None and int(high) < present:
            order.reverse()
        for name in (entry["governor_file"], *order):
            path, value = f"{folder}/{name}", entry.get(name)
            if value is None or sysfs.read(path) == value:
                continue
            with suppress(OSError):
                sysfs.write(path, value)
            if sysfs.read(path) != value:
                problems.append(f"/{path} should be {value}")
    return problems


@contextmanager
def _terminations_raised() -> Iterator[None]:
    def raise_it(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before: dict[signal.Signals, object] = {}
    try:
        for number in (signal.SIGTERM, signal.SIGHUP):
            with suppress(ValueError):  # not the main thread: its owner handles signals
                before[number] = signal.signal(number, raise_it)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]


@contextmanager
def _signals_held() -> Iterator[None]:
    """A second Ctrl-C waits until the clocks are back."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
