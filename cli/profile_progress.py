"""How `dvfo profile` tells where it stands while it measures."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dvfo_env.profiling.measure import Progress


class ProgressLine:
    """Progress on standard error: one line that changes on a terminal, a line every ten seconds elsewhere."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._every_s = 0.5 if self._live else 10.0
        self._shown = 0.0
        self._width = 0

    def __enter__(self) -> ProgressLine:
        self._write("making the networks ready")
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, progress: Progress) -> None:
        """Show how far a run is, unless something was shown just before."""
        import time

        now = time.monotonic()
        if now - self._shown >= self._every_s:
            self._shown = now
            self._write(_progress_line(progress))

    def clear(self) -> None:
        """Take the changing line away."""
        if self._live and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0

    def _write(self, line: str) -> None:
        if self._live:
            from shutil import get_terminal_size

            line = line[: get_terminal_size().columns - 1]
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()


def _progress_line(progress: Progress) -> str:
    minutes, seconds = divmod(round(progress.left_s), 60)
    left = f"{minutes}:{seconds:02d} left at most"
    if progress.stage == "power":
        return f"{progress.network}: power, window {progress.settled + 1} of {progress.conditions}, {left}"
    worst = "" if progress.worst_percent is None else f", worst ±{progress.worst_percent:.1f} %"
    settled = f"{progress.settled} of {progress.conditions} settled"
    return f"{progress.network}: {progress.visits} visits, {settled}{worst}, {left}"
