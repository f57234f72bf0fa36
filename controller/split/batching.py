"""The server's one worker: decodes features and runs tails, several of one cut at once where that works."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dvfo_controller.split.codecs import Codecs
from dvfo_controller.split.cutting import Array, Cut
from dvfo_controller.split.engine import Engine, Mapping, pin, session_options
from dvfo_controller.split.wire import Refusal, ServerTimes
from dvfo_env.errors import CodecError, SplitError

#: Tails of several inputs must agree with those of one to this share of the largest value.
_AGREEMENT = 1e-3
#: Tails for several inputs that are kept; those made first go.
_MOST_TAILS = 64


@dataclass(frozen=True)
class Job:
    """One request.

    frame: what was sent; done: takes the times and outputs, or why there are none; wanted: whether whoever
    asked is still there.
    """

    cut: Cut
    frame: memoryview
    arrived_s: float
    budget_s: float
    done: Callable[[Result], None]
    wanted: Callable[[], bool] = lambda: True


@dataclass(frozen=True)
class Result:
    """Outputs made after the cut in the model's order, or a refusal; None for both is `too late`."""

    times: ServerTimes | None = None
    outputs: tuple[Array, ...] = ()
    refusal: Refusal | None = None
    message: str = ""


class Batches:
    """Tails of a cut for any number of inputs, where the model allows it.

    Whether it does is tried once for each cut: two different inputs at once must give what each gives alone.
    A model exported for exactly one input fails that and is run one by one.
    """

    def __init__(self, engine: Engine, mapping: Mapping) -> None:
        self._engine = engine
        self._mapping = mapping
        self._sessions: dict[object, Any] = {}
        self._lock = threading.Lock()

    def prepare(self, cut: Cut) -> bool:
        """Make the tail ready; whether it takes several inputs at once."""
        return self._session(cut) is not None

    def _session(self, cut: Cut) -> Any:
        with self._lock:
            if cut.key not in self._sessions:
                self._engine.prepare(cut, self._mapping, ["tail"])[0].result()
                while len(self._sessions) >= _MOST_TAILS:
                    del self._sessions[next(iter(self._sessions))]
                self._sessions[cut.key] = self._tried(cut)
            return self._sessions[cut.key]

    def run(self, cut: Cut, inputs: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        """Outputs for each of the inputs, in the model's order."""
        rest = self._engine.network.rest(cut)
        session = self._session(cut) if len(inputs) > 1 else None
        if session is not None:
            return self._together(session, cut, inputs)
        found = []
        for tensors in inputs:
            outputs = self._engine.run_tail(cut, tensors, self._mapping)
            found.append(tuple(outputs[name].copy() for name in rest))
        return found

    def _together(self, session: Any, cut: Cut, inputs: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        rest = self._engine.network.rest(cut)
        given = {
            name: np.concatenate([tensors[i] for tensors in inputs]) for i, name in enumerate(cut.tensors)
        }
        outputs = session.run(list(rest), given)
        if any(len(output) != len(inputs) for output in outputs):
            raise SplitError("the tail does not keep its inputs apart")
        return [tuple(output[i : i + 1] for output in outputs) for i in range(len(inputs))]

    def _tried(self, cut: Cut) -> Any:
        """A session with an open batch dimension that keeps its inputs apart, or None."""
        import onnxruntime

        specs = self._engine.tensors(cut)
        if any(spec.shape[:1] != (1,) for spec in (*specs, *self._engine.outputs())):
            return None
        random = np.random.default_rng(0)
        inputs = [[random.random(s.shape).astype(s.dtype) for s in specs] for _ in range(2)]
        options = session_options(onnxruntime, self._mapping)
        options.log_severity_level = 4
        try:
            model = self._engine.network.tail(cut, batch="batch")
            session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
            both = self._together(session, cut, inputs)
        except Exception:  # whatever onnxruntime raises: the model does not take two
            return None
        for together, tensors in zip(both, inputs, strict=True):
            alone = self._engine.run_tail(cut, tensors, self._mapping)
            for found, name in zip(together, self._engine.network.rest(cut), strict=True):
                scale = float(np.abs(alone[name]).max(initial=1e-6))
                if found.shape != alone[name].shape or np.abs(found - alone[name]).max() > _AGREEMENT * scale:
                    return None
        return session


class Worker:
    """A bounded queue of jobs and the thread that does them.

    Args:
        most_queued: jobs that may wait; more are refused.
        most_together: inputs of one cut that are run at once.
    """

    def __init__(
        self,
        engine: Engine,
        codecs: Codecs,
        mapping: Mapping,
        most_queued: int,
        most_together: int,
    ) -> None:
        self.batches = Batches(engine, mapping)
        self._codecs = codecs
        self._mapping = mapping
        self._most_queued = most_queued
        self._most_together = most_together
        self._jobs: deque[Job] = deque()
        self._ready = threading.Condition()
        self._running = 0
        self._closed = False
        self.done = 0
        self._thread = threading.Thread(target=self._work, name="dvfo-tails", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> bool:
        """Queue a job; False where the queue is full."""
        with self._ready:
            if self._closed or len(self._jobs) >= self._most_queued:
                return False
            self._jobs.append(job)
            self._ready.notify()
            return True

    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        with self._ready:
            return not self._jobs and not self._running

    def close(self) -> None:
        """End once the job at hand is done; those that wait are dropped."""
        with self._ready:
            self._closed = True
            self._jobs.clear()
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        if self._mapping.cpus:
            pin(self._mapping.cpus)
        while True:
            with self._ready:
                self._running = 0
                self._ready.wait_for(lambda: self._jobs or self._closed)
                if self._closed:
                    return
                jobs = self._next()
                self._running = len(jobs)
            self._serve(jobs)

    def _next(self) -> list[Job]:
        """The oldest job, and others of its cut."""
        first = self._jobs.popleft()
        jobs = [first]
        if self._most_together > 1:
            others = [job for job in self._jobs if job.cut.key == first.cut.key]
            jobs += others[: self._most_together - 1]
            for job in jobs[1:]:
                self._jobs.remove(job)
        return jobs

    def _serve(self, jobs: list[Job]) -> None:
        begun = time.monotonic()
        decoded: list[tuple[Job, list[Array]]] = []
        for job in jobs:
            if begun - job.arrived_s > job.budget_s or not job.wanted():
                job.done(Result())
                continue
            try:
                decoded.append((job, self._codecs.decode(job.cut, job.frame)))
            except (CodecError, SplitError) as error:
                job.done(Result(refusal=Refusal.FEATURE, message=str(error)))
            except Exception as error:  # no bytes from outside may end the worker
                job.done(Result(refusal=Refusal.FEATURE, message=type(error).__name__))
        if not decoded:
            return
        ready = time.monotonic()
        try:
            found = self.batches.run(jobs[0].cut, [tensors for _, tensors in decoded])
        except Exception as error:  # onnxruntime raises types of its own
            reason = (str(error).strip().splitlines() or [""])[0]
            for job, _ in decoded:
                job.done(Result(refusal=Refusal.FAILED, message=f"{type(error).__name__}: {reason}"[:200]))
            return
        end = time.monotonic()
        for (job, _), outputs in zip(decoded, found, strict=True):
            self.done += 1
            times = ServerTimes(
                total_ms=(time.monotonic() - job.arrived_s) * 1e3,
                queue_ms=(begun - job.arrived_s) * 1e3,
                decode_ms=(ready - begun) * 1e3,
                tail_ms=(end - ready) * 1e3,
                batch=len(decoded),
            )
            job.done(Result(times, outputs))
