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
    """A signal to stop waits until the block is done.

    Python runs handlers in the main thread whichever thread the kernel chose, so blocking them in this thread
    would not do once there are others.
    """
    arrived: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        arrived.append(number)

    before: dict[signal.Signals, object] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with suppress(ValueError):  # not the main thread: no handler runs here
                before[number] = signal.signal(number, note)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)  # type: ignore[arg-type]
        for again in dict.fromkeys(arrived):
            signal.raise_signal(again)
