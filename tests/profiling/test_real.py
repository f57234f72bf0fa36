"""A real, short profile of a tiny network on the machine that runs the tests."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from dvfo_env.devices import DeviceModel, load_device
from dvfo_env.profiling.benches import start_benches
from dvfo_env.profiling.onnx_engine import write_models
from dvfo_env.profiling.plan import ENGINES, Engine, Place
from dvfo_env.profiling.session import Options, look, run
from dvfo_env.record_yaml import write_record
from dvfo_env.workloads import load_workload
from dvfo_env.workloads.card import Cut, Segment, WorkloadCard
from tests.profiling.tiny import SHAPE, network

pytestmark = pytest.mark.slow

HERE = tuple(sorted(os.sched_getaffinity(0)))[-1:] if hasattr(os, "sched_getaffinity") else (0,)


def tiny_card(path: Path) -> Path:
    """The card of the tiny network, in a file."""
    shipped = load_workload("mobilenet-v2")
    names, positions = network().cuts, network().positions
    first = shipped.cuts[0].tensors[0].model_copy(update={"shape": SHAPE})
    middle = first.model_copy(update={"name": "half", "shape": (64,)})
    pixels = SHAPE[0] * SHAPE[1] * SHAPE[2]
    cuts = (
        Cut(name=names[0], position=0, tensors=(first,), elements=pixels),
        Cut(name=names[1], position=positions[1], tensors=(middle,), elements=64),
        Cut(name=names[2], position=positions[2], tensors=(), elements=0),
    )

    def segment(begin: int, end: int) -> Segment:
        layers = tuple(f"layer{index}" for index in range(begin, end))
        return Segment(flops=1, traffic_bytes_fp32=1, weight_bytes_fp32=1, ops=end - begin, layers=layers)

    card = WorkloadCard(
        name="tiny",
        title="tiny",
        source="a test",
        counting="by hand",
        checks=(),
        input_shape=SHAPE,
        input_bytes=pixels,
        answer_bytes=40,
        answer_note="",
        parameters=1,
        cuts=cuts,
        segments=(segment(0, positions[1]), segment(positions[1], positions[2])),
    )
    return write_record(card, path)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_worker_runs_the_whole_network_and_both_pieces(engine: Engine, tmp_path: Path) -> None:
    pytest.importorskip(engine)
    place = Place("cpu1", engine, "cpu", "cpu", HERE, "one core")
    bench = start_benches(network(), (place,), tmp_path)["cpu1"]
    try:
        sample = bench.visit(0.05, [1])
        assert bench.burn(0.02) >= 1
    finally:
        bench.close()
    for cut, *times in sample.passes:
        assert cut == 1
        assert len(times) == 3
        assert min(times) > 0.0
    assert sample.cpu_s > 0.0


def test_onnx_heads_and_tails_compute_what_the_whole_computes(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    of = network()
    whole = write_models(of, tmp_path)
    image = np.random.default_rng(0).random((1, *of.input_shape), dtype=np.float32)

    def run(path: Path, tensors: list[np.ndarray]) -> list[np.ndarray]:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        names = [tensor.name for tensor in session.get_inputs()]
        return session.run(None, dict(zip(names, tensors, strict=True)))

    crossing = run(tmp_path / "head-001.onnx", [image])
    (answer,) = run(tmp_path / "tail-001.onnx", crossing)
    (expected,) = run(whole, [image])
    np.testing.assert_allclose(answer, expected, rtol=1e-4, atol=1e-5)


def test_a_short_real_profile_can_be_used(tmp_path: Path) -> None:
    options = Options(
        workloads=(str(tiny_card(tmp_path / "tiny.yaml")),),
        model="tests.profiling.tiny:build",
        budget_s=25.0,
        precision_percent=20.0,
        out=tmp_path / "host.yaml",
    )
    outcome = run(options, lambda progress: None)
    engines = {place.engine for place in look(options).plan.places}
    assert outcome.seconds < 60.0
    profile = load_device(tmp_path / "host.yaml")
    assert profile == outcome.profile
    assert len(profile.mappings) == len(look(options).plan.places)
    assert all(engine in profile.inference["tiny"] for engine in engines)
    model = DeviceModel(profile, load_workload(tmp_path / "tiny.yaml"))
    for row in outcome.findings.rows:
        latency = model.head_latency_ms(row.condition.place, *(model.cpu_mhz, model.gpu_mhz, model.mem_mhz))
        assert latency[-1].item() == pytest.approx(row.whole.value, rel=1e-3)


def test_a_profile_stopped_by_a_signal_goes_on_where_it_stopped(tmp_path: Path) -> None:
    command = [
        *(sys.executable, "-m", "dvfo_cli", "profile", str(tiny_card(tmp_path / "tiny.yaml"))),
        *("--model", "tests.profiling.tiny:build", "--engine", "torch", "--precision", "20"),
        *("--budget", "20", "--out", str(tmp_path / "host.yaml"), "--json"),
    ]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30.0
    while time.monotonic() < deadline:
        logs = list(tmp_path.glob("*.partial.jsonl"))
        if logs and len(logs[0].read_text(encoding="utf-8").splitlines()) > 3:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on from there" in errors
    assert not (tmp_path / "host.yaml").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    (answer,) = json.loads(done.stdout)
    assert answer["resumed_visits"] >= 2
    assert not list(tmp_path.glob("*.partial.jsonl"))
