"""Which cores the threads of a process run on: set, read back, and given back."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Affinity:
    """Pins every thread of one process (its own where `pid` is 0); `put_back` undoes it."""

    def __init__(self, pid: int = 0) -> None:
        self._pid = pid or os.getpid()
        self._before: dict[int, set[int]] = {}

    def pin(self, cpus: frozenset[int]) -> frozenset[int]:
        """Let the threads run on these CPUs only; returns what the kernel says they all may run on now.

        Threads that have ended meanwhile are passed over. CPUs that are offline or not allowed are dropped by
        the kernel, which refuses an empty rest.

        Raises:
            OSError: none of the CPUs may be used, or the process is another user's.
        """
        standing: frozenset[int] | None = None
        for thread in self._threads():
            with suppress(ProcessLookupError):
                self._before.setdefault(thread, os.sched_getaffinity(thread))
                os.sched_setaffinity(thread, cpus)
                now = frozenset(os.sched_getaffinity(thread))
                standing = now if standing is None else standing & now
        return standing if standing is not None else frozenset()

    def put_back(self) -> None:
        """Give every thread that still exists what it had."""
        for thread, cpus in self._before.items():
            with suppress(OSError):
                os.sched_setaffinity(thread, cpus)
        self._before.clear()

    def _threads(self) -> list[int]:
        return sorted(int(entry.name) for entry in Path(f"/proc/{self._pid}/task").iterdir())
