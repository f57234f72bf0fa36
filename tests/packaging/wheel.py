"""Building the wheel and installing it into an environment that does not see the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from site import getsitepackages

import hatch_build

ROOT = Path(hatch_build.__file__).resolve().parent


def run(command: list[str | Path], cwd: Path) -> str:
    """Standard output of a command that must succeed; on failure its own words are the error."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(out: Path, *options: str, source: Path = ROOT) -> Path:
    """The wheel that `python -m build` makes of `source`."""
    run([sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", out, source], cwd=out)
    (wheel,) = out.glob("*.whl")
    return wheel


#: What a device has: numpy, onnxruntime and what that one brings along.
DEVICE_PACKAGES = ("numpy", "numpy.libs", "onnxruntime", "google", "flatbuffers", "packaging")


def install(wheel: Path, folder: Path, packages: tuple[str, ...] | None = None) -> Path:
    """Install `wheel` with --no-deps into a new environment in `folder`; returns its folder of commands.

    Dependencies come from the environment that runs the tests: all of them, or only `packages`. Its own path
    files are not followed, so that an editable install of the checkout cannot stand in for the wheel.
    """
    run([sys.executable, "-m", "venv", "--without-pip", folder], cwd=folder.parent)
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        commands / "python",
        "--disable-pip-version-check",
    ]
    run([*pip, "install", "--quiet", "--no-deps", "--no-index", wheel], cwd=folder.parent)
    where: list[str | Path] = [
        commands / "python",
        "-c",
        "import sysconfig; print(sysconfig.get_paths()['purelib'])",
    ]
    site = Path(run(where, cwd=folder.parent).strip())
    if packages is None:
        (site / "dependencies.pth").write_text("\n".join(getsitepackages()) + "\n", encoding="utf-8")
        return commands
    for name in packages:
        for path in getsitepackages():
            if (Path(path) / name).exists():
                (site / name).symlink_to(Path(path) / name)
    return commands
