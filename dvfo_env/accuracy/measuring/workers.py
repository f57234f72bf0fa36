"""Cuts measured side by side: processes that take one job after another and say how far they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from threading import Thread
from typing import Any

from dvfo_env.accuracy.measuring.cut import Job, measure_cut
from dvfo_env.errors import DvfoError, MeasurementError

#: Told the number of a job and the share of it that is done.
Tell = Callable[[int, float], None]


def measure_all(jobs: Sequence[Job], workers: int, tell: Tell) -> None:
    """Measure cuts in so many processes, each with one thread; in this process where `workers` is 1.

    Raises:
        DvfoError: a job failed, with its own message.
        MeasurementError: a process died.
    """
    if workers <= 1 or len(jobs) <= 1:
        for number, job in enumerate(jobs):
            with _one_thread():
                measure_cut(job, partial(tell, number))
        return
    waiting = list(enumerate(jobs))
    with _processes(min(workers, len(jobs))) as running:
        for connection in running:
            connection.send(waiting.pop(0))
        while running:
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                number, share, error = _received(ready, running[ready])
                if error:
                    raise MeasurementError(f"cut {jobs[number].cut_name}: {error}")
                tell(number, share)
                if share == 1.0 and waiting:
                    ready.send(waiting.pop(0))
                elif share == 1.0:
                    del running[ready]


def _received(connection: Connection, process: BaseProcess) -> tuple[int, float, str]:
    try:
        number, share, error = connection.recv()
    except (EOFError, ConnectionError):
        process.join(5)
        raise MeasurementError(
            f"a measuring process ended with status {process.exitcode}; the same command goes on from there"
        ) from None
    return int(number), float(share), str(error)


@contextmanager
def _processes(count: int) -> Iterator[dict[Connection, BaseProcess]]:
    context = get_context("spawn")
    started: dict[Connection, BaseProcess] = {}
    processes: list[BaseProcess] = []
    try:
        for _ in range(count):
            ours, theirs = context.Pipe()
            processes.append(context.Process(target=_serve, args=(theirs,), daemon=True))
            processes[-1].start()
            theirs.close()
            started[ours] = processes[-1]
        yield started
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _serve(connection: Connection) -> None:
    """Work until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who started us
    Thread(target=_leave_with_parent, daemon=True).start()
    while True:
        try:
            number, job = connection.recv()
        except (EOFError, OSError):
            return
        _measure_and_answer(connection, number, job)


def _leave_with_parent() -> None:
    """End this process as soon as the one that started it is gone, killed or not."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _measure_and_answer(connection: Connection, number: int, job: Job) -> None:
    def tell(share: float) -> None:
        connection.send((number, min(share, 0.999), ""))

    try:
        with _one_thread():
            measure_cut(job, tell)
    except DvfoError as error:
        connection.send((number, 0.0, str(error)))
    except (BrokenPipeError, ConnectionError):
        os._exit(1)  # nobody is there to be told
    else:
        connection.send((number, 1.0, ""))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread for torch: cuts, not kernels, are what runs side by side."""
    import torch

    before: Any = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
