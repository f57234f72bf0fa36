"""`dvfo serve` as a process of its own: killed, started again, ended; and what it refuses."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.engine import Engine
from tests.split.models import example, small_network
from tests.split.test_faults import ask, recovers


def serve(model: Path, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """A server in a process of its own, and its port."""
    command = [sys.executable, "-m", "dvfo_cli", "serve", "--model", str(model), "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "listening on" in line:
            return process, int(line.rsplit(":", 1)[1])
    raise AssertionError("the server did not start")


def test_a_server_is_killed_and_started_again_and_ended(tmp_path: Path) -> None:
    file = tmp_path / "small.onnx"
    file.write_bytes(small_network())
    engine = Engine(small_network())
    expected = np.array(engine.run_whole(example())[0])
    first, port = serve(file)
    with SplitClient(engine, ("127.0.0.1", port), timeout_ms=300) as client:
        client.wait_connected(10)
        client.prepare(["image", "residual", "joined"])
        recovers(client)
        first.kill()
        first.wait()
        assert ask(client, expected, 9) == {"fallback": 9}
        second, _ = serve(file, port)
        recovers(client, 15)
        second.send_signal(signal.SIGTERM)
        assert second.wait(10) == 0
        assert "stopped after" in second.stdout.read()
        assert sum(ask(client, expected, 3).values()) == 3
    for process in (first, second):
        process.stdout.close()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--model", "missing.onnx"], "missing.onnx: No such file"),
        (["--model", "{model}", "--host", "0.0.0.0"], "needs TLS and a token"),
        (["--model", "{model}", "--tls-cert", "a.pem"], "both a certificate and its key"),
        (["--model", "{model}", "--cpus", "x"], "no list of cores"),
        (["--model", "{model}", "--plan", "missing.split"], "missing.split/split.json"),
        (["--model", "{model}", "--max-queue", "0"], "max_queue"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_line(tmp_path, capsys, monkeypatch, options, reason) -> None:
    from dvfo_cli.main import main

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "small.onnx"
    file.write_bytes(small_network())
    assert main(["serve", *(option.format(model=file) for option in options)]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1
