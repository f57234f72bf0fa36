"""How tables and JSON look: complete without a terminal, within its width on one."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys

import numpy as np
import pytest

from dvfo_cli.output import number, print_json, print_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (18.62431, "18.62"),
        (14436.2, "14,436"),
        (0.0001894, "0.0001894"),
        (100.0, "100"),
        (-2.5, "-2.5"),
        (3e-7, "3.000e-07"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_have_four_digits_and_no_trailing_zeros(value: float, text: str) -> None:
    assert number(value) == text


def test_without_a_terminal_nothing_is_cut_or_wrapped(capsys: pytest.CaptureFixture[str]) -> None:
    long = "word " * 60
    print_table(("name", "n"), [(long.strip(), 1), ("short", 22222)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert long.strip() in lines[1]
    assert lines[1].endswith("     1")
    assert lines[2].endswith("22,222")


def test_json_has_no_numpy_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"a": np.float32(1.5), "b": np.arange(2), "c": [float("nan"), (1, "x")], "d": np.inf})
    assert json.loads(capsys.readouterr().out) == {"a": 1.5, "b": [0, 1], "c": [None, [1, "x"]], "d": None}


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("what", ["devices", "devices show raspberry-pi-4b", "workloads show resnet50"])
def test_on_a_terminal_no_line_is_wider_than_it(what: str, width: int) -> None:
    lines = _on_terminal(what.split(), width)
    assert len(lines) > 3
    assert max(map(len, lines)) <= width


def _on_terminal(arguments: list[str], width: int) -> list[str]:
    """What the command prints on a terminal `width` columns wide, without colour codes."""
    controller, terminal = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(width), "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-m", "dvfo_cli", *arguments], stdout=terminal, env=environment
    ) as process:
        os.close(terminal)
        printed = b""
        try:
            while chunk := os.read(controller, 65536):
                printed += chunk
        except OSError:  # Linux: the other end is closed
            pass
    os.close(controller)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;]*m", "", printed.decode()).replace("\r", "").splitlines()
