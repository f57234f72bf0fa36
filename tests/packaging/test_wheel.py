"""The wheel: its names collide with nobody's, its data is in it, and it works away from the checkout."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

import hatch_build
from tests.packaging.wheel import DEVICE_PACKAGES, ROOT, build, install, run

SHIPPED = {
    "dvfo_env",
    "dvfo_controller",
    "dvfo_agents",
    "dvfo_evaluation",
    "dvfo_export",
    "dvfo_verification",
    "dvfo_benchmarks",
    "dvfo_cli",
    "dvfo_configs",
    "dvfo_train.py",
    "dvfo_evaluate.py",
}

_PLAY = """
import warnings
warnings.simplefilter("error")
import gymnasium as gym
import dvfo_env
from dvfo_env.scenario import list_scenarios, load_scenario
print(dvfo_env.__file__)
for name in ("default", *list_scenarios()):
    load_scenario(name)
env = gym.make("dvfo_env:DVFO-v0", scenario="default")
env.reset(seed=0)
observation, reward, *_ = env.step(env.action_space.sample())
assert env.observation_space.contains(observation) and reward < 0
"""

_SMALL = "zero2w-mobilenet-v2-5g-walking"
_MISSING = """
from importlib.util import find_spec
heavy = ("gymnasium", "numba", "onnx", "pydantic", "torch", "yaml")
print(*(name for name in heavy if find_spec(name) is None))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    return build(tmp_path_factory.mktemp("wheel"), "--wheel")


@pytest.fixture(scope="module")
def commands(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Commands of an environment in which the wheel is installed."""
    return install(wheel, tmp_path_factory.mktemp("installed") / "env")


def names_in(wheel: Path) -> list[str]:
    """Paths inside the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_puts_only_our_names_into_site_packages(wheel: Path) -> None:
    top = {name.split("/")[0] for name in names_in(wheel)}
    (metadata,) = (name for name in top if name.endswith(".dist-info"))
    assert metadata.startswith("dvfo_env-")
    assert top - {metadata} == SHIPPED == set(hatch_build.SHIPPED_AS.values())


def test_the_wheel_holds_every_data_file_and_nothing_compiled(wheel: Path) -> None:
    inside = set(names_in(wheel))
    data = [
        file
        for source in ("dvfo_env", "configs")
        for file in (ROOT / source).rglob("*")
        if file.suffix in (".yaml", ".yml", ".json", ".csv")
    ]
    kinds = {file.parent.relative_to(ROOT).as_posix() for file in data}
    assert kinds >= {
        "dvfo_env/devices/profiles",
        "dvfo_env/servers/profiles",
        "dvfo_env/uplinks/models",
        "dvfo_env/workloads/cards",
        "dvfo_env/accuracy/tables",
        "configs/scenarios",
    }
    expected = {file.relative_to(ROOT).as_posix() for file in data}
    assert {f"dvfo_{name}" if name.startswith("configs/") else name for name in expected} <= inside
    assert not [name for name in inside if "__pycache__" in name or name.endswith((".pyc", ".nbi", ".nbc"))]


def test_the_wheel_carries_the_licence_and_the_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = {
            Path(name).name: archive.read(name).decode() for name in archive.namelist() if "-info/" in name
        }
    assert texts["LICENSE"] == (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert "dvfo = dvfo_cli.main:main" in texts["entry_points.txt"]
    assert "License-Expression: Apache-2.0" in texts["METADATA"]


def test_an_installed_wheel_plays_every_scenario_from_another_folder(commands: Path, tmp_path: Path) -> None:
    where = run([commands / "python", "-c", _PLAY], cwd=tmp_path).strip()
    assert Path(where).is_relative_to(commands.parent)


def test_an_installed_wheel_answers_help_from_another_folder(commands: Path, tmp_path: Path) -> None:
    assert "verbs:" in run([commands / "dvfo", "--help"], cwd=tmp_path)
    assert "jetson-tx2" in run([commands / "dvfo", "devices"], cwd=tmp_path)


@pytest.mark.slow
def test_a_device_runs_the_controller_with_numpy_and_onnxruntime_alone(
    wheel: Path, commands: Path, tmp_path: Path
) -> None:
    device = install(wheel, tmp_path / "device", DEVICE_PACKAGES)
    missing = run([device / "python", "-c", _MISSING], cwd=tmp_path)
    assert missing.split() == ["gymnasium", "numba", "onnx", "pydantic", "torch", "yaml"]
    run([commands / "dvfo", "export", "planner", "--scenario", _SMALL, "--out", "bundle"], cwd=tmp_path)
    assert "recorded decisions are taken again" in run(
        [device / "dvfo-controller", "selfcheck", "bundle"], tmp_path
    )
    assert "run " in run([device / "dvfo-controller", "--help"], cwd=tmp_path)
    assert '"knobs"' in run(
        [device / "dvfo-controller", "status", "--json", "--state", "state"], cwd=tmp_path
    )


def test_the_source_distribution_builds_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    from_source = build(tmp_path)
    assert list(tmp_path.glob("*.tar.gz"))
    assert sorted(names_in(from_source)) == sorted(names_in(wheel))
