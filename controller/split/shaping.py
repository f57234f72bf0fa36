"""An uplink in front of a real socket: a token bucket in this process that replays a bandwidth trace.

The rate is constant within each sample of the trace, and a transfer takes as long as the integral of the rate
needs to reach its bits, exactly as in `dvfo_env.serving.transfer`. An idle link saves nothing up: the bucket
is empty when a transfer begins. Within a transfer bytes are written as they would have left, at least a
millisecond's worth at a time, so the bucket is one millisecond deep.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import TraceError

#: Time between two writes within a transfer, s; the depth of the bucket.
TICK_S = 0.001
_SIOCOUTQ = 0x5411  # <linux/sockios.h>: bytes that have not been acknowledged
_MIN_RTT_AT = 148  # <linux/tcp.h>: tcpi_min_rtt in struct tcp_info, us
_POLL_S = 0.0002

Write = Callable[[memoryview, float], int]


@dataclass(frozen=True)
class Sent:
    """What became of a transfer.

    bytes: how many have left; left_s: when the last of them had, on the monotonic clock.
    """

    bytes: int
    left_s: float


class Shaper(Protocol):
    """The uplink between a client and its server."""

    description: str

    def connect(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        """A connection to the server through this link."""

    def start(self, at_s: float | None = None) -> None:
        """The trace begins at this monotonic time, or now."""

    def send(self, write: Write, data: bytes, until_s: float, connection: socket.socket) -> Sent:
        """Send through the link, and return when all has left or at `until_s` (monotonic).

        `write(bytes, until_s)` hands bytes to the connection and tells how many it took.
        """

    def rtt_ms(self, at_s: float) -> float:
        """Round-trip delay that is added to what the connection has of its own, at a monotonic time."""

    def close(self) -> None:
        """Undo what the link set up."""


class Trace:
    """Bandwidth over time, constant within a sample, repeated for ever.

    Args:
        times_s: float [N], when each sample begins, rising from 0.
        mbps: float [N], Mbit/s, 0 or more.
        rtt_ms: float or [N], round-trip delay to add, ms.
        duration_s: when the trace repeats; the last sample is as long as the one before unless given.

    Raises:
        TraceError: no samples, a negative rate, times that do not rise, or nothing but zeros.
    """

    def __init__(
        self,
        times_s: Sequence[float] | NDArray[np.floating],
        mbps: Sequence[float] | NDArray[np.floating],
        rtt_ms: float | Sequence[float] | NDArray[np.floating] = 0.0,
        duration_s: float | None = None,
    ) -> None:
        self.times_s = np.asarray(times_s, np.float64)
        self.mbps = np.asarray(mbps, np.float64)
        n = len(self.times_s)
        if n == 0 or self.mbps.shape != (n,):
            raise TraceError(f"trace: {n} times and {self.mbps.size} rates")
        if self.times_s[0] != 0 or (np.diff(self.times_s) <= 0).any():
            raise TraceError("trace: times do not rise from 0")
        if not np.isfinite(self.mbps).all() or (self.mbps < 0).any() or self.mbps.max() <= 0:
            raise TraceError("trace: rates are not 0 or more everywhere, or 0 everywhere")
        self.rtt_ms = np.broadcast_to(np.asarray(rtt_ms, np.float64), (n,))
        if not np.isfinite(self.rtt_ms).all() or (self.rtt_ms < 0).any():
            raise TraceError("trace: rtt_ms: is not 0 or more everywhere")
        if duration_s is None:
            duration_s = self.times_s[-1] + (self.times_s[-1] - self.times_s[-2] if n > 1 else 1.0)
        if duration_s <= self.times_s[-1]:
            raise TraceError("trace: duration_s: ends before its last sample")
        self.duration_s = float(duration_s)
        self._ends = np.append(self.times_s, self.duration_s)
        self._kilobit = np.append(0.0, np.cumsum(self.mbps * np.diff(self._ends) * 1e3))

    def sample(self, at_s: float) -> int:
        """Number of the sample in force `at_s` seconds after the trace began."""
        return int(np.searchsorted(self.times_s, at_s % self.duration_s, side="right")) - 1

    def kilobit(self, at_s: float) -> float:
        """What the link can have carried in the first `at_s` seconds."""
        rounds, within = divmod(at_s, self.duration_s)
        return float(rounds * self._kilobit[-1] + np.interp(within, self._ends, self._kilobit))

    def reached_s(self, kilobit: float) -> float:
        """The inverse: the first moment by which the link can have carried so much."""
        rounds, within = divmod(kilobit, self._kilobit[-1])
        if within == 0.0 and rounds > 0:
            rounds, within = rounds - 1, self._kilobit[-1]
        i = max(1, int(np.searchsorted(self._kilobit, within, side="left")))
        rate = self._kilobit[i] - self._kilobit[i - 1]
        share = 0.0 if rate == 0 else (within - self._kilobit[i - 1]) / rate
        return float(
            rounds * self.duration_s + self._ends[i - 1] + share * (self._ends[i] - self._ends[i - 1])
        )

    def transfer_s(self, at_s: float, data_bytes: float) -> float:
        """How long so many bytes take from `at_s` on."""
        return self.reached_s(self.kilobit(at_s) + data_bytes * 8e-3) - at_s


class TokenBucket:
    """The link of a trace, in the client's own process.

    Args:
        rates_mbps: float [n], Mbit/s, each for `step_ms`; repeated for ever.
        step_ms: length of a sample.
        rtt_ms: round-trip delay that is added, one or [n].
        clock, sleep: seconds; only tests give others.

    Raises:
        TraceError: see `Trace`.
    """

    description = "token bucket in the client process (1 ms deep, empty after idling)"

    def __init__(
        self,
        rates_mbps: Sequence[float] | NDArray[np.floating],
        step_ms: float,
        rtt_ms: float | Sequence[float] | NDArray[np.floating] = 0.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        times_s = np.arange(len(rates_mbps)) * step_ms * 1e-3
        self.trace = Trace(times_s, rates_mbps, rtt_ms, len(rates_mbps) * step_ms * 1e-3)
        self._clock = clock
        self._sleep = sleep
        self._origin_s = clock()

    @classmethod
    def replaying(cls, trace: Trace) -> TokenBucket:
        """A link with samples of any lengths."""
        bucket = cls([1.0], 1.0)
        bucket.trace = trace
        return bucket

    def start(self, at_s: float | None = None) -> None:
        """The trace begins at this monotonic time, or now."""
        self._origin_s = self._clock() if at_s is None else at_s

    def now_ms(self) -> float:
        """How far the trace has come, its repetitions counted on."""
        return (self._clock() - self._origin_s) * 1e3

    def connect(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        """A plain connection: what is sent is paced, not the connection."""
        return socket.create_connection(address, timeout_s)

    def send(
        self, write: Write, data: bytes, until_s: float, connection: socket.socket | None = None
    ) -> Sent:
        """Write bytes as they would leave the link; the last of them at the very end of the transfer."""
        view = memoryview(data)
        begun = self._clock() - self._origin_s
        before = self.trace.kilobit(begun)
        end_s = self._origin_s + begun + self.trace.transfer_s(begun, len(data))
        sent = 0
        while True:
            now = self._clock()
            gone = self.trace.kilobit(min(now, until_s) - self._origin_s) - before
            allowed = len(data) if end_s <= min(now, until_s) else min(int(gone * 125.0), len(data) - 1)
            if allowed > sent:
                sent += write(view[sent:allowed], until_s)
            if sent == len(data):  # `now`: the write itself may wake whoever reads, on this very core
                return Sent(sent, max(end_s, now))
            if now >= until_s:
                return Sent(sent, now)
            following = self._origin_s + self.trace.reached_s(before + (sent + 1) * 8e-3)
            self._sleep(max(0.0, min(max(following, now + TICK_S), end_s, until_s) - self._clock()))

    def rtt_ms(self, at_s: float) -> float:
        """Of the sample in force at a monotonic time."""
        return float(self.trace.rtt_ms[self.trace.sample(max(0.0, at_s - self._origin_s))])

    def close(self) -> None:
        """Nothing was set up."""


class PlainLink:
    """No shaping: the connection as it is. Bytes have left when the other side has acknowledged them."""

    description = "none: the link as it is"

    def start(self, at_s: float | None = None) -> None:
        """There is no trace."""

    def connect(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        """A connection to the server."""
        return socket.create_connection(address, timeout_s)

    def send(self, write: Write, data: bytes, until_s: float, connection: socket.socket) -> Sent:
        """Hand everything to the connection and wait until it is acknowledged."""
        sent = write(memoryview(data), until_s)
        return drained(connection, sent, len(data), until_s)

    def rtt_ms(self, at_s: float) -> float:
        """Nothing is added."""
        return 0.0

    def close(self) -> None:
        """Nothing was set up."""


def drained(connection: socket.socket, sent: int, wanted: int, until_s: float) -> Sent:
    """Wait until everything is acknowledged; what has left, and when.

    An acknowledgement comes a round trip after the byte has left: the smallest that the system has seen on
    this connection is taken off.
    """
    begun = time.monotonic()
    while True:
        left = struct.unpack("i", fcntl.ioctl(connection.fileno(), _SIOCOUTQ, b"\0\0\0\0"))[0]
        now = time.monotonic()
        if left <= 0 and sent == wanted:
            return Sent(sent, max(begun, now - smallest_rtt_s(connection)))
        if now >= until_s or sent < wanted:
            return Sent(max(0, sent - left), now)
        time.sleep(_POLL_S)


def smallest_rtt_s(connection: socket.socket) -> float:
    """The smallest round trip that the system has seen on a connection, s; 0 where it does not tell."""
    info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _MIN_RTT_AT + 4)
    if len(info) < _MIN_RTT_AT + 4:
        return 0.0
    rtt_us = int(struct.unpack_from("I", info, _MIN_RTT_AT)[0])
    return 0.0 if rtt_us == 0xFFFFFFFF else rtt_us * 1e-6
