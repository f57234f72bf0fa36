"""Clocks set for a measurement, and always given back: on the way out, or by the next run after a kill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from dvfo_env.errors import BoardError
from dvfo_env.hardware.clocks import DOMAINS, ClockAxis, Domain, current_mhz, point_of, set_limits
from dvfo_env.hardware.originals import Journal, Original, originals, put_back
from dvfo_env.hardware.stopping import signals_held, terminations_raised
from dvfo_env.hardware.sysfs import SysFs


class ClockSetter:
    """Sets clocks through an axis. Only used inside `clocks_restored`."""

    def __init__(self, sysfs: SysFs, axes: Mapping[Domain, ClockAxis]) -> None:
        self._sysfs = sysfs
        self._axes = axes

    def set(self, mhz: Sequence[float]) -> None:
        """Pin (CPU, GPU, memory) to these clocks; an axis that cannot be set is left alone.

        Raises:
            BoardError: a clock could not be set.
        """
        for domain, value in zip(DOMAINS, mhz, strict=True):
            axis = self._axes[domain]
            if axis.settable:
                for knob in axis.knobs:
                    point = point_of(knob, axis, value)
                    set_limits(self._sysfs, knob, point, point)

    def current_mhz(self) -> tuple[float | None, ...]:
        """What the kernel says the clocks are now, (CPU, GPU, memory); None where it does not."""
        return tuple(current_mhz(self._sysfs, self._axes).values())


@contextmanager
def clocks_restored(sysfs: SysFs, axes: Mapping[Domain, ClockAxis], journal: Path) -> Iterator[ClockSetter]:
    """Save governor and limits of everything settable, and put them back on the way out, however that goes.

    `journal` is a file that holds the saved state while clocks are away from it: after a power cut or
    SIGKILL the next call to `restore_from` finds it there. SIGTERM and SIGHUP arrive as `Terminated`.

    Raises:
        BoardError: the present clocks cannot be saved, or not put back; names the
            file and what it should hold.
    """
    knobs = [knob for axis in axes.values() if axis.settable for knob in axis.knobs]
    saved = originals(sysfs, knobs, governors=True)
    if saved:
        Journal(journal).write(saved)
    with terminations_raised():
        problems = ""
        try:
            yield ClockSetter(sysfs, axes)
        finally:
            with signals_held():
                problems = _problems(sysfs, saved)
                if saved and not problems:
                    Journal(journal).remove()
        if problems:
            raise BoardError(f"clocks not put back: {problems}; saved state in {journal}")


def restore_from(sysfs: SysFs, journal: Path) -> bool:
    """Put back what an earlier run that was killed could not; False where there is nothing to put back.

    Raises:
        BoardError: the journal cannot be read, or a clock not put back.
    """
    saved = Journal(journal).read()
    if saved is None:
        return False
    problems = _problems(sysfs, saved.originals)
    if problems:
        raise BoardError(f"clocks not put back: {problems}; saved state in {journal}")
    Journal(journal).remove()
    return True


def _problems(sysfs: SysFs, saved: Sequence[Original]) -> str:
    return "; ".join(line for _, line in put_back(sysfs, saved))
