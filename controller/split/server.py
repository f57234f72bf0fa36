"""The server's side: takes encoded features from several devices, runs tails, answers; never trusts a byte.

One thread reads and writes every connection (asyncio), another decodes and runs tails (`batching.Worker`).
Docs: docs/split.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from dvfo_controller.split import wire
from dvfo_controller.split.batching import Job, Result, Worker
from dvfo_controller.split.codecs import Codecs
from dvfo_controller.split.cutting import Cut
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_controller.split.plan import NO_PLAN
from dvfo_controller.split.security import is_loopback, server_tls
from dvfo_controller.split.wire import Kind, Refusal, WireError
from dvfo_env.errors import SplitError

#: Requests of one device that may wait: a device asks for one at a time.
_MOST_WAITING = 4
#: Connections that have not opened a session yet; the oldest goes when one more comes.
_MOST_PENDING = 64


@dataclass(frozen=True)
class ServerSettings:
    """What a server is told.

    host, port: where it listens; port 0 lets the system choose. Any address but loopback needs TLS and a
    token. tls_cert, tls_key: PEM files. token: what devices must know, at least 16 bytes; empty on loopback:
    nothing is asked. max_batch: tails of one cut run at once, where the model allows it. max_queue: requests
    that may wait; more are answered `busy`. max_clients: devices with an open session. hello_timeout_s: from
    the connection to an open session. frame_timeout_s: from the first byte of a frame to its last.
    idle_timeout_s: a session without a frame for so long ends. drain_s: at the end, time for what waits to be
    answered. mapping: threads and cores of the tails.
    """

    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: str = ""
    tls_key: str = ""
    token: bytes = field(default=b"", repr=False)
    max_batch: int = 8
    max_queue: int = 32
    max_clients: int = 32
    hello_timeout_s: float = 5.0
    frame_timeout_s: float = 10.0
    idle_timeout_s: float = 300.0
    drain_s: float = 5.0
    mapping: Mapping = field(default_factory=Mapping)

    def __post_init__(self) -> None:
        for name in ("max_batch", "max_queue", "max_clients"):
            if getattr(self, name) < 1:
                raise SplitError(f"server: {name}: {getattr(self, name)} is below 1")
        if bool(self.tls_cert) != bool(self.tls_key):
            raise SplitError("server: TLS needs both a certificate and its key")
        if self.token and len(self.token) < 16:
            raise SplitError(f"server: token: {len(self.token)} bytes, at least 16 are needed")
        if not is_loopback(self.host) and not (self.tls_cert and self.token):
            raise SplitError(f"server: host: {self.host} is not loopback, which needs TLS and a token")


@dataclass(eq=False)
class _Session:
    """One device's connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    cuts: dict[int, Cut] = field(default_factory=dict)
    limit: int = wire.PREPARE_BYTES
    waiting: int = 0
    open: bool = False

    def send(self, kind: Kind, request: int, payload: bytes = b"") -> None:
        """Write a frame; a device that takes nothing off its connection loses it."""
        if self.writer.is_closing():
            return
        if self.writer.transport.get_write_buffer_size() > wire.PREPARE_BYTES + 4 * len(payload):
            self.writer.transport.abort()
            return
        self.writer.write(wire.frame(kind, request, payload))


class SplitServer:
    """Serves the tails of one model.

    Args:
        engine: the model, with the plan that devices have too.
        settings: where it listens, and its limits.
        log: takes one line about what happens.
    """

    def __init__(
        self,
        engine: Engine,
        settings: ServerSettings | None = None,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.engine = engine
        self.settings = settings or ServerSettings()
        self._codecs = Codecs(engine)
        self._log = log
        self._pending: dict[_Session, None] = {}
        self._sessions: set[_Session] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._known: set[object] = set()
        self._plan = engine.plan.digest if engine.plan is not None else NO_PLAN
        self._stopping = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._worker: Worker | None = None
        self.address: tuple[str, int] | None = None

    async def serve(self, ready: Callable[[], None] = lambda: None) -> None:
        """Listen until `stop`, then answer what waits and leave.

        Raises:
            SplitError: the address cannot be had, or certificate and key cannot be read.
        """
        settings = self.settings
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(lambda _, context: self._log(str(context["message"])))
        self._worker = Worker(
            self.engine, self._codecs, settings.mapping, settings.max_queue, settings.max_batch
        )
        tls = server_tls(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        try:
            server = await asyncio.start_server(
                self._connected,
                settings.host,
                settings.port,
                ssl=tls,
                ssl_handshake_timeout=settings.hello_timeout_s if tls else None,
            )
        except OSError as error:
            self._worker.close()
            raise SplitError(f"server: {settings.host}:{settings.port}: {error.strerror or error}") from None
        host, port = server.sockets[0].getsockname()[:2]
        self.address = (host, port)
        self._log(f"listening on {host}:{port}{', TLS' if tls else ''}{', token' if settings.token else ''}")
        ready()
        try:
            await self._stopping.wait()
            server.close()
            await self._drain()
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # for the connections' own ends
            await asyncio.to_thread(self._worker.close)
            self._log(f"stopped after {self._worker.done} answers")

    def stop(self) -> None:
        """Let `serve` end; from any thread or a signal handler of the loop."""
        if self._loop is not None and not self._loop.is_closed():
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)

    async def _drain(self) -> None:
        assert self._worker is not None
        until = time.monotonic() + self.settings.drain_s
        while time.monotonic() < until:
            flushed = all(s.writer.transport.get_write_buffer_size() == 0 for s in self._sessions)
            if self._worker.idle() and flushed and not any(s.waiting for s in self._sessions):
                return
            await asyncio.sleep(0.01)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = _Session(reader, writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        if len(self._pending) >= _MOST_PENDING:
            oldest = next(iter(self._pending))
            del self._pending[oldest]
            oldest.writer.transport.abort()
        self._pending[session] = None
        try:
            _tune(writer.get_extra_info("socket"))
            async with asyncio.timeout(self.settings.hello_timeout_s):
                await self._open(session)
            while session.open and not self._stopping.is_set():
                await self._frame(session)
        except WireError as error:
            session.send(Kind.ERROR, 0, wire.write_error(Refusal.PROTOCOL, str(error)))
        except (TimeoutError, asyncio.IncompleteReadError, OSError):
            pass  # gone, silent or too slow
        finally:
            self._pending.pop(session, None)
            self._sessions.discard(session)
            try:
                if not self._stopping.is_set():
                    await _closed(writer)
            finally:
                writer.transport.abort()
                self._tasks.discard(task)

    async def _open(self, session: _Session) -> None:
        """Take HELLO and answer it."""
        header, payload, _ = await self._read(session, wire.HELLO_BYTES)
        if header.kind != Kind.HELLO:
            raise WireError("the first frame is no hello")
        model, plan, token = wire.read_hello(payload)
        refused: tuple[Refusal, str] | None = None
        if self.settings.token and not hmac.compare_digest(token, self.settings.token):
            refused = Refusal.TOKEN, "the token is wrong"
        elif model != self.engine.network.digest:
            refused = Refusal.MODEL, f"this server has model {self.engine.network.digest[:12]}"
        elif plan != self._plan:
            refused = Refusal.MODEL, f"this server has split plan {self._plan[:12]}"
        elif len(self._sessions) >= self.settings.max_clients:
            refused = Refusal.FULL, f"{self.settings.max_clients} devices are connected"
        if refused is not None:
            session.send(Kind.ERROR, header.request, wire.write_error(*refused))
            self._log(f"refused {_peer(session)}: {refused[1]}")
            return
        self._pending.pop(session, None)
        self._sessions.add(session)
        session.open = True
        session.send(Kind.WELCOME, header.request)
        self._log(f"session with {_peer(session)}")

    async def _read(
        self, session: _Session, limit: int, idle_s: float | None = None
    ) -> tuple[wire.Header, bytes, float]:
        """Header and payload of a frame, and when its last byte was there (monotonic)."""
        async with asyncio.timeout(idle_s):
            first = await session.reader.readexactly(1)
        async with asyncio.timeout(self.settings.frame_timeout_s):
            rest = await session.reader.readexactly(wire.HEADER_BYTES - 1)
            header = wire.read_header(first + rest, limit)
            payload = await session.reader.readexactly(header.length)
        arrived = time.monotonic()
        wire.check_payload(header, payload)
        return header, payload, arrived

    async def _frame(self, session: _Session) -> None:
        header, payload, arrived = await self._read(session, session.limit, self.settings.idle_timeout_s)
        _quick(session.writer.get_extra_info("socket"))
        if header.kind == Kind.PREPARE:
            await self._prepare(session, header.request, payload)
        elif header.kind == Kind.REQUEST:
            self._request(session, header.request, payload, arrived)
        else:
            raise WireError(f"a device does not send {header.kind.name}")

    async def _prepare(self, session: _Session, request: int, payload: bytes) -> None:
        """Make a tail ready under a number; the session may send its features from then on."""
        number, tensors, answers = wire.read_cut(payload)
        session.cuts.pop(number, None)
        try:
            cut = self.engine.network.cut(tensors, answers)
            assert self._worker is not None
            several = await asyncio.to_thread(self._worker.batches.prepare, cut)
        except SplitError as error:
            session.send(Kind.ERROR, request, wire.write_error(Refusal.CUT, str(error)))
            return
        session.cuts[number] = cut
        if cut.key not in self._known and len(self._known) < wire.MOST_CUTS:
            self._known.add(cut.key)
            how = f"up to {self.settings.max_batch} at once" if several else "one by one"
            self._log(f"tail after {cut.name} ready, run {how}")
        longest = max(self._codecs.most_bytes(known) for known in session.cuts.values())
        session.limit = max(wire.PREPARE_BYTES, wire.REQUEST_BYTES + longest)
        session.send(Kind.PREPARED, request, bytes([several]))

    def _request(self, session: _Session, request: int, payload: bytes, arrived: float) -> None:
        number, budget_ms, feature = wire.read_request(payload)
        cut = session.cuts.get(number)
        if cut is None:
            session.send(Kind.ERROR, request, wire.write_error(Refusal.CUT, f"cut {number} is not prepared"))
            return
        if len(feature) > self._codecs.most_bytes(cut):
            session.send(Kind.ERROR, request, wire.write_error(Refusal.FEATURE, "longer than its cut's"))
            return
        loop, worker = self._loop, self._worker
        assert loop is not None
        assert worker is not None

        def done(result: Result) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(self._answer, session, request, result)

        def wanted() -> bool:
            return not session.writer.is_closing()

        job = Job(cut, feature, arrived, budget_ms * 1e-3, done, wanted)
        if session.waiting < _MOST_WAITING and worker.submit(job):
            session.waiting += 1
        else:
            session.send(Kind.BUSY, request)

    def _answer(self, session: _Session, request: int, result: Result) -> None:
        session.waiting -= 1
        if result.times is not None:
            session.send(Kind.ANSWER, request, wire.write_answer(result.times, result.outputs))
        elif result.refusal is not None:
            session.send(Kind.ERROR, request, wire.write_error(result.refusal, result.message))
        else:
            session.send(Kind.BUSY, request)


def run(server: SplitServer) -> None:
    """Serve in the foreground until SIGTERM or an interrupt."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        await server.serve()

    asyncio.run(main())


@contextlib.contextmanager
def serving(server: SplitServer) -> Iterator[tuple[str, int]]:
    """Serve in a thread; gives the address."""
    ready = threading.Event()
    failures: list[BaseException] = []

    def main() -> None:
        try:
            asyncio.run(server.serve(ready.set))
        except BaseException as error:  # handed to the caller below
            failures.append(error)
        finally:
            ready.set()

    thread = threading.Thread(target=main, name="dvfo-server", daemon=True)
    thread.start()
    ready.wait()
    if failures:
        raise failures[0]
    assert server.address is not None
    try:
        yield server.address
    finally:
        server.stop()
        thread.join()


def _tune(connection: socket.socket) -> None:
    """No waiting for more to send (Nagle), and notice when the other side is gone."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    _quick(connection)


def _quick(connection: socket.socket) -> None:
    """Acknowledge at once: devices tell by it when their bytes have left."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _peer(session: _Session) -> str:
    peer = session.writer.get_extra_info("peername")
    return f"{peer[0]}:{peer[1]}" if peer else "?"


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Flush what is left for a moment, then close."""
    with contextlib.suppress(OSError, TimeoutError, ssl.SSLError):
        async with asyncio.timeout(1.0):
            writer.close()
            await writer.wait_closed()
