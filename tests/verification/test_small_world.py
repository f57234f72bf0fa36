"""From measuring to serving, with a tiny network: everything is real but the size."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dvfo_controller.board import Board
from dvfo_controller.safety.governor import Governor
from dvfo_controller.safety.guard import Guard
from dvfo_controller.session import RunOptions, Summary, run_session
from dvfo_controller.split.trace_file import write_trace
from dvfo_env.state import PHASES
from dvfo_export.bundles import write_bundle
from dvfo_export.sources import export_source
from dvfo_verification.links import LinkKind, no_namespaces
from dvfo_verification.serving import Server
from dvfo_verification.trial import uplink_trace
from dvfo_verification.verify import verify
from dvfo_verification.world import SCENARIO, World, WorldOptions, measure_world

pytestmark = pytest.mark.slow


def test_a_measured_world_is_a_scenario_and_is_not_measured_twice(
    world: World, options: WorldOptions
) -> None:
    assert world.tables.scenario.name == "this-machine"
    assert world.tables.head[..., -1, 0, 0, 0, 0].min() > 0.0
    assert (np.diff(world.tables.tail_ms) <= 0.0).all()
    assert world.loopback_ms > 0.0
    before = {path: path.stat().st_mtime_ns for path in options.folder.rglob("*") if path.is_file()}
    again = measure_world(options, lambda line: None)
    assert again.tables.sizes == world.tables.sizes
    same = {path: path.stat().st_mtime_ns for path in before if path.name != SCENARIO}
    assert same == {path: before[path] for path in same}


@pytest.mark.parametrize(
    ("kind", "words"), [("bucket", "token bucket"), ("namespaces", "network namespaces")]
)
def test_joint_actions_are_carried_out_and_compared(
    world: World, options: WorldOptions, kind: LinkKind, words: str
) -> None:
    if kind == "namespaces" and no_namespaces():
        pytest.skip(f"network namespaces: {no_namespaces()}")
    found = verify(options, actions=12, seed=3, tell=lambda line: None, kind=kind)
    assert found.agreement.measured_ms.shape == (12, len(PHASES))
    assert (found.agreement.measured > 0.0).all()
    sent = found.agreement.measured_ms[:, PHASES.index("send")] > 0.0
    np.testing.assert_array_equal(sent, found.agreement.predicted_ms[:, PHASES.index("send")] > 0.0)
    told = json.loads(found.result.read_text())
    assert told["requests"] == 12
    assert words in told["link"]
    assert found.picture.stat().st_size > 10_000


@pytest.mark.parametrize("name", ["all-local", "all-server", "planner"])
def test_the_controller_serves_every_request(world: World, tmp_path: Path, name: str) -> None:
    exported, tables = export_source(name, str(world.folder / SCENARIO))
    write_bundle(tmp_path / "bundle", tables, exported)
    write_trace(tmp_path / "walk.csv", uplink_trace(world.tables, 1, 5.0))
    summary = Summary()
    with Server(world.model, world.plan_folder, 1) as server:
        options = RunOptions(
            bundle=tmp_path / "bundle",
            model=world.model,
            plan=world.plan_folder,
            server=server.address,
            trace=tmp_path / "walk.csv",
            requests=25,
            period_ms=20.0,
            state=tmp_path / "state",
            log=tmp_path / "log.jsonl",
        )
        governor = Governor(Board.discover(), options.state, tell=lambda line: None)
        run_session(options, governor, Guard(governor), summary, lambda line: None)
    told = summary.as_json()
    assert told["requests"] == 25
    assert told["answered"] + told["dropped"] == 25
    if name != "planner":
        wanted = {"all-local": "device", "all-server": "server"}[name]
        assert told["answered_by"].get(wanted, 0) > 0
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["request"] for line in lines] == list(range(25))


def test_without_its_server_the_device_answers_all(world: World, tmp_path: Path) -> None:
    exported, tables = export_source("all-server", str(world.folder / SCENARIO))
    write_bundle(tmp_path / "bundle", tables, exported)
    command = [
        *(sys.executable, "-m", "dvfo_controller", "run", "--bundle", str(tmp_path / "bundle")),
        *("--model", str(world.model), "--plan", str(world.plan_folder), "--requests", "10"),
        *("--period-ms", "10", "--state", str(tmp_path / "state"), "--json"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    told = json.loads(done.stdout)
    assert told["answered"] == 10
    assert told["answered_by"] == {"fallback": 10}
    assert "no server" in next(iter(told["fallback_reasons"])) or told["fallback_reasons"] == {
        "not connected": 10
    }
