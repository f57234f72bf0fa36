"""How a long command tells where it stands: one line on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from shutil import get_terminal_size
from typing import Generic, Self, TypeVar

Progress = TypeVar("Progress")


class ProgressLine(Generic[Progress]):
    """Progress on standard error: one line that changes on a terminal, a line every ten seconds elsewhere.

    `before` stands there until the first report; `words` puts a report into words, which
    a text already is.
    """

    def __init__(self, before: str, words: Callable[[Progress], str] = str) -> None:
        self._before, self._words = before, words
        self._live = sys.stderr.isatty()
        self._every_s = 0.05 if self._live else 10.0
        self._shown = 0.0
        self._width = 0

    def __enter__(self) -> Self:
        self._write(self._before)
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def __call__(self, progress: Progress) -> None:
        """Show how far a run is, unless something was shown just before."""
        now = time.monotonic()
        if now - self._shown >= self._every_s:
            self._shown = now
            self._write(self._words(progress))

    def clear(self) -> None:
        """Take the changing line away."""
        if self._live and self._width:
            sys.stderr.write("\r" + " " * self._width + "\r")
            sys.stderr.flush()
            self._width = 0

    def _write(self, line: str) -> None:
        if self._live:
            line = line[: get_terminal_size().columns - 1]
            sys.stderr.write("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            sys.stderr.write(line + "\n")
        sys.stderr.flush()
