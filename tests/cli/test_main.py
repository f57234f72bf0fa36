"""The command itself: fast help, near misses, errors as one line, exit statuses."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import pytest

from dvfo_cli import main as command
from dvfo_cli.main import SCRIPTS, VERBS, main

HEAVY = (
    "numpy",
    "gymnasium",
    "numba",
    "torch",
    "pydantic",
    "stable_baselines3",
    "scipy",
    "matplotlib",
    "rich",
)

_HELP = """
import sys
from dvfo_cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
print(",".join(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""


def dvfo(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command in a fresh interpreter, warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "dvfo_cli", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.mark.parametrize("verb", [None, *VERBS])
def test_help_imports_nothing_heavy(verb: str | None) -> None:
    arguments = ["--help"] if verb is None else [verb, "--help"]
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", _HELP.format(heavy=HEAVY), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    print(f"dvfo {' '.join(arguments)}: {time.perf_counter() - begun:.2f} s")
    assert "usage: dvfo" in done.stdout
    assert done.stderr.strip() == ""


def test_the_top_help_names_every_verb(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(f"  {verb} " in printed for verb in VERBS)


@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb not in SCRIPTS])
def test_every_verb_declares_and_runs(verb: str) -> None:
    module = importlib.import_module(f"dvfo_cli.verbs.{verb}")
    assert module.__doc__
    assert callable(module.add_arguments)
    assert callable(module.run)


def test_version_is_the_installed_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["--version"])
    assert leaving.value.code == 0
    assert capsys.readouterr().out.strip() == f"dvfo {version('dvfo-env')}"


def test_a_misspelt_verb_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "dvfo: error: unknown verb 'trian'; did you mean 'train'?\n"


def test_a_verb_like_no_other_is_answered_with_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["xyzzy"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(verb in error for verb in VERBS)


def test_an_error_of_ours_is_one_line_and_status_2() -> None:
    done = dvfo("workloads", "show", "no-such-network")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("dvfo: error: workload 'no-such-network'")
    assert done.stderr.count("\n") == 1


def test_an_error_that_is_not_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: list[str]) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(command, "_run", broken)
    with pytest.raises(ZeroDivisionError):
        main([])


def test_an_interrupt_gives_status_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(_: list[str]) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "_run", interrupted)
    assert main([]) == 130
    assert capsys.readouterr().err == "dvfo: interrupted\n"


def test_a_reader_that_leaves_early_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        done = subprocess.run(
            [sys.executable, "-m", "dvfo_cli", "workloads", "--json"],
            stdout=closed,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")


def test_it_runs_from_any_folder(tmp_path: Path) -> None:
    done = dvfo("workloads", "--json", cwd=tmp_path)
    assert done.returncode == 0
    assert {row["name"] for row in json.loads(done.stdout)} >= {"vgg19", "resnet50"}
