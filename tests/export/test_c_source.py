"""The C source of a policy compiles without a warning and decides as the training side does."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dvfo_cli.main import main as dvfo
from dvfo_env.errors import ConfigError
from dvfo_env.tables import CostTables
from dvfo_export.bundles import Exported
from dvfo_export.c_source import c_source, worst_float_error, write_c
from dvfo_export.learned import export_policy
from tests.export import policies

STRICT = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
COMPILER = shutil.which("cc") or ""

pytestmark = pytest.mark.skipif(not COMPILER, reason="no C compiler")


class State(ctypes.Structure):
    _fields_ = (("seen", ctypes.c_float * 100), ("begun", ctypes.c_int), ("usual", ctypes.c_int))


def compiled(name: str, tables: CostTables, folder: Path, *options: str) -> ctypes.CDLL:
    write_c(folder, export_policy(policies.random_policy(name, tables)), tables)
    library = folder / "policy.so"
    source = (folder / "policy.c").read_text(encoding="utf-8")
    libm = ["-lm"] if "#include <math.h>" in source else []
    command = [
        COMPILER,
        *STRICT,
        *options,
        "-shared",
        "-fPIC",
        str(folder / "policy.c"),
        "-o",
        str(library),
        *libm,
    ]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(library))


def decisions(library: ctypes.CDLL, frames: NDArray[np.float32]) -> NDArray[np.int64]:
    """What the compiled policy decides, int64 [steps, sequences, 6]."""
    state, action = State(), (ctypes.c_int * 6)()
    found = np.empty((*frames.shape[:2], 6), dtype=np.int64)
    pointer = ctypes.POINTER(ctypes.c_float)
    for i in range(frames.shape[1]):
        library.dvfo_policy_reset(ctypes.byref(state))
        rows = np.ascontiguousarray(frames[:, i])
        for t, row in enumerate(rows):
            assert library.dvfo_policy_decide(ctypes.byref(state), row.ctypes.data_as(pointer), action) == 0
            found[t, i] = action
    return found


@pytest.mark.parametrize("name", policies.AGENTS)
def test_compiled_decisions_equal_the_training_sides(
    name: str, tables: CostTables, frames: NDArray[np.float32], tmp_path: Path
) -> None:
    found = decisions(compiled(name, tables, tmp_path, "-O2"), frames)
    np.testing.assert_array_equal(found, policies.decided(policies.random_policy(name, tables), frames))


@pytest.mark.parametrize("name", ["ppo", "sac", "crossq", "sac-discrete", "dqn", "hindsight"])
def test_decisions_are_equal_where_one_becomes_another(name: str, tables: CostTables, tmp_path: Path) -> None:
    policy = policies.random_policy(name, tables)
    rows = policies.boundary(policy)
    found = decisions(compiled(name, tables, tmp_path), rows[None])
    np.testing.assert_array_equal(found[0], policy.act(rows))


def test_float_is_never_further_off_than_was_worked_out(tables: CostTables) -> None:
    """Nor is a thousand times the error allowed for: then it would be of no use."""
    for name in ("ppo-with-history", "sac", "hindsight"):
        network = policies.random_policy(name, tables).decide.network  # type: ignore[attr-defined]
        inputs = np.random.default_rng(4).uniform(-1.0, 1.0, (4000, len(network.layers[0].weight)))
        narrow = inputs = inputs.astype(np.float32)
        for i, (weight, bias) in enumerate(network.layers):
            narrow = (np.maximum(narrow, np.float32(0.0)) if i else narrow) @ weight + bias
        off = np.abs(narrow.astype(np.float64) - network(inputs)).max()
        assert off < worst_float_error(network.layers) < 1000.0 * off


def test_observations_outside_the_usual_range_are_decided_in_double(
    tables: CostTables, tmp_path: Path
) -> None:
    policy = policies.random_policy("hindsight-with-history", tables)
    library = compiled("hindsight-with-history", tables, tmp_path)
    rng = np.random.default_rng(5)
    frames = rng.uniform(-1.0, 1.0, size=(40, 50, 25)).astype(np.float32)
    frames[rng.random(frames.shape) < 0.002] = 1e20
    np.testing.assert_array_equal(decisions(library, frames), policies.decided(policy, frames))


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", ["-O0", "-O3", "-O3 -march=native", "-O2 -march=native -ffp-contract=fast"]
)
@pytest.mark.parametrize("name", ["hindsight", "sac", "ppo", "dqn"])
def test_how_it_is_compiled_does_not_matter(
    name: str, options: str, tables: CostTables, frames: NDArray[np.float32], tmp_path: Path
) -> None:
    found = decisions(compiled(name, tables, tmp_path, *options.split()), frames)
    np.testing.assert_array_equal(found, policies.decided(policies.random_policy(name, tables), frames))


def test_it_needs_nothing_but_tanh_and_allocates_nothing(tables: CostTables) -> None:
    for name in policies.AGENTS:
        source = c_source(export_policy(policies.random_policy(name, tables)), tables)["policy.c"]
        included = re.findall(r"#include (\S+)", source)
        tanh = policies.random_policy(name, tables).decide
        hidden_tanh = "tanh" in repr(getattr(getattr(tanh, "network", tanh), "activation", ""))
        assert included == (["<math.h>", '"policy.h"'] if hidden_tanh else ['"policy.h"'])
        assert not re.search(r"\b(malloc|calloc|alloca|printf|exit)\b", source)


def test_what_is_no_observation_is_refused(tables: CostTables, tmp_path: Path) -> None:
    library = compiled("hindsight", tables, tmp_path)
    state, action = State(), (ctypes.c_int * 6)()
    library.dvfo_policy_reset(ctypes.byref(state))
    for bad in (float("nan"), float("inf"), -float("inf")):
        row = (ctypes.c_float * 25)(*([0.0] * 24), bad)
        assert library.dvfo_policy_decide(ctypes.byref(state), row, action) == -1


def test_values_behind_the_indices_are_in_it(tables: CostTables, tmp_path: Path) -> None:
    library = compiled("sac", tables, tmp_path)
    clocks = (ctypes.c_double * len(tables.choices["cpu_mhz"])).in_dll(library, "dvfo_cpu_mhz")
    assert tuple(clocks) == tables.choices["cpu_mhz"]
    codecs = (ctypes.c_char_p * (tables.sizes[0] * tables.sizes[-1])).in_dll(library, "dvfo_codec_names")
    assert [name.decode() for name in codecs] == [name for names in tables.encoders for name in names]


def test_the_command_writes_it(
    tables: CostTables, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = policies.random_run(tmp_path / "run", "sac-discrete", tables)
    assert dvfo(["export", str(run), "--format", "c", "--out", str(tmp_path / "src")]) == 0
    assert "policy.h" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "src").iterdir()} == {"policy.c", "policy.h"}


def test_only_networks_become_c(tables: CostTables) -> None:
    other = Exported("table", "planner", {}, {}, policy=object())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="only trained agents are exported as C"):
        c_source(other, tables)
