"""An exported agent decides as the training side does, observation for observation."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

import dvfo_train
from dvfo_agents.learned import load_policy
from dvfo_cli.main import main as dvfo
from dvfo_controller.bundle import MANIFEST, VECTORS, read_bundle
from dvfo_controller.main import main as controller
from dvfo_controller.policies import open_policy
from dvfo_controller.vectors import read_vectors
from dvfo_env.errors import ActionError
from dvfo_env.tables import CostTables
from dvfo_export.bundles import write_bundle
from dvfo_export.learned import export_policy
from tests.agents import small
from tests.export import policies


@pytest.mark.parametrize("name", policies.AGENTS)
def test_exported_decisions_equal_the_training_sides(
    name: str, tables: CostTables, frames: NDArray[np.float32], tmp_path: Path
) -> None:
    policy = policies.random_policy(name, tables)
    device = open_policy(write_bundle(tmp_path / "bundle", tables, export_policy(policy)))
    expected = policies.decided(policy, frames)
    found = np.empty_like(expected)
    for i in range(policies.SEQUENCES):
        device.reset()
        for t in range(policies.LENGTH):
            found[t, i] = device.decide(frames[t, i])
    np.testing.assert_array_equal(found, expected)
    assert len(np.unique(expected.reshape(-1, 6), axis=0)) > 1


@pytest.mark.parametrize("name", ["ppo", "sac", "crossq", "sac-discrete", "dqn", "hindsight"])
def test_decisions_are_equal_where_one_becomes_another(name: str, tables: CostTables, tmp_path: Path) -> None:
    policy = policies.random_policy(name, tables)
    device = open_policy(write_bundle(tmp_path / "bundle", tables, export_policy(policy)))
    rows = policies.boundary(policy)
    found = []
    for row in rows:
        device.reset()
        found.append(device.decide(row))
    np.testing.assert_array_equal(found, policy.act(rows))


def test_the_graph_is_one_file_that_old_runtimes_run(tables: CostTables, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tables, export_policy(policies.random_policy("dqn", tables)))
    model = onnx.load_from_string(bundle.file("policy.onnx"))
    assert [opset.version for opset in model.opset_import] == [17]
    assert model.ir_version == 8
    assert not any(tensor.external_data for tensor in model.graph.initializer)
    assert sorted(path.name for path in bundle.path.iterdir()) == [MANIFEST, "policy.onnx", VECTORS]


def test_a_device_policy_refuses_what_is_no_observation(tables: CostTables, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tables, export_policy(policies.random_policy("ppo", tables)))
    device = open_policy(bundle)
    for bad in (np.zeros(24), np.full(25, np.nan), np.zeros((1, 25))):
        with pytest.raises(ActionError, match="expected 25 finite numbers"):
            device.decide(bad.astype(np.float32))


def test_a_manifest_tells_actions_in_physical_units(tables: CostTables, tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", tables, export_policy(policies.random_policy("sac", tables)))
    action, sizes = bundle.manifest.action, tables.sizes
    assert action.sizes == sizes
    assert action.out_of_the_box == tuple(tables.out_of_the_box)
    for part in ("cpu_mhz", "gpu_mhz", "mem_mhz"):
        assert getattr(action, part) == tables.choices[part]
    card = {cut.name: cut for cut in tables.device.card.cuts}
    for index, cut in enumerate(action.cuts):
        assert [(t.name, t.shape) for t in cut.tensors] == [(t.name, t.shape) for t in card[cut.name].tensors]
        described = [tables.describe_action(np.array([index, 0, 0, 0, 0, z])) for z in range(sizes[-1])]
        assert [level.codec for level in action.compression[index]] == [d["compression"] for d in described]
    assert {level.kind for level in action.compression[0]} == {"image"}
    assert {level.kind for level in action.compression[-1]} == {"none"}
    place = action.mappings[0].places[0]
    assert (place.name, place.kind, place.cluster, place.threads) == ("gpu", "gpu", "big", 1)
    assert [feature.name for feature in bundle.manifest.observation][:2] == ["waiting", "rate_last"]


def test_recorded_decisions_are_those_of_real_episodes(tables: CostTables, tmp_path: Path) -> None:
    policy = policies.random_policy("hindsight-with-history", tables)
    vectors = read_vectors(write_bundle(tmp_path / "b", tables, export_policy(policy)))
    assert len(vectors.actions) >= 256
    assert len(vectors.begins) > 1
    for i, (observation, action) in enumerate(zip(vectors.observations, vectors.actions, strict=True)):
        if i in vectors.begins:
            policy.reset(1)
        np.testing.assert_array_equal(policy.act(observation[None])[0], action)


def test_from_a_run_to_a_checked_bundle_on_the_command_line(
    tables: CostTables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, out = policies.random_run(tmp_path / "run", "hindsight", tables), tmp_path / "bundle"
    assert dvfo(["export", str(run), "--out", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == read_bundle(out).digest
    assert controller(["selfcheck", str(out), "--digest", told["digest"], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mismatch"] is None
    device, policy = open_policy(read_bundle(out)), load_policy(run)
    noise = np.random.default_rng(2).uniform(-1.0, 1.0, size=(200, 25)).astype(np.float32)
    np.testing.assert_array_equal([device.decide(row) for row in noise], policy.act(noise))
    assert dvfo(["export", str(run), "--out", str(out)]) == 0, "a bundle is replaced"
    assert told["digest"] in capsys.readouterr().out, "and made the same again"
    (out / "thesis.tex").write_text("do not touch")
    for other in (out, run, run / "checkpoints" / "000000001000"):
        assert dvfo(["export", str(run), "--out", str(other)]) == 2
        assert "which is of no bundle: name another folder" in capsys.readouterr().err
    (out / "thesis.tex").unlink()
    assert {path.name for path in tmp_path.iterdir()} == {"run", "bundle"}, "nothing is left beside it"
    assert controller(["selfcheck", str(out), "--digest", "0" * 64]) == 2
    assert "expected 000" in capsys.readouterr().err


def test_what_cannot_be_exported_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source, message in (
        ("nothing-here", "neither a run folder nor a baseline"),
        ("planner", "name one with --scenario"),
        (str(tmp_path), "holds no run"),
    ):
        assert dvfo(["export", source, "--out", str(tmp_path / "bundle")]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("kind", small.KINDS)
def test_trained_agents_of_every_algorithm(kind: str, tmp_path: Path, frames: NDArray[np.float32]) -> None:
    assert dvfo_train.main([*small.train_arguments(tmp_path, kind, steps=1024), "--json"]) == 0
    assert dvfo(["export", str(tmp_path / "run"), "--out", str(tmp_path / "bundle")]) == 0
    device, policy = open_policy(read_bundle(tmp_path / "bundle")), load_policy(tmp_path / "run")
    expected = policies.decided(policy, frames)
    found = np.array([[device.decide(row) for row in frame] for frame in frames])
    np.testing.assert_array_equal(found, expected)
