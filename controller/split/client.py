"""The device's side: runs the head, sends what crosses, and answers every request, with or without a server.

A request that the server does not answer in time is finished here from what the head has made. Nothing in
this file reads the wall clock: a clock that jumps changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal

from dvfo_controller.split import wire
from dvfo_controller.split.codecs import Codecs
from dvfo_controller.split.connection import Connection, Keeper
from dvfo_controller.split.cutting import Array, Cut
from dvfo_controller.split.engine import Engine, Head, Mapping
from dvfo_controller.split.plan import NO_PLAN
from dvfo_controller.split.security import client_tls
from dvfo_controller.split.shaping import PlainLink, Shaper
from dvfo_controller.split.wire import Header, Kind, ServerTimes, WireError
from dvfo_env.errors import SplitError

Where = Literal["device", "server", "fallback"]

#: Phases of a request that are measured here, by the environment's names, in order.
PHASES = ("head", "encode", "send", "network", "server", "receive", "fallback")
#: So many time-outs in a row without a byte from the server, and it counts as gone.
_SILENT_TIMEOUTS = 2
_PREPARE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Answer:
    """How a request was answered.

    Attributes:
        outputs: in the model's order.
        where: by the device alone as asked, by the server, or by the device because the server did not.
        phases_ms: time in each of PHASES; they add up to `latency_ms`. `send` ends when the last byte has
        left;
            `network` is what is left of the wait once the server's own time (`server`) is taken off;
            `receive` goes from the answer's first byte to its last value. Where the time ran out, the wait is
            split as the environment does: the last known round trip is the network's, the rest the server's.
        sent_bytes: bytes that left, headers included.
        seen_mbps: the transfer's own rate; None where nothing was sent.
        rtt_ms: round trip as this request saw it, or as the last one did; None before the first.
        server_ms: what the server says it took, queue included; None where it did not answer.
        server: the same in parts.
        why: of a fallback: "time-out", "busy", "not connected: ...", "connection lost: ...", "refused: ...".
    """

    outputs: list[Array]
    where: Where
    phases_ms: dict[str, float]
    sent_bytes: int = 0
    seen_mbps: float | None = None
    rtt_ms: float | None = None
    server_ms: float | None = None
    server: ServerTimes | None = None
    why: str = ""

    @property
    def latency_ms(self) -> float:
        """From the image to the answer."""
        return sum(self.phases_ms.values())


@dataclass
class _Request:
    """A request on its way: the times at which its phases ended, on the monotonic clock."""

    number: int
    cut: Cut
    begun_s: float
    head_s: float = 0.0
    encoded_s: float = 0.0
    left_s: float = 0.0
    first_s: float = 0.0
    end_s: float = 0.0
    until_s: float = 0.0
    rtt_added_s: float = 0.0
    sent_bytes: int = 0
    times: ServerTimes | None = None
    outputs: dict[str, Array] = field(default_factory=dict)


class _NotAnsweredError(Exception):
    """The server did not answer this request; why."""


class SplitClient:
    """Answers requests with one network, split or whole.

    Args:
        engine: the network, with the plan that the server has too.
        address: host and port of the server; None: there is none.
        codecs: made from the engine unless given.
        shaper: the uplink; the connection as it is unless given.
        timeout_ms: from the first byte sent to the answer; what is not back by then never counts.
        token: what the server asks for.
        tls: verified against `tls_ca` (a PEM file; the system's authorities where it is empty); off with
        None. fallback: mapping of what is finished here; the request's own unless given.

    One request at a time; `request` may be called from any thread. A connection is opened and kept open in
    the background: without one a request is answered here at once.
    """

    def __init__(
        self,
        engine: Engine,
        address: tuple[str, int] | None,
        codecs: Codecs | None = None,
        shaper: Shaper | None = None,
        timeout_ms: float = 1000.0,
        token: bytes = b"",
        tls_ca: str | None = None,
        fallback: Mapping | None = None,
    ) -> None:
        if not timeout_ms > 0:
            raise SplitError(f"client: timeout_ms: {timeout_ms} is not above 0")
        self.engine = engine
        self.shaper: Shaper = shaper or PlainLink()
        self.timeout_ms = timeout_ms
        self._codecs = codecs or Codecs(engine)
        self._fallback = fallback
        self._lock = threading.Lock()
        self._number = 0
        self._rtt_ms: float | None = None
        self._silent = 0
        self._used: dict[object, Cut] = {}
        self._background = ThreadPoolExecutor(1, "dvfo-prepare")
        self._keeper: Keeper | None = None
        if address is not None:
            plan = engine.plan.digest if engine.plan is not None else NO_PLAN
            self._keeper = Keeper(
                address,
                wire.write_hello(engine.network.digest, plan, token),
                self.shaper,
                lambda: list(self._used.values())[-wire.MOST_CUTS :],
                wire.answer_bytes(engine.outputs()),
                None if tls_ca is None else client_tls(tls_ca),
            )

    def __enter__(self) -> SplitClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection and undo what the link set up."""
        self._background.shutdown(wait=False, cancel_futures=True)
        if self._keeper is not None:
            self._keeper.close()
        self.shaper.close()

    @property
    def connected(self) -> bool:
        """Whether a session with the server is open."""
        return self._keeper is not None and self._keeper.connection() is not None

    @property
    def why_not(self) -> str:
        """Why there is no session."""
        return "no server" if self._keeper is None else self._keeper.why

    def wait_connected(self, timeout_s: float = 5.0) -> None:
        """Wait for a session. Raises SplitError saying why there is none."""
        if self._keeper is None or not self._keeper.wait(timeout_s):
            raise SplitError(f"server: {self.why_not}")

    def prepare(
        self, cuts: Sequence[str | Sequence[str] | Cut], mappings: Sequence[Mapping] = (Mapping(),)
    ) -> None:
        """Make the sessions of these cuts, here and on the server, and wait until they are there."""
        found = [self.engine.cut(cut) for cut in cuts]
        for cut in found:
            for mapping in mappings:
                for future in self.engine.prepare(cut, mapping, ["head"]):
                    future.result()
            for future in self.engine.prepare(cut, self._fallback or mappings[0], ["tail"]):
                future.result()
        with self._lock:
            for cut in found:
                if cut.tensors:
                    self._used[cut.key] = cut
            connection = self._keeper.connection() if self._keeper is not None else None
            if connection is not None:
                for cut in found:
                    if cut.tensors:
                        self._prepare_there(connection, cut)

    def request(
        self,
        image: Array,
        cut: str | Sequence[str] | Cut,
        mapping: Mapping | None = None,
        codec_name: str = "fp32-keep1-none",
        arrived_s: float | None = None,
    ) -> Answer:
        """Answer one image.

        Args:
            image: as `Engine.head` takes it.
            cut: where to cut; the plan's last name, or (), runs everything here.
            mapping: of the head.
            codec_name: a feature setting's or image codec's name.
            arrived_s: when the request arrived (monotonic; now unless given): the link's delay of that moment
                counts, as in the environment.

        Raises:
            SplitError: what was asked for is impossible here: no such cut, an image that does not fit, a
            codec
                without its calibration. Whatever the network or the server do never raises.
        """
        found = self.engine.cut(cut)
        mapping = mapping or Mapping()
        with self._lock:
            self._number += 1
            request = _Request(self._number, found, time.monotonic())
            head = self.engine.head(found, image, mapping)
            request.head_s = request.encoded_s = request.left_s = time.monotonic()
            if not found.tensors:
                outputs = self.engine.in_order(head.answers)
                return Answer(outputs, "device", self._phases(request, time.monotonic()), rtt_ms=self._rtt_ms)
            self._expect(found, self._fallback or mapping)
            try:
                self._offload(request, head, image, codec_name, arrived_s or request.begun_s)
            except _NotAnsweredError as reason:
                return self._finish_here(request, head, self._fallback or mapping, str(reason))
            return self._answered(request, head)

    def _offload(
        self, request: _Request, head: Head, image: Array, codec_name: str, arrived_s: float
    ) -> None:
        """Let the server do the rest. Raises _NotAnsweredError."""
        keeper = self._keeper
        connection = keeper.connection() if keeper is not None else None
        if keeper is None or connection is None:
            raise _NotAnsweredError(f"not connected: {self.why_not}")
        try:
            self._drain(connection)
            feature = self._codecs.encode(request.cut, codec_name, head.tensors, image)
            request.encoded_s = request.left_s = time.monotonic()
            request.until_s = request.encoded_s + self.timeout_ms * 1e-3
            request.rtt_added_s = self.shaper.rtt_ms(arrived_s) * 1e-3
            data = self._written(connection, request, feature)
            sent = self.shaper.send(connection.write, data, request.until_s, connection.socket)
            request.sent_bytes, request.left_s = sent.bytes, min(sent.left_s, request.until_s)
            if sent.bytes < len(data):  # half a frame is on its way: this connection cannot be used again
                keeper.drop(connection, "a request was cut off at its time-out")
                raise _NotAnsweredError("time-out")
            self._receive(connection, request)
        except (OSError, WireError) as error:
            reason = str(error) or type(error).__name__
            keeper.drop(connection, reason)
            self._silent = 0
            raise _NotAnsweredError(f"connection lost: {reason}") from None

    def _written(self, connection: Connection, request: _Request, feature: bytes) -> bytes:
        number, ahead = connection.preparing(request.cut)
        return ahead + wire.frame(
            Kind.REQUEST, request.number, wire.write_request(number, self.timeout_ms), feature
        )

    def _drain(self, connection: Connection) -> None:
        """Drop what has arrived since the last request: answers that came too late."""
        while (arrived := connection.frame(0.0)) is not None:
            self._silent = 0
            _noticed(connection, *arrived[:2])

    def _receive(self, connection: Connection, request: _Request) -> None:
        """Wait for the answer. Raises _NotAnsweredError, OSError, WireError."""
        arrive_s = request.until_s - request.rtt_added_s  # what arrives later has not passed the link in time
        while True:
            arrived = connection.frame(arrive_s)
            if arrived is None:
                _sleep_until(request.until_s)
                self._silent += 1
                if self._silent >= _SILENT_TIMEOUTS and self._keeper is not None:
                    self._keeper.drop(connection, f"the server was silent for {self._silent} time-outs")
                    self._silent = 0
                raise _NotAnsweredError("time-out")
            self._silent = 0
            header, payload, begun_s = arrived
            if header.request != request.number:
                _noticed(connection, header, payload)
                continue
            _sleep_until(time.monotonic() + request.rtt_added_s)
            if header.kind == Kind.BUSY:
                raise _NotAnsweredError("busy")
            if header.kind == Kind.ERROR:
                raise _NotAnsweredError(f"refused: {wire.read_error(payload)[1]}")
            if header.kind != Kind.ANSWER:
                raise WireError(f"the server answers with {header.kind.name}")
            specs = [s for s in self.engine.outputs() if s.name not in request.cut.answers]
            request.times, request.outputs = wire.read_answer(payload, specs)
            request.first_s = begun_s + request.rtt_added_s
            return

    def _answered(self, request: _Request, head: Head) -> Answer:
        assert request.times is not None
        outputs = self.engine.in_order(head.answers | request.outputs)
        end_s = time.monotonic()
        away_ms = max(0.0, request.first_s - request.left_s) * 1e3
        server_ms = min(request.times.total_ms, away_ms)
        network_ms = away_ms - server_ms
        self._rtt_ms = network_ms
        phases = self._phases(request, end_s)
        receive_ms = end_s * 1e3 - max(request.first_s, request.left_s) * 1e3
        phases |= {"network": network_ms, "server": server_ms, "receive": receive_ms, "fallback": 0.0}
        return Answer(
            outputs,
            "server",
            phases,
            request.sent_bytes,
            _mbps(request),
            self._rtt_ms,
            request.times.total_ms,
            request.times,
        )

    def _finish_here(self, request: _Request, head: Head, mapping: Mapping, why: str) -> Answer:
        """Run the tail here, from what the head has made."""
        waited_s = time.monotonic()
        outputs = self.engine.in_order(
            head.answers | self.engine.run_tail(request.cut, head.tensors, mapping)
        )
        end_s = time.monotonic()
        away_ms = (waited_s - request.left_s) * 1e3
        network_ms = min(away_ms, self._rtt_ms or 0.0)
        phases = self._phases(request, end_s)
        phases |= {
            "network": network_ms,
            "server": away_ms - network_ms,
            "receive": 0.0,
            "fallback": (end_s - waited_s) * 1e3,
        }
        return Answer(
            outputs, "fallback", phases, request.sent_bytes, _mbps(request), self._rtt_ms, None, None, why
        )

    def _phases(self, request: _Request, end_s: float) -> dict[str, float]:
        phases = dict.fromkeys(PHASES, 0.0)
        phases["head"] = (request.head_s - request.begun_s) * 1e3
        phases["encode"] = (request.encoded_s - request.head_s) * 1e3
        phases["send"] = (request.left_s - request.encoded_s) * 1e3
        if not request.cut.tensors:
            phases["head"] = (end_s - request.begun_s) * 1e3
        return phases

    def _expect(self, cut: Cut, fallback: Mapping) -> None:
        """Remember a cut for new connections, and make the tail that a fallback at it needs."""
        if cut.key not in self._used:
            self._used[cut.key] = cut
            self._background.submit(self.engine.prepare, cut, fallback, ["tail"])

    def _prepare_there(self, connection: Connection, cut: Cut) -> None:
        number, ahead = connection.preparing(cut)
        until = time.monotonic() + _PREPARE_TIMEOUT_S
        try:
            connection.write(memoryview(ahead), until)
            while ahead and (arrived := connection.frame(until)) is not None:
                _noticed(connection, *arrived[:2])
                if arrived[0].request == wire.PREPARING | number:
                    return
        except (OSError, WireError) as error:
            assert self._keeper is not None
            self._keeper.drop(connection, str(error))


def _noticed(connection: Connection, header: Header, payload: bytes) -> None:
    """Take note of a frame that is not the answer waited for: that of an earlier request is dropped.

    Raises:
        WireError: the server ends the session.
    """
    if header.kind == Kind.ERROR:
        why, message = wire.read_error(payload)
        if header.request & wire.PREPARING:
            connection.refused(header.request ^ wire.PREPARING)
        elif header.request == 0:
            raise WireError(f"the server ends the session: {why.name.lower()}: {message}")


def _mbps(request: _Request) -> float | None:
    spent_s = request.left_s - request.encoded_s
    return request.sent_bytes * 8e-6 / spent_s if request.sent_bytes and spent_s > 0 else None


def _sleep_until(moment_s: float) -> None:
    left = moment_s - time.monotonic()
    if left > 0:
        time.sleep(left)
