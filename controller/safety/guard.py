"""Watches over a policy: heat, an error or a missed deadline puts the safe profile in its place."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from dvfo_controller.board.board import Board, Reading
from dvfo_controller.safety.governor import Governor

Answer = TypeVar("Answer")
Why = Literal["hot", "error", "late"]

#: Longest time a policy may take. A slow device's p99 of the largest shipped network is far below it.
DEADLINE_MS = 20.0
#: Shortest time the safe profile stays: long against every clock's settling and dwell time.
HOLD_S = 10.0
#: Shortest time between two looks at the temperatures, which change over seconds.
LOOK_EVERY_S = 1.0
#: How far below its limit every zone must be before a board counts as cool again.
COOLER_C = 5.0


@dataclass(frozen=True)
class Trip:
    """Why the safe profile is in force: since when by the monotonic clock, and in words."""

    why: Why
    since_s: float
    words: str


class Guard:
    """Between the request loop and the policy. Not for several threads at once.

    Every decision goes through `decide`. It answers None while the safe profile is in force: the request is
    then served with the out-of-the-box action. The policy runs in a thread of its own, so that one that hangs
    costs its request the deadline and no more; what it answers later is thrown away.

    Args:
        governor: what sets the safe profile.
        deadline_ms: longest time for one decision.
        hold_s: shortest time that the safe profile stays.
        limit_c: temperature that is too hot for any zone; None takes each zone's own limit.
        look_every_s: shortest time between two looks at the temperatures.
        tell: where a line goes whenever the safe profile begins or ends.
    """

    def __init__(
        self,
        governor: Governor,
        deadline_ms: float = DEADLINE_MS,
        hold_s: float = HOLD_S,
        limit_c: float | None = None,
        look_every_s: float = LOOK_EVERY_S,
        tell: Callable[[str], None] = lambda line: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._governor = governor
        self._deadline_s = deadline_ms / 1e3
        self._hold_s = hold_s
        self._limit_c = limit_c
        self._look_every_s = look_every_s
        self._tell = tell
        self._clock = clock
        self._worker = _Worker()
        self._looked_s: float | None = None
        self.reading: Reading | None = None
        self.trip: Trip | None = None
        self.trips: dict[Why, int] = {"hot": 0, "error": 0, "late": 0}

    @property
    def board(self) -> Board:
        """The board that is watched."""
        return self._governor.board

    @property
    def safe(self) -> bool:
        """Whether the safe profile is in force."""
        return self.trip is not None

    def decide(self, policy: Callable[[], Answer]) -> Answer | None:
        """What the policy answers, in time; None where the safe profile is (or is now put) in force."""
        self.look()
        if self.trip is not None:
            return None
        outcome = self._worker.run(policy, self._deadline_s)
        if outcome is None:
            self._trip("late", f"the policy took more than {self._deadline_s * 1e3:g} ms")
            return None
        if outcome.error is not None:
            self._trip("error", f"the policy failed: {type(outcome.error).__name__}: {outcome.error!s:.200}")
            return None
        return outcome.answer

    def failed(self, error: Exception) -> None:
        """Report that what the policy answered cannot be used."""
        self._trip("error", f"the policy's answer cannot be used: {error!s:.200}")

    def look(self) -> Reading | None:
        """Read the board where it is time to, and begin or end the safe profile; returns the last reading.

        A loop that waits long for requests calls this meanwhile.
        """
        now = self._clock()
        if self._looked_s is None or now - self._looked_s >= self._look_every_s:
            self._looked_s = now
            self.reading = self._governor.board.reading()
            hot = self._governor.board.too_hot(self.reading, self._limit_c)
            if hot and (self.trip is None or self.trip.why != "hot"):
                self._trip("hot", hot)
        if self.trip is not None and now - self.trip.since_s >= self._hold_s and not self._still_warm():
            self._tell(f"safe profile ends after {now - self.trip.since_s:.0f} s ({self.trip.words})")
            self.trip = None
        return self.reading

    def _still_warm(self) -> bool:
        if self.trip is None or self.trip.why != "hot" or self.reading is None:
            return False
        return self._governor.board.too_hot(self.reading, self._limit_c, COOLER_C) is not None

    def _trip(self, why: Why, words: str) -> None:
        self.trips[why] += 1
        self.trip = Trip(why, self._clock(), words)
        self._tell(f"safe profile: {words}")
        self._governor.safe_profile(hot=why == "hot")


@dataclass(frozen=True)
class _Outcome(Generic[Answer]):
    answer: Answer | None
    error: Exception | None = None


class _Worker:
    """One thread that runs one thing at a time; the caller waits no longer than it says."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[tuple[Callable[[], object], queue.SimpleQueue[_Outcome[object]]]]
        self._tasks = queue.SimpleQueue()
        self._idle = threading.Event()
        self._idle.set()
        self._thread: threading.Thread | None = None

    def run(self, task: Callable[[], Answer], timeout_s: float) -> _Outcome[Answer] | None:
        """What came of it, or None where it is not done in time, or an earlier one still runs."""
        if not self._idle.is_set():
            return None
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
            self._thread.start()
        reply: queue.SimpleQueue[_Outcome[Answer]] = queue.SimpleQueue()
        self._idle.clear()
        self._tasks.put((task, reply))  # type: ignore[arg-type]
        try:
            return reply.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def _work(self) -> None:
        while True:
            task, reply = self._tasks.get()
            try:
                outcome: _Outcome[object] = _Outcome(task())
            except Exception as error:
                outcome = _Outcome(None, error)
            self._idle.set()
            reply.put(outcome)
