"""Readers of the published Jetson TX2 measurements: TensorRT grids, Keras grids, tegrastats logs, ncnn
tables.

Every reader takes the folder that holds the data sets, each in a folder of its own with the files exactly as
their authors published them (plain or gzipped).
"""

from __future__ import annotations

import csv
import gzip
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.calibration.laws import Points
from dvfo_env.errors import MeasurementError

Array = NDArray[np.float64]

TENSORRT_FOLDER = "tx2-thynics-gpu-emc-rails"
KERAS_FOLDER = "tx2-flexibo-cores-cpu-gpu-emc"
TENSORRT_CPU_GHZ = 2.0352
NCNN_FOLDER = "ncnn-benchmark-tables"
TENSORRT_SOURCE = "thynics/jetson_dvfs@7ac3f7cbfc576012ec832af8562ede6419c168c2"
KERAS_SOURCE = "softsys4ai/FlexiBO@c3d4bd2b48e47a4e2b037f702f23ed56a2461213"
NCNN_SOURCE = "Tencent/ncnn@a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a benchmark/README.md"
LATENCY_FILES = "profiling/data_transfer_all"
VGG_LOG_FILE = "profiling/vgg_tegrastats_output/tegrastats_114750000.txt"
MIXED_LOG_FILE = "profiling/data_transfer/tegrastats_output.txt"

TENSORRT_NAMES = {
    "inception-v4": "inception_v4",
    "resnet50": "resnet",
    "vgg19": "vgg19",
    "yolov3-tiny": "tiny-yolov3",
}
"""How the benchmark's files call our workloads."""


class Tegrastats(NamedTuple):
    """One tegrastats log at 1 Hz, each [lines]: load in busy cores, EMC and GPU load 0-1, clocks in MHz,
    mW, Celsius.

    `gpu_mhz` is the clock each line itself reports (cut off to whole MHz), never that of the file's name: the
    published files are cumulative.
    """

    busy_cores: Array
    mem_load: Array
    mem_mhz: Array
    gpu_load: Array
    gpu_mhz: Array
    board_mw: Array
    gpu_mw: Array
    cpu_mw: Array
    soc_mw: Array
    ddr_mw: Array
    temperature_c: Array


def read_latency_grid(measurements: Path, workload: str) -> Points:
    """TensorRT latency of one workload from `data_transfer_all/<dnn>_<gpuHz>_<emcHz>_output.txt`.

    Raises:
        MeasurementError: the folder has no file for the workload, or a file has no latency line.
    """
    folder = measurements / TENSORRT_FOLDER / "data_transfer_all"
    rows = []
    for path in sorted(folder.glob(f"{TENSORRT_NAMES[workload]}_*_output.txt*")):
        clocks = re.search(r"_(\d+)_(\d+)_output", path.name)
        latency = re.search(r"-{10,} ([\d.]+) ", _text(path))
        if clocks is None or latency is None:
            raise MeasurementError(
                f"{path}: no clocks in the name or no latency line, expected '---- <ms> 0 0'"
            )
        rows.append((1.0, TENSORRT_CPU_GHZ, int(clocks[1]) / 1e9, int(clocks[2]) / 1e9, float(latency[1])))
    if not rows:
        raise MeasurementError(f"{folder}: no files {TENSORRT_NAMES[workload]}_*_output.txt for {workload}")
    return Points(*np.asarray(sorted(rows)).T)


KERAS_GRIDS = tuple(
    f"{network}_{size}x{size}" for network in ("inceptionv3", "xception") for size in (200, 400, 800)
)
"""The Keras grids used; each name is part of a file name."""


def read_keras_grid(measurements: Path, name: str) -> Points:
    """Keras latency of one network and input size over cores, CPU, GPU and memory clocks.

    Raises:
        MeasurementError: the file is missing or lacks a column.
    """
    path = measurements / KERAS_FOLDER / f"tx2_sampled_output_{name}.csv"
    rows = []
    for row in csv.DictReader(_text(path).splitlines()):
        try:
            cores = sum(int(row[f"core{k}_status"]) for k in range(4))
            clocks = (int(row["core_freq"]) / 1e6, int(row["gpu_freq"]) / 1e9, int(row["emc_freq"]) / 1e9)
            rows.append((cores, *clocks, 1000.0 * float(row["inference_time"])))
        except (KeyError, TypeError, ValueError) as error:
            raise MeasurementError(f"{path}: line {len(rows) + 2}: cannot be read: {error}") from None
    if not rows:
        raise MeasurementError(f"{path}: no rows")
    return Points(*np.asarray(rows, dtype=np.float64).T)


_LINE = re.compile(
    r"CPU \[(?P<cpu>[^\]]*)\].*EMC_FREQ (?P<emc>\d+)%@(?P<emc_mhz>\d+).*GR3D_FREQ "
    r"(?P<gpu>\d+)%@(?P<gpu_mhz>\d+)"
    r".*thermal@(?P<celsius>[\d.]+)C.*VDD_SYS_GPU (?P<gpu_mw>\d+)/.*VDD_SYS_SOC (?P<soc_mw>\d+)/"
    r".*VDD_IN (?P<board_mw>\d+)/.*VDD_SYS_CPU (?P<cpu_mw>\d+)/.*VDD_SYS_DDR (?P<ddr_mw>\d+)/"
)


def read_tegrastats(measurements: Path, vgg: bool) -> Tegrastats:
    """The log of the vgg19 runs (`vgg`), or of the runs over several networks and memory clocks.

    Raises:
        MeasurementError: the file is missing or has fewer than 100 lines that can be read.
    """
    name = "vgg_tegrastats_114750000_cumulative.txt" if vgg else "data_transfer_tegrastats_output.txt"
    path = measurements / TENSORRT_FOLDER / name
    rows = []
    for line in _text(path if path.exists() else path.with_name(f"{name}.gz")).splitlines():
        match = _LINE.search(line)
        if match is None:
            continue
        found = {key: float(match[key]) for key in _LINE.groupindex if key != "cpu"}
        busy = sum(float(core.split("%@")[0]) for core in match["cpu"].split(",") if "%@" in core)
        rails = [found[f"{rail}_mw"] for rail in ("board", "gpu", "cpu", "soc", "ddr")]
        loads = (found["emc"] / 100.0, found["emc_mhz"], found["gpu"] / 100.0, found["gpu_mhz"])
        rows.append((busy / 100.0, *loads, *rails, found["celsius"]))
    if len(rows) < 100:
        raise MeasurementError(
            f"{path}: only {len(rows)} tegrastats lines can be read, expected at least 100"
        )
    return Tegrastats(*np.asarray(rows, dtype=np.float64).T)


def read_ncnn_tx2nx(measurements: Path) -> dict[int, dict[str, float]]:
    """Average CPU latency (ms) by number of threads and network on a Jetson TX2 NX.

    Raises:
        MeasurementError: the file is missing or has no such section.
    """
    folder = measurements / NCNN_FOLDER
    path = next(iter(sorted(folder.glob("ncnn_benchmark_README.txt*"))), folder / "ncnn_benchmark_README.txt")
    section = re.search(r"^### NVIDIA Jetson TX2 NX.*?(?=^### )", _text(path), re.DOTALL | re.MULTILINE)
    if section is None:
        raise MeasurementError(f"{path}: no section 'NVIDIA Jetson TX2 NX'")
    tables: dict[int, dict[str, float]] = {}
    for run in re.split(r"^loop_count", section[0], flags=re.MULTILINE)[1:]:
        threads, device = (
            re.search(rf"^{key} = (-?\d+)", run, re.MULTILINE) for key in ("num_threads", "gpu_device")
        )
        if threads is None or device is None or device[1] != "-1":
            continue
        rows = re.findall(r"^\s*(\S+)\s+min =.*avg =\s*([\d.]+)", run, re.MULTILINE)
        tables[int(threads[1])] = {name: float(average) for name, average in rows}
    if not tables:
        raise MeasurementError(f"{path}: section 'NVIDIA Jetson TX2 NX' has no CPU runs")
    return tables


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8", "replace")
    except (OSError, EOFError) as error:
        raise MeasurementError(f"{path}: not a whole gzip file: {error}") from None
