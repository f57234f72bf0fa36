"""A real link on one machine: two network namespaces and the kernel's token bucket (tc tbf), where permitted.

Needs root and iproute2. The rate of the device's side is stepped along the trace; the delay of the
trace is added in the client, as `shaping.TokenBucket` does, since not every kernel has netem.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from dvfo_controller.split.shaping import Sent, Trace, Write, drained
from dvfo_env.errors import SplitError

_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_NETWORK = "10.213.{}.{}"
_DEVICE = "dvfo0"
#: Depth of the kernel's bucket: two packets, which is what an idle link saves up.
BURST_BYTES = 3028
#: What may wait in the kernel's queue.
_LIMIT_BYTES = 1 << 20
#: The kernel has no rate of 0.
_LEAST_KBIT = 1.0


def why_not() -> str:
    """Why namespaces cannot be used here; empty where they can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None or shutil.which("tc") is None:
        return "needs ip and tc (iproute2)"
    name = f"dvfo-try-{os.getpid()}"
    try:
        _run(f"ip netns add {name}")
        try:
            _run(f"tc -n {name} qdisc add dev lo root tbf rate 1mbit burst {BURST_BYTES} limit 10000")
        finally:
            _run(f"ip netns del {name}")
    except SplitError as error:
        return str(error)
    return ""


class NamespaceLink:
    """Two namespaces joined by a link with the rates of a trace from the device to the server.

    Args:
        rates_mbps, step_ms, rtt_ms: as for `shaping.TokenBucket`; where the rate is 0 it is 1 kbit/s here.

    A server listens on `host` in the namespace `server` (`ip netns exec`, or `with inside(link.server)`); it
    is no loopback address, so it needs TLS and a token. `close` takes everything away.

    Raises:
        SplitError: it is not permitted here, or something is missing.
        TraceError: see `shaping.Trace`.
    """

    description = "network namespaces with tc tbf, delay added in the client"

    def __init__(
        self,
        rates_mbps: Sequence[float] | NDArray[np.floating],
        step_ms: float,
        rtt_ms: float | Sequence[float] | NDArray[np.floating] = 0.0,
    ) -> None:
        times_s = np.arange(len(rates_mbps)) * step_ms * 1e-3
        self.trace = Trace(times_s, rates_mbps, rtt_ms, len(rates_mbps) * step_ms * 1e-3)
        reason = why_not()
        if reason:
            raise SplitError(f"network namespaces: {reason}")
        number = os.getpid() % 250
        self.device, self.server = f"dvfo-dev-{os.getpid()}", f"dvfo-srv-{os.getpid()}"
        self.host = _NETWORK.format(number, 2)
        self._stepping = threading.Event()
        self._thread: threading.Thread | None = None
        self._origin_s = time.monotonic()
        try:
            for name in (self.device, self.server):
                _run(f"ip netns add {name}")
                _run(f"ip -n {name} link set lo up")
            _run(f"ip -n {self.device} link add {_DEVICE} type veth peer name {_DEVICE} netns {self.server}")
            for name, last in ((self.device, 1), (self.server, 2)):
                _run(f"ip -n {name} addr add {_NETWORK.format(number, last)}/24 dev {_DEVICE}")
                _run(f"ip -n {name} link set {_DEVICE} up")
            _run(f"tc -n {self.device} qdisc add dev {_DEVICE} root tbf {_bucket(self.trace.mbps[0])}")
            self._tc = subprocess.Popen(
                ["tc", "-n", self.device, "-force", "-batch", "-"], stdin=subprocess.PIPE, text=True
            )
        except BaseException:
            self.close()
            raise
        self.start()

    def start(self, at_s: float | None = None) -> None:
        """The trace begins at this monotonic time, or now."""
        self._stop()
        self._origin_s = time.monotonic() if at_s is None else at_s
        self._stepping = threading.Event()
        self._thread = threading.Thread(target=self._step, args=(self._stepping,), daemon=True)
        self._thread.start()

    def now_ms(self) -> float:
        """How far the trace has come, its repetitions counted on."""
        return (time.monotonic() - self._origin_s) * 1e3

    def connect(self, address: tuple[str, int], timeout_s: float) -> socket.socket:
        """A connection from the device's namespace."""
        with inside(self.device):
            return socket.create_connection(address, timeout_s)

    def send(self, write: Write, data: bytes, until_s: float, connection: socket.socket) -> Sent:
        """Hand everything to the kernel and wait until the other side has acknowledged it."""
        sent = write(memoryview(data), until_s)
        return drained(connection, sent, len(data), until_s)

    def rtt_ms(self, at_s: float) -> float:
        """Of the sample in force at a monotonic time."""
        return float(self.trace.rtt_ms[self.trace.sample(max(0.0, at_s - self._origin_s))])

    def close(self) -> None:
        """Take namespaces and link away."""
        self._stop()
        tc = getattr(self, "_tc", None)
        if tc is not None and tc.stdin is not None:
            with contextlib.suppress(OSError):
                tc.stdin.close()
            tc.wait()
        for name in (self.device, self.server):
            with contextlib.suppress(SplitError):
                _run(f"ip netns del {name}")

    def _stop(self) -> None:
        self._stepping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _step(self, stop: threading.Event) -> None:
        """Change the rate at every sample's beginning, by a clock that does not drift."""
        trace, step = self.trace, -1
        assert self._tc.stdin is not None
        while not stop.is_set():
            now = max(0.0, time.monotonic() - self._origin_s)
            sample = trace.sample(now)
            if sample != step:
                step = sample
                with contextlib.suppress(OSError):
                    self._tc.stdin.write(
                        f"qdisc change dev {_DEVICE} root tbf {_bucket(trace.mbps[sample])}\n"
                    )
                    self._tc.stdin.flush()
            ends = np.append(trace.times_s[1:], trace.duration_s)
            stop.wait(max(0.0, ends[sample] - now % trace.duration_s))


@contextlib.contextmanager
def inside(namespace: str) -> Iterator[None]:
    """Let the calling thread, and threads it starts, live in a network namespace meanwhile.

    Raises:
        SplitError: there is none of that name, or it is not permitted.
    """
    libc = ctypes.CDLL(None, use_errno=True)

    def enter(file: int) -> None:
        if libc.setns(file, _CLONE_NEWNET) != 0:
            raise SplitError(f"network namespace {namespace}: {os.strerror(ctypes.get_errno())}")

    try:
        home = os.open(f"/proc/self/task/{threading.get_native_id()}/ns/net", os.O_RDONLY)
        away = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    except OSError as error:
        raise SplitError(f"network namespace {namespace}: {error.strerror}") from None
    try:
        enter(away)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)
        os.close(away)


def _bucket(mbps: float) -> str:
    kilobit = max(_LEAST_KBIT, float(mbps) * 1e3)
    return f"rate {kilobit:.3f}kbit burst {BURST_BYTES} limit {_LIMIT_BYTES}"


def _run(command: str) -> None:
    done = subprocess.run(command.split(), capture_output=True, text=True)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[0]
        raise SplitError(f"{' '.join(command.split()[:4])}: {reason}")
