"""What a person sees while a suite runs: a bar in a terminal, plain lines elsewhere; on standard error."""

from __future__ import annotations

import sys
import time
from types import TracebackType

from dvfo_evaluation.suite_run import Standing

_QUIET_S = 10.0  # between two plain lines


class SuiteProgress:
    """Shows cells done of all, the time left and what came last. A context manager; call it with a
    `Standing`.
    """

    def __init__(self, title: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        console = Console(stderr=True, soft_wrap=True, highlight=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}", markup=False),
        )
        self._bar = Bar(*columns, console=console) if sys.stderr.isatty() else None
        self._task = None if self._bar is None else self._bar.add_task(title, total=None, note="")
        self._console, self._title, self._last_s = console, title, -_QUIET_S
        self._failures = 0

    def __enter__(self) -> SuiteProgress:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, standing: Standing) -> None:
        """Show how far the suite is."""
        for failure in standing.failures[self._failures :]:
            self._console.print(f"failed: {failure.cell}: {failure.reason}", markup=False)
        self._failures = len(standing.failures)
        note = f"{duration(standing.left_s)} left" if standing.done < standing.total else "done"
        if standing.latest:
            note += f", {standing.latest}"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=standing.done, total=standing.total, note=note)
        elif time.monotonic() - self._last_s >= _QUIET_S or standing.done == standing.total:
            self._last_s = time.monotonic()
            line = f"{self._title}: {standing.done}/{standing.total} cells ({standing.stored} stored), {note}"
            self._console.print(line, markup=False)


def duration(seconds: float) -> str:
    """A duration as people say it: 40 s, 12 min, 3.5 h."""
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    return f"{seconds / 60.0:.0f} min" if seconds < 5400.0 else f"{seconds / 3600.0:.1f} h"
