"""Sets a board's clocks: originals saved first, legal values only, read back, with a dwell, given back."""

from __future__ import annotations

import errno
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from dvfo_controller.board.board import Board
from dvfo_controller.board.mapping import Affinity
from dvfo_controller.safety.ceiling import below, ceilings, cool, points
from dvfo_controller.safety.dry_run import DryRun
from dvfo_controller.safety.keeper import Keeper, OnExit
from dvfo_controller.safety.lock import STATE
from dvfo_env.errors import BoardError
from dvfo_env.hardware.clocks import DOMAINS, ClockAxis, Domain, Knob, write_limits
from dvfo_env.hardware.originals import Original, put_back

#: Shortest time between two changes of one clock. A new clock takes effect after 1 ms (CPU), 5 ms (GPU), 8 ms
#: (memory) on an Orin Nano (arXiv 2606.16106): with ten times that, at most a tenth of the time is spent so.
DWELL_S: dict[Domain, float] = {"cpu": 0.010, "gpu": 0.050, "memory": 0.080}
#: Refusals that will not go away by trying again.
_FOR_GOOD = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENODEV}


@dataclass(frozen=True)
class Wanted:
    """What a policy asks for: clocks, and the mapping's cores and threads. None leaves it as it is."""

    cpu_mhz: float | None = None
    gpu_mhz: float | None = None
    mem_mhz: float | None = None
    cpus: tuple[int, ...] | None = None
    threads: int | None = None

    @property
    def clocks(self) -> dict[Domain, float | None]:
        """The clocks by domain."""
        return {"cpu": self.cpu_mhz, "gpu": self.gpu_mhz, "memory": self.mem_mhz}


@dataclass(frozen=True)
class Applied:
    """What stands after everything was read back.

    Attributes:
        cpu_mhz, gpu_mhz, mem_mhz: upper limit that stands (the rate, where it is one); None where unknown.
        cpus, threads: the legal part of the mapping asked for; None where none was.
        masked: domains (or "cpus") that cannot be set here, with the reason.
        waiting: domains whose dwell has not passed: they were left as they were.
        differing: domains where something else stands than was written, with what.
    """

    cpu_mhz: float | None
    gpu_mhz: float | None
    mem_mhz: float | None
    cpus: tuple[int, ...] | None = None
    threads: int | None = None
    masked: Mapping[str, str] = field(default_factory=dict)
    waiting: tuple[Domain, ...] = ()
    differing: Mapping[Domain, str] = field(default_factory=dict)


class Governor:
    """Context manager around everything that writes clocks. On a `DryRun` board it says what it would do.

    On the way in: takes the lock, refuses other programs that set clocks, puts back what an earlier run that
    was killed left behind, and saves the originals. On the way out, by SIGTERM or exception too: puts
    everything back, or keeps it where `on_exit` says so. A machine without a clock that can be set needs none
    of this and no rights.

    Args:
        board: what `Board.discover` found.
        state: folder of journal and lock; default `var/lib/dvfo-controller` below the board's root.
        on_exit: `restore`, or `keep` the clocks as they are (`dvfo-controller restore` puts them back later).
        dwell_s: shortest time between two changes of a domain's clock, other than `DWELL_S`.
        beside: names of other programs that set clocks to put up with.
        above_found: clocks may go above the upper limits that were found (a power mode's, for example).
        pin_process: process whose threads `Wanted.cpus` pins; None leaves that to the inference engine.
        tell: where reports go, one line each, each once; default stderr.
    """

    def __init__(
        self,
        board: Board,
        state: Path | None = None,
        on_exit: OnExit = "restore",
        dwell_s: Mapping[Domain, float] | None = None,
        beside: Collection[str] = (),
        above_found: bool = False,
        pin_process: int | None = None,
        tell: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.board = board
        self.dry = isinstance(board.sysfs, DryRun)
        self._sysfs = board.sysfs
        self._keeper = Keeper(board, state or board.sysfs.root / STATE, on_exit, beside, self._once)
        self._dwell_s = DWELL_S | dict(dwell_s or {})
        self._affinity = None if pin_process is None else Affinity(pin_process)
        self._tell = tell or _to_stderr
        self._clock = clock
        self._told: set[str] = set()
        self._above_found = above_found
        self._ceilings: dict[str, int] = {}
        self._originals: tuple[Original, ...] = ()
        self._asked: dict[Domain, float] = {}
        self._changed_s: dict[Domain, float] = {}
        self._stack = ExitStack()

    def __enter__(self) -> Governor:
        with ExitStack() as stack:
            self._originals = stack.enter_context(self._keeper.kept())
            if not self._above_found:
                self._keep_to_found()
            for line in self.board.notes():
                self._once(line)
            for domain in DOMAINS:
                axis = self.board.knobs[domain]
                if not axis.settable:
                    self._once(f"{domain} clock is left alone: {axis.reason}")
            if self._affinity is not None:
                stack.callback(self._affinity.put_back)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _keep_to_found(self) -> None:
        """No clock is raised above the limits that were found."""
        self._ceilings = ceilings(self._originals)
        for domain, axis in self.board.knobs.items():
            if axis.settable:
                kept = below(axis, self._ceilings)
                self.board.knobs[domain] = kept
                if kept is not axis:
                    self._once(f"{domain} clock: {kept.reason} (a power mode?), clocks above are left out")

    def apply(self, wanted: Wanted) -> Applied:
        """Make it so as far as possible; what stands is in the answer, whatever was asked for.

        Raises:
            BoardError: a clock asked for is not a positive finite number: the policy is broken.
        """
        waiting: list[Domain] = []
        differing: dict[Domain, str] = {}
        for domain, mhz in wanted.clocks.items():
            if mhz is None or not self.board.knobs[domain].settable:
                continue
            if not math.isfinite(mhz) or mhz <= 0.0:
                raise BoardError(f"{domain} clock of {mhz} MHz was asked for: not a positive number")
            target = self.board.knobs[domain].snapped_down(mhz)
            if self._asked.get(domain) == target and self._stands(domain, target):
                continue
            if not self._rested(domain):
                waiting.append(domain)
                continue
            pinned = points(self.board.knobs[domain], target, self._ceilings)
            problem = self._set(domain, [(point, point) for point in pinned])
            if problem:
                differing[domain] = problem
            self._asked[domain] = target
        return self._applied(wanted, tuple(waiting), differing)

    def safe_profile(self, hot: bool) -> Applied:
        """At once, whatever the dwell: the clocks as they were found, or low limits where it is too hot.

        While hot, CPU and GPU may use their lowest clocks up to half of the highest, and memory is as found:
        the lowest memory clocks are not safe on every board.
        """
        differing: dict[Domain, str] = {}
        for domain in DOMAINS:
            axis = self.board.knobs[domain]
            if not axis.settable:
                continue
            self._asked.pop(domain, None)
            if hot and domain != "memory":
                problem = self._set(domain, [cool(knob, self._ceilings) for knob in axis.knobs])
            else:
                problem = "; ".join(line for _, line in put_back(self._sysfs, self._of(axis)))
                self._changed_s[domain] = self._clock()
            if problem:
                differing[domain] = problem
                self._once(problem)
        return self._applied(Wanted(), (), differing)

    def _rested(self, domain: Domain) -> bool:
        last = self._changed_s.get(domain)
        return last is None or self._clock() - last >= self._dwell_s[domain]

    def _stands(self, domain: Domain, mhz: float) -> bool:
        """Whether the limits are still what was written; somebody else may have moved them."""
        axis = self.board.knobs[domain]
        return all(
            self._sysfs.integer(path) == point
            for knob, point in zip(axis.knobs, points(axis, mhz, self._ceilings), strict=True)
            if not _rounded_by_firmware(knob)
            for path in (knob.limit_files if not knob.held else (f"{knob.folder}/{knob.current}",))
        )

    def _set(self, domain: Domain, limits: list[tuple[int, int]]) -> str:
        """Write the limits of every knob of a domain; returns what stands otherwise, in words."""
        problems = []
        self._changed_s[domain] = self._clock()
        for knob, (low, high) in zip(self.board.knobs[domain].knobs, limits, strict=True):
            for done in write_limits(self._sysfs, knob, low, high):
                if done.refused is not None and done.refused.errno in _FOR_GOOD:
                    return self._masked_now(domain, f"may not write /{done.path}: {done.refused.strerror}")
                if done.refused is not None:
                    problems.append(f"/{done.path}: {done.value} was refused: {done.refused.strerror}")
                elif not done.stands and not _rounded_by_firmware(knob):
                    problems.append(f"/{done.path}: reads {done.found}, not {done.value} as written")
        for line in problems:
            path = line.partition(":")[0]
            self._once(f"{line} (a thermal cap or another program holds it?)", path)
        return "; ".join(problems)

    def _masked_now(self, domain: Domain, reason: str) -> str:
        """Somebody took the right away, or the clock went: leave the domain as it was found."""
        axis = self.board.knobs[domain]
        put_back(self._sysfs, self._of(axis))
        self.board.mask(domain, reason)
        self._once(f"{domain} clock is left alone from now on: {reason}")
        return reason

    def _of(self, axis: ClockAxis) -> list[Original]:
        paths = {path for knob in axis.knobs for path in knob.written_files}
        return [original for original in self._originals if {path for path, _ in original.files} & paths]

    def _applied(self, wanted: Wanted, waiting: tuple[Domain, ...], differing: dict[Domain, str]) -> Applied:
        masked: dict[str, str] = {
            domain: axis.reason for domain, axis in self.board.knobs.items() if not axis.settable
        }
        cpus = self._mapped(wanted.cpus, masked)
        threads = None if wanted.threads is None else max(1, wanted.threads)
        stand = {domain: _standing_mhz(self.board, domain) for domain in DOMAINS}
        return Applied(stand["cpu"], stand["gpu"], stand["memory"], cpus, threads, masked, waiting, differing)

    def _mapped(self, cpus: tuple[int, ...] | None, masked: dict[str, str]) -> tuple[int, ...] | None:
        if cpus is None:
            return None
        usable = set(self.board.usable.cpus)
        legal = tuple(cpu for cpu in cpus if cpu in usable)
        if len(legal) < len(cpus):
            gone = sorted(set(cpus) - usable)
            masked["cpus"] = f"CPU {', '.join(map(str, gone))} cannot be used here"
            self._once(masked["cpus"])
        legal = legal or tuple(sorted(usable))
        if self._affinity is None or self.dry:
            return legal
        try:
            return tuple(sorted(self._affinity.pin(frozenset(legal))))
        except OSError as error:
            masked["cpus"] = f"threads cannot be pinned: {error.strerror or error}"
            self._once(masked["cpus"])
            return None

    def _once(self, line: str, key: str | None = None) -> None:
        if (key or line) not in self._told:
            self._told.add(key or line)
            self._tell(line)


def _rounded_by_firmware(knob: Knob) -> bool:
    """Rates within a range without a list: the nearest legal one stands, whichever that is."""
    return bool(knob.held) and not knob.listed


def _standing_mhz(board: Board, domain: Domain) -> float | None:
    axis = board.knobs[domain]
    if not axis.knobs:
        return axis.mhz[0] if axis.mhz else None
    knob = axis.fastest
    value = board.sysfs.integer(f"{knob.folder}/{knob.current}" if knob.held else knob.limit_files[1])
    return None if value is None else value / knob.per_mhz


def _to_stderr(line: str) -> None:
    print(f"dvfo-controller: {line}", file=sys.stderr, flush=True)
