"""The device's connection to its server: kept open in the background, used by one request at a time."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable

from dvfo_controller.split import wire
from dvfo_controller.split.cutting import Cut
from dvfo_controller.split.shaping import Shaper
from dvfo_controller.split.wire import FrameReader, Header, Kind, WireError
from dvfo_env.errors import SplitError

#: Waiting between two attempts to connect: doubled from the first to the last, s.
_FIRST_WAIT_S, _LAST_WAIT_S = 0.1, 5.0
_CONNECT_TIMEOUT_S, _CLOSE_TIMEOUT_S = 3.0, 1.0
_READ_BYTES = 1 << 16


class Connection:
    """An open session, for one thread at a time; raises OSError or WireError when it is of no more use."""

    def __init__(self, sock: socket.socket, answer_bytes: int) -> None:
        self.socket = sock
        self.cuts: dict[object, int] = {}
        self._reader = FrameReader(max(answer_bytes, wire.HELLO_BYTES))
        self._frames: deque[tuple[Header, bytes, float]] = deque()
        self._begun_s: float | None = None
        self._prepared = 0
        self.rtt_ms = 0.0
        sock.setblocking(False)

    def write(self, data: memoryview, until_s: float) -> int:
        """Hand over as much as goes until then; how much that was."""
        sent = 0
        while sent < len(data):
            try:
                sent += self.socket.send(data[sent : sent + (1 << 18)])
            except (BlockingIOError, ssl.SSLWantWriteError):
                if not self._wait(until_s, writing=True):
                    break
            except ssl.SSLWantReadError:
                if not self._wait(until_s):
                    break
        return sent

    def frame(self, until_s: float) -> tuple[Header, bytes, float] | None:
        """The next frame and when its first bytes arrived (monotonic); None where there is none by then."""
        while not self._frames:
            try:
                data = self.socket.recv(_READ_BYTES)
            except (BlockingIOError, ssl.SSLWantReadError):
                if not self._wait(until_s):
                    return None
                continue
            except ssl.SSLWantWriteError:
                if not self._wait(until_s, writing=True):
                    return None
                continue
            if not data:
                raise ConnectionError("the server has closed the connection")
            now = time.monotonic()
            if self._begun_s is None:
                self._begun_s = now
            complete = self._reader.feed(data)
            for header, payload in complete:
                self._frames.append((header, payload, self._begun_s))
                self._begun_s = now
            if not self._reader.partial:
                self._begun_s = None
        return self._frames.popleft()

    def preparing(self, cut: Cut) -> tuple[int, bytes]:
        """The number under which the server knows a cut, and the frame that must go ahead where it is new."""
        if cut.key in self.cuts:
            return self.cuts[cut.key], b""
        number = self._prepared % wire.MOST_CUTS
        self._prepared += 1
        self.cuts = {key: known for key, known in self.cuts.items() if known != number}
        self.cuts[cut.key] = number
        return number, wire.frame(Kind.PREPARE, wire.PREPARING | number, wire.write_cut(number, cut))

    def refused(self, number: int) -> None:
        """The server does not take the cut of this number."""
        self.cuts = {key: known for key, known in self.cuts.items() if known != number}

    def _wait(self, until_s: float, writing: bool = False) -> bool:
        left = until_s - time.monotonic()
        if left <= 0:
            return False
        poll = select.poll()
        try:
            poll.register(self.socket, select.POLLOUT if writing else select.POLLIN)
        except ValueError:
            raise ConnectionError("the connection was closed here") from None
        return bool(poll.poll(left * 1e3))

    def close(self, discard: bool = False) -> None:
        """Close; with `discard` bytes that have not left are thrown away."""
        with contextlib.suppress(OSError):
            if discard:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.socket.close()


class Keeper:
    """Keeps a connection open: reconnects in the background, with growing pauses, until closed.

    Args:
        address: host and port of the server.
        hello: payload of HELLO.
        cuts: what every new connection prepares.
        answer_bytes: longest answer.
    """

    def __init__(
        self,
        address: tuple[str, int],
        hello: bytes,
        shaper: Shaper,
        cuts: Callable[[], list[Cut]],
        answer_bytes: int,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._address = address
        self._hello = hello
        self._shaper = shaper
        self._cuts = cuts
        self._answer_bytes = answer_bytes
        self._tls = tls
        self._changed = threading.Condition()
        self._connection: Connection | None = None
        self._closed = False
        self.why = "not connected yet"
        self.opened = 0
        self._thread = threading.Thread(target=self._keep, name="dvfo-connection", daemon=True)
        self._thread.start()

    def connection(self) -> Connection | None:
        """The open connection, if there is one."""
        return self._connection

    def drop(self, connection: Connection, why: str) -> None:
        """Give up a connection; another is made in the background."""
        connection.close(discard=True)
        with self._changed:
            if self._connection is connection:
                self._connection = None
                self.why = why
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Whether a connection is open within this time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection is not None, timeout_s)

    def close(self) -> None:
        """Close the connection and end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        self._thread.join(_CLOSE_TIMEOUT_S)  # it may be waiting for a server that does not answer

    def _keep(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._connection is None)
                if self._closed:
                    return
            try:
                made = self._connect()
            except (OSError, SplitError) as error:
                reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
                with self._changed:
                    self.why = reason or type(error).__name__
                    self._changed.wait_for(lambda: self._closed, wait_s)
                wait_s = min(2 * wait_s, _LAST_WAIT_S)
                continue
            wait_s = _FIRST_WAIT_S
            with self._changed:
                if self._closed:
                    made.close()
                    return
                self._connection = made
                self.opened += 1
                self._changed.notify_all()

    def _connect(self) -> Connection:
        """Open a connection and a session on it, and ask for all cuts that are in use.

        The server takes frames in their order: a request waits for its tail, nobody waits for the others.
        """
        sock = self._shaper.connect(self._address, _CONNECT_TIMEOUT_S)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if self._tls is not None:
                sock.settimeout(_CONNECT_TIMEOUT_S)
                sock = self._tls.wrap_socket(sock, server_hostname=self._address[0])
            connection = Connection(sock, self._answer_bytes)
            self._greet(connection)
            ahead = b"".join(connection.preparing(cut)[1] for cut in self._cuts())
            connection.write(memoryview(ahead), time.monotonic() + _CONNECT_TIMEOUT_S)
        except BaseException:
            sock.close()
            raise
        return connection

    def _greet(self, connection: Connection) -> None:
        begun = time.monotonic()
        until = begun + _CONNECT_TIMEOUT_S
        hello = memoryview(wire.frame(Kind.HELLO, 0, self._hello))
        if connection.write(hello, until) < len(hello):
            raise TimeoutError("the server takes no hello")
        answer = connection.frame(until)
        if answer is None:
            raise TimeoutError("the server does not answer a hello")
        header, payload, _ = answer
        if header.kind == Kind.ERROR:
            raise SplitError(f"the server refuses: {wire.read_error(payload)[1]}")
        if header.kind != Kind.WELCOME:
            raise WireError(f"the server answers a hello with {header.kind.name}")
        connection.rtt_ms = (time.monotonic() - begun) * 1e3
