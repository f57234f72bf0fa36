"""Processes that work off contests, one at a time each; one that dies takes down its own contest only."""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, NamedTuple, Protocol

from dvfo_env.errors import DvfoError

_PATIENCE_S = 15.0  # for a training to save itself


class Event(NamedTuple):
    """One part of a job that ended: `error` is None where all went well.

    `part` is what the job calls it, None where the job as a whole failed; `stored` tells that it was there
    already, `key` where its result lies.
    """

    job: int
    part: Any
    seconds: float = 0.0
    stored: bool = False
    error: str | None = None
    key: str | None = None


Tell = Callable[[Event], None]


class Job(Protocol):
    """What a process is given: it must be picklable."""

    def work(self, number: int, tell: Tell) -> None:
        """Do everything; call `tell(Event(number, part, ...))` after each part."""


@dataclass
class _Worker:
    process: SpawnProcess
    pipe: Connection
    job: int | None = None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def work_off(jobs: Sequence[Job], processes: int, environment: dict[str, str], heard: Tell) -> None:
    """Work off `jobs` in order on `processes` processes; `heard` is called for each part as it ends.

    A job's error ends that job only. When interrupted, processes are asked to stop and waited for.
    """
    context = multiprocessing.get_context("spawn")
    todo = list(range(len(jobs)))[::-1]
    workers: list[_Worker] = []

    def begin() -> _Worker:
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs,), daemon=False)
        with _environment(environment):
            process.start()
        theirs.close()
        return _Worker(process, ours)

    def give(worker: _Worker) -> None:
        worker.job = todo.pop() if todo else None
        worker.pipe.send(None if worker.job is None else (worker.job, jobs[worker.job]))

    try:
        for _ in range(min(processes, len(jobs))):
            workers.append(begin())
            give(workers[-1])
        while busy := [worker for worker in workers if worker.job is not None]:
            for pipe in wait([worker.pipe for worker in busy]):
                worker = next(each for each in busy if each.pipe is pipe)
                assert worker.job is not None
                try:
                    event = worker.pipe.recv()
                except (EOFError, OSError):
                    worker.process.join()
                    code = worker.process.exitcode
                    heard(Event(worker.job, None, error=f"its process died (exit code {code})"))
                    workers.remove(worker)
                    if todo:
                        workers.append(begin())
                        give(workers[-1])
                    continue
                if event is None:
                    give(worker)
                else:
                    heard(event)
    finally:
        for worker in workers:
            if worker.job is not None and worker.process.is_alive():
                worker.process.terminate()
        for worker in workers:
            worker.pipe.close()
            worker.process.join(_PATIENCE_S)
            if worker.process.is_alive():  # deep in compiled code: files are written whole or not at all
                worker.process.kill()
                worker.process.join()


class _environment:
    """Variables that the processes begun inside have; libraries read them when they are imported."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._variables, self._before = variables, {name: os.environ.get(name) for name in variables}

    def __enter__(self) -> None:
        os.environ.update(self._variables)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _serve(pipe: Connection) -> None:
    """What a process does: take jobs until there is none. SIGTERM stops it in an orderly way."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears Ctrl-C and tells us
    signal.signal(signal.SIGTERM, _stop)
    while True:
        try:
            given = pipe.recv()
        except (EOFError, OSError):
            return
        if given is None:
            return
        number, job = given
        error = None
        try:
            job.work(number, pipe.send)
        except Exception as problem:
            error = in_one_line(problem)
        try:
            if error is not None:
                pipe.send(Event(number, None, error=error))
            pipe.send(None)
        except OSError:
            return  # whoever asked is gone


def in_one_line(problem: Exception) -> str:
    """An error as people read it; one that is not ours says where it was raised."""
    if isinstance(problem, DvfoError):
        return str(problem)
    where = traceback.extract_tb(problem.__traceback__)[-1]
    return f"{type(problem).__name__}: {problem} ({where.filename}:{where.lineno})"


def _stop(number: int, frame: Any) -> None:
    raise SystemExit(143)
