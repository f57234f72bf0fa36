"""What a person sees of a search: a line per finished trial, and in a terminal a bar below them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from dvfo_agents.tune.search import Standing


class TuneProgress:
    """Shows how far a search is, on standard error. A context manager; call it with every `Standing`."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def say(self, line: str) -> None:
        """Print one line, above the bar where there is one."""
        if self._bar is None:
            print(line, file=sys.stderr, flush=True)
        else:
            self._bar.console.print(line, markup=False, soft_wrap=True)

    def __call__(self, standing: Standing) -> None:
        """Move the bar; where a trial has ended, say so."""
        done = standing.finished + sum(share for _, share in standing.running)
        if standing.ended is not None:
            plain = "" if sys.stderr.isatty() else f" ({_where(standing)})"
            self.say(f"{standing.ended}{plain}")
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            self._start(standing.wanted)
        running = "".join(f", trial {number} at {100 * share:.0f} %" for number, share in standing.running)
        self._bar.update(self._task, completed=done, description=f"{_where(standing)}{running}")

    def _start(self, wanted: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

        columns = (BarColumn(bar_width=24), TaskProgressColumn(), TextColumn("{task.description}"))
        self._bar = Progress(*columns, console=Console(stderr=True, highlight=False))
        self._bar.start()
        self._task = self._bar.add_task("", total=float(wanted))


def _where(standing: Standing) -> str:
    """Trials done, best so far, time left."""
    words = [f"{standing.finished} of {standing.wanted} trials"]
    if standing.best is not None:
        words.append(f"best {standing.best[1]:.3f} (trial {standing.best[0]})")
    if standing.left_s is not None and standing.finished < standing.wanted:
        words.append(f"{_duration(standing.left_s)} left")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    if seconds < 90.0:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60.0)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
