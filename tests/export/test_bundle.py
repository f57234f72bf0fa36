"""Bundles that were altered, cut short or made to do harm are refused in one line, and nothing is run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from dvfo_controller import bundle as b
from dvfo_controller.main import main as controller
from dvfo_controller.onnx_file import check_onnx
from dvfo_controller.policies import open_policy
from dvfo_controller.policies.sessions import read_tables
from dvfo_controller.records import parse_json
from dvfo_controller.vectors import first_mismatch
from dvfo_env.errors import BundleError, DvfoError
from dvfo_env.tables import CostTables
from dvfo_export.bundles import write_bundle
from dvfo_export.graph import tables_model
from dvfo_export.learned import export_policy
from tests.export import policies


@pytest.fixture(scope="module")
def whole(tables: CostTables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle") / "whole"
    write_bundle(folder, tables, export_policy(policies.random_policy("hindsight", tables)))
    return folder


@pytest.fixture
def copy(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def rewrite(
    folder: Path, change: Callable[[dict[str, Any]], Any], files: dict[str, bytes] | None = None
) -> None:
    """Change the manifest as somebody would who knows the format: hashes and digest fit again."""
    data = json.loads((folder / b.MANIFEST).read_text(encoding="utf-8"))
    for name, content in (files or {}).items():
        (folder / name).write_bytes(content)
        data["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    del data["digest"]
    change(data)
    data["digest"] = "0" * 64
    text = (json.dumps(data, indent=1) + "\n").encode()
    digest = hashlib.sha256(text).hexdigest()
    (folder / b.MANIFEST).write_bytes(
        text.replace(b'"digest": "' + b"0" * 64, f'"digest": "{digest}'.encode())
    )


def refused(folder: Path, message: str) -> None:
    with pytest.raises(BundleError, match=message) as caught:
        open_policy(b.read_bundle(folder))
    assert "\n" not in str(caught.value)


def test_a_whole_bundle_is_read(whole: Path) -> None:
    bundle = b.read_bundle(whole)
    assert first_mismatch(bundle, open_policy(bundle)) is None
    assert b.read_bundle(whole, bundle.digest).digest == bundle.digest


@pytest.mark.parametrize("name", [b.MANIFEST, b.VECTORS, "policy.onnx"])
def test_a_file_that_is_missing_or_cut_short_or_grown_is_named(copy: Path, name: str) -> None:
    path = copy / name
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    refused(copy, name)
    path.write_bytes(content + b" ")
    refused(copy, name)
    path.unlink()
    refused(copy, f"{name}: cannot be read: No such file")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_flipped_byte_anywhere_is_read(whole: Path, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([b.MANIFEST, b.VECTORS, "policy.onnx"]))
    content = bytearray((whole / name).read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] ^= data.draw(st.integers(1, 255))
    folder = whole.parent / "flipped"
    shutil.copytree(whole, folder, dirs_exist_ok=True)
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError):
        b.read_bundle(folder)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_model_with_flipped_bytes_is_refused_or_decides_legally(whole: Path, data: st.DataObject) -> None:
    """Behind the hashes: whoever rewrites them as well meets the checks of the model itself."""
    content = bytearray((whole / "policy.onnx").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1) | st.integers(0, 200))
        content[at] = data.draw(st.integers(0, 255))
    entire = b.read_bundle(whole)
    bundle = b.Bundle(
        entire.path, entire.digest, entire.manifest, {**entire.files, "policy.onnx": bytes(content)}
    )
    with contextlib.suppress(DvfoError):
        action = open_policy(bundle).decide(np.zeros(25, dtype=np.float32))
        assert ((action >= 0) & (action < bundle.manifest.action.sizes)).all()


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_no_bytes_make_the_checks_fail_otherwise(content: bytes) -> None:
    for read in (lambda data: check_onnx(data, "x"), lambda data: parse_json(data, "x")):
        with contextlib.suppress(BundleError):
            read(content)


def test_another_format_is_refused(copy: Path) -> None:
    rewrite(copy, lambda data: data.update(format="dvfo-bundle/2"))
    refused(copy, "format: expected 'dvfo-bundle/1', found 'dvfo-bundle/2'")


@pytest.mark.parametrize(
    "name", ["../secret.json", "/etc/passwd", "a/b.json", "manifest.json", "run.sh", "..onnx"]
)
def test_names_that_are_no_files_of_a_bundle_are_refused(copy: Path, name: str) -> None:
    rewrite(copy, lambda data: data["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}))
    refused(copy, "is not the name of a file of a bundle")


def test_links_and_pipes_are_refused(copy: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.json"
    shutil.move(copy / b.VECTORS, elsewhere)
    (copy / b.VECTORS).symlink_to(elsewhere)
    refused(copy, "vectors.json: cannot be read")
    (copy / b.VECTORS).unlink()
    os.mkfifo(copy / b.VECTORS)
    refused(copy, "vectors.json: is not a regular file")


def test_files_that_are_too_large_are_refused_before_they_are_read(copy: Path) -> None:
    with open(copy / b.VECTORS, "r+b") as file:
        file.truncate(1 << 40)  # sparse
    refused(copy, "vectors.json: has 1099511627776 bytes")
    rewrite(copy, lambda data: data["files"][b.VECTORS].update(bytes=1 << 40))
    refused(copy, "vectors.json: 1099511627776 bytes, at most")
    with open(copy / b.MANIFEST, "r+b") as file:
        file.truncate(1 << 30)
    refused(copy, "manifest.json: has 1073741824 bytes")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["policy"].update(kind="pickle"), "kind 'pickle' is not one of"),
        (lambda d: d["policy"].update(settings={"history": 0}), "history: expected 1..1024"),
        (lambda d: d["policy"].update(settings={"history": 2}), "policy.onnx: has"),
        (lambda d: d["policy"].pop("label"), "field 'label' is missing"),
        (lambda d: d.update(extra=1), "unknown field 'extra'"),
        (lambda d: d["action"].update(cpu_mhz=[]), "cpu_mhz: has no choices"),
        (lambda d: d["action"]["cpu_mhz"].__setitem__(0, "fast"), r"cpu_mhz\[0\]: expected float"),
        (lambda d: d["action"].update(out_of_the_box=[99] * 6), "is no action of sizes"),
        (lambda d: d["action"]["compression"].pop(), "compression: is of"),
        (lambda d: d["files"].pop("policy.onnx"), "has no policy.onnx"),
        (lambda d: d["requests"].update(period_ms=True), "period_ms: expected float, found True"),
    ],
)
def test_impossible_manifests_are_refused_by_field(
    copy: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    rewrite(copy, change)
    refused(copy, message)


def _model(node: onnx.NodeProto, weights: onnx.TensorProto | None = None, domain: str = "") -> bytes:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [node],
        "g",
        [value("observations", 1, [1, 25])],
        [value("action", 7, [6])],
        [weights] if weights else [],
    )
    opsets = [helper.make_opsetid("", 17)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    model: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return model


def _outside() -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def _branching() -> onnx.NodeProto:
    empty = helper.make_graph([], "empty", [], [])
    return helper.make_node("If", ["x"], ["action"], then_branch=empty, else_branch=empty)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (_model(helper.make_node("Identity", ["w"], ["action"]), _outside()), "keeps data outside the file"),
        (
            _model(
                helper.make_node("Relu", ["observations"], ["action"], domain="com.evil"), domain="com.evil"
            ),
            "operators of the domain 'com.evil'",
        ),
        (_model(_branching()), "which no policy needs"),
        (_model(helper.make_node("RandomNormal", [], ["action"], shape=[6])), "operator 'RandomNormal'"),
        (_model(helper.make_node("Cast", ["observations"], ["action"], to=7)), "policy.onnx: has"),
        (_model(helper.make_node("Relu", ["nothing"], ["action"])), "onnxruntime does not load it"),
        (b"", "onnxruntime does not load it"),
        (b"GIF89a", "policy.onnx"),
    ],
)
def test_models_that_are_more_than_arithmetic_are_refused(copy: Path, model: bytes, message: str) -> None:
    rewrite(copy, lambda data: None, {"policy.onnx": model})
    refused(copy, message)


def test_a_wrong_decision_is_named_by_selfcheck(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    vectors = json.loads((copy / b.VECTORS).read_text(encoding="utf-8"))
    vectors["actions"][7][0] += 1
    rewrite(copy, lambda data: None, {b.VECTORS: json.dumps(vectors).encode()})
    assert controller(["selfcheck", str(copy)]) == 1
    assert "observation 7: cut: recorded" in capsys.readouterr().err
    del vectors["observations"][200:], vectors["actions"][200:]
    rewrite(copy, lambda data: None, {b.VECTORS: json.dumps(vectors).encode()})
    assert controller(["selfcheck", str(copy)]) == 2
    assert "200 are recorded, at least 256 are needed" in capsys.readouterr().err


def test_tables_travel_as_models_without_inputs(whole: Path) -> None:
    arrays = {
        "head": np.arange(12, dtype=np.float32).reshape(3, 4),
        "wide": np.array([[1.5], [-np.inf]]),
        "cut": np.array([3, 1], dtype=np.int64),
        "flag": np.array([True, False]),
        "one": np.float64(2.5) * np.ones(()),
    }
    entire = b.read_bundle(whole)
    bundle = b.Bundle(entire.path, entire.digest, entire.manifest, {"tables.onnx": tables_model(arrays)})
    found = read_tables(bundle)
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name].reshape(array.shape), array)


def test_a_bundle_runs_where_only_numpy_and_onnxruntime_are(whole: Path) -> None:
    script = f"""
import sys
heavy = "torch gymnasium numba pydantic yaml scipy onnx safetensors dvfo_agents dvfo_export"
sys.modules.update(dict.fromkeys(heavy.split()))
from dvfo_controller.main import main
sys.exit(main(["selfcheck", {str(whole)!r}]))
"""
    done = subprocess.run([sys.executable, "-W", "error", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "recorded decisions are taken again" in done.stdout


def test_numpy_arrays_of_the_model_are_those_given() -> None:
    tensor = numpy_helper.from_array(np.zeros((2, 3), np.float32), "w")
    check_onnx(_model(helper.make_node("Identity", ["w"], ["action"]), tensor), "x")
    tensor.dims[0] = 1 << 41
    with pytest.raises(BundleError, match="a tensor of shape"):
        check_onnx(_model(helper.make_node("Identity", ["w"], ["action"]), tensor), "x")
