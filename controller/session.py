"""A run of the controller from beginning to end: all parts together, requests on their clock, what came."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from dvfo_controller.board import Board
from dvfo_controller.bundle import Bundle, read_bundle
from dvfo_controller.choices import Choices
from dvfo_controller.images import example_images, folder_images
from dvfo_controller.loop import RequestLoop, Served
from dvfo_controller.policies import open_policy
from dvfo_controller.safety.governor import Governor
from dvfo_controller.safety.guard import Guard
from dvfo_controller.safety.lock import STATE
from dvfo_controller.service.metrics import Metrics, MetricsServer
from dvfo_controller.service.notify import Notifier
from dvfo_controller.service.status import LiveStatus
from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.cutting import Array
from dvfo_controller.split.engine import Engine
from dvfo_controller.split.plan import read_plan
from dvfo_controller.split.security import read_token
from dvfo_controller.split.shaping import PlainLink, Shaper, TokenBucket
from dvfo_controller.split.trace_file import read_trace
from dvfo_env.errors import SplitError

#: Longest sleep while waiting for a request: the watchdog and the board's heat are looked after meanwhile.
_LOOK_S = 0.5
_CONNECT_S = 5.0
#: Images of noise that requests take turns with where there is no folder.
_NOISE_IMAGES = 8


@dataclass(frozen=True)
class RunOptions:
    """What to run, on which board, over which link.

    plan: names of cuts and calibrations; images: a folder, None for noise; trace: file of a link to be shaped
    by; requests: how many, None until stopped; period_ms: None takes the bundle's; state: folder of the live
    status; log: a file with a line for every request.
    """

    bundle: Path
    model: Path
    plan: Path | None = None
    digest: str | None = None
    server: tuple[str, int] | None = None
    token_file: Path | None = None
    tls_ca: str | None = None
    images: Path | None = None
    trace: Path | None = None
    requests: int | None = None
    period_ms: float | None = None
    state: Path | None = None
    metrics_port: int | None = None
    log: Path | None = None


@dataclass
class Summary:
    """What came of a run. Latencies ms from arrival to answer, one for each answered request."""

    link: str = ""
    policy: str = ""
    latencies_ms: list[float] = field(default_factory=list)
    decisions_ms: list[float] = field(default_factory=list)
    answered_by: Counter[str] = field(default_factory=Counter)
    fallback_reasons: Counter[str] = field(default_factory=Counter)
    late: int = 0
    dropped: int = 0
    safe: int = 0
    sent_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        latencies = np.array(self.latencies_ms or [np.nan])
        median, p95 = np.quantile(latencies, [0.5, 0.95]).tolist()
        return {
            "policy": self.policy,
            "link": self.link,
            "requests": len(self.latencies_ms) + self.dropped,
            "answered": len(self.latencies_ms),
            "answered_by": dict(self.answered_by),
            "fallback_reasons": dict(self.fallback_reasons),
            "dropped": self.dropped,
            "late": self.late,
            "safe": self.safe,
            "latency_ms": {"mean": float(latencies.mean()), "median": median, "p95": p95},
            "decision_ms_median": float(np.median(self.decisions_ms)) if self.decisions_ms else None,
            "sent_bytes": self.sent_bytes,
        }

    def lines(self) -> list[str]:
        """The same for people."""
        told = self.as_json()
        latency = told["latency_ms"]
        by = ", ".join(f"{count} by the {where}" for where, count in self.answered_by.items()) or "none"
        said = [
            f"policy     {self.policy}",
            f"link       {self.link}",
            f"answered   {told['answered']} of {told['requests']}: {by}; "
            f"{self.late} late, {self.dropped} dropped",
        ]
        if self.latencies_ms:
            said.append(
                f"latency    mean {latency['mean']:.1f} ms, median {latency['median']:.1f}, "
                f"p95 {latency['p95']:.1f}; deciding {told['decision_ms_median']:.2f} ms"
            )
        if self.fallback_reasons:
            why = ", ".join(f"{count} {reason}" for reason, count in self.fallback_reasons.items())
            said.append(f"fallbacks  {why}")
        if self.safe:
            said.append(f"safe       {self.safe} requests by the safe profile")
        return said


def run_session(
    options: RunOptions,
    governor: Governor,
    guard: Guard,
    summary: Summary,
    tell: Callable[[str], None],
) -> None:
    """Serve requests until there are enough of them or somebody says stop; clocks are put back then.

    A server that is not there delays the beginning by a few seconds and nothing else. `summary` is kept up to
    date, so that it holds what came of a run that was stopped.

    Raises:
        BundleError: the bundle cannot be used. SplitError: model, plan or images cannot.
        BoardError: clocks cannot be saved or put back, or another program sets them. TraceError: no trace.
    """
    bundle = read_bundle(options.bundle, options.digest)
    engine = Engine(_model(options.model), read_plan(options.plan) if options.plan else None)
    link: Shaper = TokenBucket.replaying(read_trace(options.trace)) if options.trace else PlainLink()
    images = _images(options, bundle, engine)
    summary.link, summary.policy = link.description, bundle.name
    with ExitStack() as stack:
        stack.callback(engine.close)
        stack.enter_context(governor)
        choices = Choices(bundle.manifest.action, governor.board, engine, tell)
        client = stack.enter_context(_client(options, bundle, engine, link, choices))
        loop = RequestLoop(bundle.manifest, open_policy(bundle), choices, governor, guard, client)
        if options.server is not None:
            try:
                client.wait_connected(_CONNECT_S)
            except SplitError as error:
                tell(f"{error}; this device answers until it is there")
        loop.prepare()
        link.start()
        report = stack.enter_context(_reporting(options, governor.board, guard, bundle, summary))
        _serve(options, bundle, loop, guard, images, report)


class Reporter:
    """Everybody who wants to know what comes of requests: summary, log file, metrics, status, systemd.

    `alive` says that the loop still turns.
    """

    def __init__(
        self,
        summary: Summary,
        bundle: Bundle,
        board: Board,
        guard: Guard,
        live: LiveStatus,
        log: TextIO | None,
    ) -> None:
        self.metrics = Metrics()
        self.notifier = Notifier()
        self._summary = summary
        self._bundle = bundle
        self._board = board
        self._guard = guard
        self._live = live
        self._log = log

    def __call__(self, served: Served | None) -> None:
        """Take one request as it was served; None: it was dropped."""
        summary, number = self._summary, len(self._summary.latencies_ms) + self._summary.dropped
        if served is None:
            summary.dropped += 1
            self._write({"request": number, "dropped": True})
        else:
            self._count(served)
            self._write({"request": number, **served_json(served)})
        self.alive()

    def alive(self) -> None:
        """Tell watchdog, metrics and status that the loop turns."""
        self.notifier.alive()
        if self._guard.reading is not None:
            self.metrics.board(self._board, self._guard.reading)
        self.metrics.guard(self._guard)
        told = self._summary
        self._live.write(
            {
                "policy": told.policy,
                "link": told.link,
                "answered": len(told.latencies_ms),
                "answered_by": dict(told.answered_by),
                "dropped": told.dropped,
                "safe_profile": self._guard.trip.words if self._guard.trip else None,
            }
        )

    def _count(self, served: Served) -> None:
        summary, answer = self._summary, served.answer
        late = served.latency_ms > self._bundle.manifest.requests.deadline_ms
        summary.latencies_ms.append(served.latency_ms)
        summary.decisions_ms.append(served.decision_ms)
        summary.answered_by[answer.where] += 1
        summary.late += late
        summary.safe += served.safe
        summary.sent_bytes += answer.sent_bytes
        if answer.why:
            summary.fallback_reasons[answer.why.split(":")[0]] += 1
        self.metrics.count("dvfo_requests_total", where=answer.where)
        self.metrics.observe("dvfo_request_seconds", served.latency_ms * 1e-3)
        self.metrics.observe("dvfo_decision_seconds", served.decision_ms * 1e-3)
        self.metrics.count("dvfo_sent_bytes_total", answer.sent_bytes)
        self.metrics.count("dvfo_deadline_missed_total", float(late))
        if answer.seen_mbps is not None:
            self.metrics.set("dvfo_uplink_bits_per_second", answer.seen_mbps * 1e6)

    def _write(self, words: dict[str, Any]) -> None:
        if self._log is not None:
            self._log.write(json.dumps(words) + "\n")


def served_json(served: Served) -> dict[str, Any]:
    """A served request as plain data: one line of a run's log."""
    answer = served.answer
    return {
        "action": served.action.tolist(),
        "safe": served.safe,
        "answered_by": answer.where,
        "why": answer.why,
        "latency_ms": round(served.latency_ms, 4),
        "waiting_ms": round(served.waiting_ms, 4),
        "decision_ms": round(served.decision_ms, 4),
        **{f"{phase}_ms": round(ms, 4) for phase, ms in answer.phases_ms.items()},
        "sent_bytes": answer.sent_bytes,
        "seen_mbps": answer.seen_mbps,
    }


@contextmanager
def _reporting(
    options: RunOptions, board: Board, guard: Guard, bundle: Bundle, summary: Summary
) -> Iterator[Reporter]:
    """A reporter whose listeners are there while the block lasts."""
    live = LiveStatus(options.state or board.sysfs.root / STATE)
    with ExitStack() as stack:
        log = None
        if options.log is not None:
            try:
                log = stack.enter_context(options.log.open("w", encoding="utf-8", buffering=1))
            except OSError as error:
                raise SplitError(f"{options.log}: cannot be written: {error.strerror}") from None
        reporter = Reporter(summary, bundle, board, guard, live, log)
        if options.metrics_port is not None:
            stack.enter_context(MetricsServer(reporter.metrics, options.metrics_port))
        stack.callback(live.clear)
        stack.callback(reporter.notifier.stopping)
        reporter.notifier.ready(f"{summary.policy}; link: {summary.link}")
        yield reporter


def _serve(
    options: RunOptions,
    bundle: Bundle,
    loop: RequestLoop,
    guard: Guard,
    images: list[Array],
    report: Reporter,
) -> None:
    """Requests arrive every period from now on; one that waited longer than the queue limit is dropped."""
    clock = bundle.manifest.requests
    period_s = (options.period_ms or clock.period_ms) * 1e-3
    first_s = time.monotonic()
    number = 0
    while options.requests is None or number < options.requests:
        arrived_s = first_s + number * period_s
        while (left_s := arrived_s - time.monotonic()) > 0.0:
            time.sleep(min(left_s, _LOOK_S))
            if left_s > _LOOK_S:
                guard.look()
                report.alive()
        waited_ms = (time.monotonic() - arrived_s) * 1e3
        report(
            None if waited_ms > clock.queue_limit_ms else loop.serve(images[number % len(images)], arrived_s)
        )
        number += 1


def _client(
    options: RunOptions, bundle: Bundle, engine: Engine, link: Shaper, choices: Choices
) -> SplitClient:
    return SplitClient(
        engine,
        options.server,
        choices.codecs,
        link,
        timeout_ms=bundle.manifest.requests.offload_timeout_ms,
        token=read_token(options.token_file) if options.token_file else b"",
        tls_ca=options.tls_ca,
        fallback=choices.mapping(choices.out_of_the_box),
    )


def _model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SplitError(f"{path}: cannot be read: {error.strerror}") from None


def _images(options: RunOptions, bundle: Bundle, engine: Engine) -> list[Array]:
    """Images of bytes where a plan says how they are scaled, else values from 0 to 1, channels first."""
    _, height, width = bundle.manifest.world.input_shape
    images = (
        example_images(_NOISE_IMAGES, height, width)
        if options.images is None
        else folder_images(options.images, height, width)
    )
    if engine.plan is not None and engine.plan.scaling is not None:
        return list(images)
    return [np.ascontiguousarray(image.transpose(2, 0, 1), np.float32) / 255.0 for image in images]
