"""The demonstration: measure this machine, learn on that, run the policy for real against fixed ones.

The device is one core of this machine, the server all of them, the uplink a replayed trace that the policy
has not seen. What is compared is measured latency, request by request.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dvfo_controller.split.shaping import Trace
from dvfo_controller.split.trace_file import write_trace
from dvfo_env.errors import DvfoError, SplitError
from dvfo_env.hardware.sysfs import SysFs
from dvfo_env.hardware.topology import discover
from dvfo_env.whole_file import write_whole
from dvfo_export.bundles import write_bundle
from dvfo_export.sources import export_source
from dvfo_verification.agreement import plain_ticks
from dvfo_verification.serving import Server
from dvfo_verification.trial import uplink_trace
from dvfo_verification.world import SCENARIO, World, WorldOptions, measure_world

RESULT, PICTURE, TRACE = "demo.json", "demo.png", "walk.csv"
#: What the learned policy is held against.
FIXED = ("all-local", "all-server", "compress-input")
LEARNED = "hindsight"
#: Bank of the uplink that is replayed; training episodes live in bank 0.
REPLAYED_BANK = 1


@dataclass(frozen=True)
class DemoOptions:
    """Where files go and how long things take: seconds of profiling, training and of each policy's run."""

    folder: Path
    workload: str = "inception-v4"
    uplink: str = "5g-mmwave-walking"
    profile_s: float = 20.0
    train_s: float = 25.0
    run_s: float = 20.0


@dataclass(frozen=True)
class Demo:
    """What came of it: for each policy what `dvfo-controller run --json` prints, and where the files are."""

    summaries: dict[str, dict[str, Any]]
    result: Path
    picture: Path


def demonstrate(options: DemoOptions, tell: Callable[[str], None]) -> Demo:
    """Measure, learn, run.

    Raises:
        DvfoError: a step failed; its last line says why.
    """
    threads = max(2, len(discover(SysFs()).cpus))
    world = measure_world(
        WorldOptions(
            folder=options.folder,
            workload=options.workload,
            one_core=True,
            server_threads=threads,
            profile_s=options.profile_s,
            uplink=options.uplink,
            most_cuts=6,
            patience=1.2,
            points_weight=0.002,
        ),
        tell,
    )
    bundles = _bundles(options, tell)
    trace = uplink_trace(world.tables, REPLAYED_BANK, options.run_s)
    write_trace(options.folder / TRACE, trace)
    period_ms = float(world.tables.params[0]["period_ms"])
    requests = max(10, int(1000.0 * options.run_s / period_ms))
    summaries = {}
    with Server(world.model, world.plan_folder, threads) as server:
        for name, bundle in bundles.items():
            tell(f"{requests} requests by {name}, {options.run_s:.0f} s")
            summaries[name] = _run(world, bundle, server.address, requests, options.folder / f"{name}.jsonl")
    result, picture = options.folder / RESULT, options.folder / PICTURE
    write_whole(result, json.dumps(summaries, indent=1) + "\n")
    logs = {name: _log(options.folder / f"{name}.jsonl") for name in bundles}
    _draw(logs, trace, period_ms * 1e-3, picture)
    return Demo(summaries, result, picture)


def _bundles(options: DemoOptions, tell: Callable[[str], None]) -> dict[str, Path]:
    """Train, and export everything that is going to run; what is fixed meanwhile."""
    folder, scenario = options.folder, str(options.folder / SCENARIO)
    run = folder / "run"
    bundles = {name: folder / f"bundle-{name}" for name in (LEARNED, *FIXED)}
    minutes = f"{options.train_s / 60.0:.3f}"
    with ThreadPoolExecutor(1) as beside:
        training = None
        if not (run / "result.json").is_file():
            tell(f"learning on what was measured, {options.train_s:.0f} s")
            resume = ["--resume"] if run.exists() else ["--scenario", scenario, "--agent", LEARNED]
            training = beside.submit(_dvfo, "train", *resume, "--minutes", minutes, "--out", str(run))
        for name in FIXED:
            exported, tables = export_source(name, scenario)
            write_bundle(bundles[name], tables, exported)
        if training is not None:
            training.result()
    tell(f"exporting {LEARNED}")
    exported, tables = export_source(str(run), scenario)
    write_bundle(bundles[LEARNED], tables, exported)
    return bundles


def _dvfo(*arguments: str) -> None:
    done = subprocess.run([sys.executable, "-m", "dvfo_cli", *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise DvfoError(f"dvfo {arguments[0]}: {lines[-1] if lines else f'status {done.returncode}'}")


def _run(world: World, bundle: Path, address: tuple[str, int], requests: int, log: Path) -> dict[str, Any]:
    """One policy by the controller, over the link that replays the trace from its beginning."""
    command = [
        *(
            sys.executable,
            "-m",
            "dvfo_controller",
            "run",
            "--bundle",
            str(bundle),
            "--model",
            str(world.model),
        ),
        *("--plan", str(world.plan_folder), "--server", f"{address[0]}:{address[1]}"),
        *("--trace", str(world.folder / TRACE), "--requests", str(requests), "--log", str(log), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        raise SplitError(f"dvfo-controller run: {lines[-1] if lines else f'status {done.returncode}'}")
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def _log(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _draw(logs: dict[str, list[dict[str, Any]]], trace: Trace, period_s: float, path: Path) -> None:
    """Bandwidth, the measured latency of every request, and how latencies are distributed."""
    from matplotlib.figure import Figure

    colours = dict(zip(logs, ("#d95f02", "#4d4d4d", "#2166ac", "#67a9cf"), strict=False))
    figure = Figure(figsize=(9.5, 5.4), layout="constrained")
    grid = figure.add_gridspec(2, 2, height_ratios=(1.0, 2.4), width_ratios=(2.2, 1.0))
    uplink = figure.add_subplot(grid[0, 0])
    over_time = figure.add_subplot(grid[1, 0], sharex=uplink)
    spread = figure.add_subplot(grid[:, 1])
    uplink.fill_between(trace.times_s, trace.mbps, step="post", color="#9ecae1")
    uplink.set(ylabel="uplink, Mbit/s", ylim=(0.0, None))
    uplink.tick_params(labelbottom=False)
    for name, lines in logs.items():
        answered = [line for line in lines if not line.get("dropped")]
        latency = np.array([line["latency_ms"] for line in answered])
        times = np.array([line["request"] for line in answered]) * period_s
        over_time.plot(times, latency, ".-", markersize=3, linewidth=0.8, color=colours[name], label=name)
        spread.plot(np.sort(latency), np.linspace(0.0, 1.0, len(latency)), color=colours[name], label=name)
    over_time.set(xlabel="time, s", ylabel="measured latency, ms", yscale="log")
    plain_ticks(over_time.yaxis)
    spread.set(xlabel="measured latency, ms", ylabel="share of requests", ylim=(0.0, 1.01), xscale="log")
    plain_ticks(spread.xaxis)
    spread.legend(frameon=False, fontsize=8, loc="lower right")
    figure.savefig(path, dpi=130)
