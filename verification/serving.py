"""A server of a network in a process of its own, as `dvfo serve` starts it."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from pathlib import Path
from queue import Empty, SimpleQueue

from dvfo_env.errors import SplitError

_START_S = 60.0
_STOP_S = 10.0
_LISTENING = re.compile(r"listening on (\S+):(\d+)")


class Server:
    """`dvfo serve` on a free port while the context lasts.

    Args:
        model: the .onnx file. plan: its split plan. threads: of a tail.
        options: more of its options. before: words in front of the command.

    Raises:
        SplitError: it does not start; says its last line.
    """

    def __init__(
        self,
        model: Path,
        plan: Path,
        threads: int,
        options: tuple[str, ...] = (),
        before: tuple[str, ...] = (),
    ) -> None:
        self._process = subprocess.Popen(
            [
                *before,
                *(sys.executable, "-m", "dvfo_cli", "serve", "--model", str(model), "--plan", str(plan)),
                *("--port", "0", "--threads", str(threads), *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: SimpleQueue[str | None] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.address = self._wait()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let it end what it is doing, then end it."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as stdout:
            for line in stdout:
                self._lines.put(line.strip())
        self._lines.put(None)

    def _wait(self) -> tuple[str, int]:
        last = "it said nothing"
        while True:
            try:
                line = self._lines.get(timeout=_START_S)
            except Empty:
                self.stop()
                raise SplitError(f"dvfo serve: not listening after {_START_S:.0f} s: {last}") from None
            if line is None:
                self.stop()
                raise SplitError(f"dvfo serve: {last}")
            found = _LISTENING.search(line)
            if found:
                return found[1], int(found[2])
            last = line or last
