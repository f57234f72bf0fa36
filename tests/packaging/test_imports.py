"""Who imports whom: rooms look downwards only, and what must be light stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import hatch_build

ROOT = Path(hatch_build.__file__).parent

#: Floor of every room; a room imports itself and rooms on lower floors. Data lies below everything.
FLOORS = {
    "dvfo_configs": 0,
    "dvfo_env": 1,
    "dvfo_controller": 2,
    "dvfo_agents": 3,
    "dvfo_evaluation": 4,
    "dvfo_export": 5,
    "dvfo_train": 5,
    "dvfo_evaluate": 5,
    "dvfo_verification": 6,
    "dvfo_benchmarks": 7,
    "dvfo_cli": 8,
}
#: Where networks are defined, traced and timed: torch is a tool there, not a learning library.
RUNS_MODELS = (
    "workloads/networks/",
    "workloads/from_torch",
    "workloads/torch_operators",
    "workloads/own",
    "workloads/segments",
    "profiling/",
    "accuracy/importance/",
    "accuracy/measuring/",
    "accuracy/models/",
    "calibration/encoder_here",
)
LEARNING = ("stable_baselines3", "torch", "tensorboard")


def import_names() -> dict[str, Path]:
    """Every import name with its folder or file in the repository."""
    return {name.removesuffix(".py"): ROOT / source for source, name in hatch_build.SHIPPED_AS.items()}


def modules(source: Path) -> list[Path]:
    """Python files of a room."""
    return [source] if source.is_file() else sorted(source.rglob("*.py"))


def imported(file: Path) -> Iterator[str]:
    """Top-level names that a file imports anywhere in it."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"), filename=str(file))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide which room is meant"
            yield (node.module or "").split(".")[0]


def test_every_room_has_a_floor() -> None:
    assert set(import_names()) == set(FLOORS)


@pytest.mark.parametrize("room", FLOORS)
def test_imports_point_downwards_only(room: str) -> None:
    files = modules(import_names()[room])
    assert files
    upwards = {
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name in FLOORS and name != room and FLOORS[name] >= FLOORS[room]
    }
    assert upwards == set()


@pytest.mark.parametrize("room", FLOORS)
def test_no_room_imports_another_by_its_folder_name(room: str) -> None:
    folders = {Path(source).stem for source in hatch_build.SHIPPED_AS} - set(FLOORS)
    files = modules(import_names()[room])
    assert {name for file in files for name in imported(file)} & folders == set()


def test_the_environment_needs_no_learning_library() -> None:
    files = [file.relative_to(ROOT / "dvfo_env") for file in modules(ROOT / "dvfo_env")]
    users = {file for file in files if not set(imported(ROOT / "dvfo_env" / file)).isdisjoint(LEARNING)}
    assert {file for file in users if not file.as_posix().startswith(RUNS_MODELS)} <= {Path("sb3.py")}


def test_models_are_imported_only_where_they_run() -> None:
    script = (
        "import sys, dvfo_env.workloads, dvfo_env.devices, dvfo_env.tables, dvfo_env.profiling, dvfo_env.env;"
        "print([name for name in ('torch', 'onnx', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_codecs_are_usable_on_their_own() -> None:
    script = (
        "import sys, dvfo_env.codecs;"
        "print([name for name in ('torch', 'pydantic', 'yaml', 'numba', 'scipy') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_the_controller_needs_numpy_and_onnxruntime_only() -> None:
    names = [
        ".".join(("dvfo_controller", *file.relative_to(ROOT / "controller").with_suffix("").parts))
        for file in modules(ROOT / "controller")
    ]
    script = (
        "import sys, importlib\n"
        "heavy = ('torch', 'gymnasium', 'numba', 'pydantic', 'yaml', 'scipy', 'onnx', 'matplotlib', 'rich')\n"
        "sys.modules.update(dict.fromkeys(heavy))\n"  # importing one of them fails
        f"for name in {names!r}:\n"
        "    importlib.import_module(name)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)


def test_importing_the_package_is_light() -> None:
    heavy = ("numba", "torch", "pydantic", "yaml", "scipy", "matplotlib", "stable_baselines3", "rich")
    script = f"import sys, dvfo_env; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
