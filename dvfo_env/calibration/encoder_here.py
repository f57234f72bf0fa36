"""Measure on this machine what `calibration.encoder` carries over: reference encoding, 7-Zip, ncnn networks.

    npm pack 7zip-bin@4.1.0 && tar xzf 7zip-bin-4.1.0.tgz
    pip install ncnn pnnx
    python -m dvfo_env.calibration.encoder_here --seven-zip package/linux/x64/7za --networks FOLDER

Prints JSON. Everything runs in one thread and is timed in processor time, round by round. The networks are
traced from the definitions in `dvfo_env.workloads` and converted by pnnx into FOLDER, once.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from dvfo_env.errors import DvfoError, MeasurementError

NETWORKS = {
    "squeezenet": ("squeezenet", 227),
    "mobilenet_v2": ("mobilenet_v2", 224),
    "resnet18": ("resnet", 224),
    "resnet50": ("resnet", 224),
}
"""Name in the ncnn tables (and of the function) -> module in `workloads.networks`, pixels of its input."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seven-zip", metavar="FILE", help="a 7za of version 16.02; without: not measured")
    parser.add_argument("--networks", metavar="FOLDER", help="of converted networks; without: none timed")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    try:
        rounds = [measure(arguments.seven_zip, arguments.networks) for _ in range(arguments.rounds)]
    except DvfoError as error:
        parser.exit(1, f"{error}\n")
    print(json.dumps(rounds, indent=1))
    return 0


def measure(seven_zip: str | None, networks: str | None) -> dict[str, Any]:
    """One round: medians in ms of processor time; 7-Zip's MIPS compressing and decompressing.

    Raises:
        MeasurementError: 7-Zip or pnnx failed, or ncnn is not installed.
    """
    found: dict[str, Any] = {"reference_ms": _reference_ms(2000)}
    if seven_zip:
        found["seven_zip_mips"] = seven_zip_mips(_run([seven_zip, "b", "-mmt1", "-md=22", "1"]))
    if networks:
        folder = Path(networks)
        found["network_ms"] = {name: _network_ms(name, folder) for name in NETWORKS}
    return found


def seven_zip_mips(text: str) -> tuple[float, float]:
    """MIPS per processor time compressing and decompressing, of 7-Zip's line of the 22-bit dictionary.

    Raises:
        MeasurementError: the text has no such line.
    """
    line = re.search(r"^22:\s+\d+\s+\d+\s+(\d+)\s+\d+\s*\|\s*\d+\s+\d+\s+(\d+)\s+\d+\s*$", text, re.MULTILINE)
    if line is None:
        raise MeasurementError("7-Zip: its output has no line '22: speed usage R/U rating | ...'")
    return float(line.group(1)), float(line.group(2))


def _reference_ms(repeats: int) -> float:
    from dvfo_env.codecs.reference import reference_codec, reference_tensor

    codec, tensors = reference_codec(), [reference_tensor()]
    times = []
    for _ in range(repeats):
        begun = time.process_time_ns()
        codec.encode(tensors)
        times.append(time.process_time_ns() - begun)
    return statistics.median(times) * 1e-6


def _network_ms(name: str, folder: Path, seconds: float = 0.5) -> float:
    try:
        ncnn = import_module("ncnn")
    except ImportError:
        raise MeasurementError("timing networks needs ncnn: pip install ncnn pnnx") from None
    import numpy as np

    pixels = NETWORKS[name][1]
    file = folder / f"{name}.ncnn.param"
    if not file.is_file():
        _convert(name, folder)
    network = ncnn.Net()
    network.opt.num_threads = 1
    network.load_param(str(file))
    network.load_model(str(file.with_suffix(".bin")))
    picture = ncnn.Mat(np.full((3, pixels, pixels), 0.01, dtype=np.float32))
    times: list[float] = []
    while sum(times) < seconds or len(times) < 6:
        begun = time.process_time()
        extractor = network.create_extractor()
        extractor.input(network.input_names()[0], picture)
        extractor.extract(network.output_names()[0])
        times.append(time.process_time() - begun)
    return statistics.median(times[1:]) * 1e3


def _convert(name: str, folder: Path) -> None:
    import torch

    module, pixels = NETWORKS[name]
    network = getattr(import_module(f"dvfo_env.workloads.networks.{module}"), name)().eval()
    folder.mkdir(parents=True, exist_ok=True)
    traced = folder / f"{name}.pt"
    with torch.no_grad():
        picture = torch.zeros(1, 3, pixels, pixels)
        torch.jit.trace(network, picture).save(str(traced))  # type: ignore[no-untyped-call]
    _run(["pnnx", str(traced), f"inputshape=[1,3,{pixels},{pixels}]"])


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MeasurementError(f"{command[0]}: {error}") from None
    return done.stdout


if __name__ == "__main__":
    raise SystemExit(main())
