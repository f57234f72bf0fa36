"""Being told to stop: termination arrives like Ctrl-C, and waits while something must not be interrupted."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType


class Terminated(KeyboardInterrupt):
    """SIGTERM or SIGHUP, on its way up like Ctrl-C so that everything is put back."""


@contextmanager
def terminations_raised() -> Iterator[None]:
    """SIGTERM and SIGHUP raise `Terminated` inside the block."""

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
def signals_held() -> Iterator[None]:
    """A signal to stop waits until the block is done."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
