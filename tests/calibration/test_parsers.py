"""Outputs of benchmark tools as rows: samples of several versions, torn lines, and any text at all."""

# ruff: noqa: E501 - the samples are as the tools print them

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dvfo_env.calibration.own.parsers import (
    PARSERS,
    Sample,
    Settings,
    Timed,
    idle_rows,
    parse_file,
    read_samples,
    with_power,
)
from dvfo_env.calibration.own.table import Row
from dvfo_env.calibration.tx2.readers import read_latency_grid
from dvfo_env.errors import ConfigError, MeasurementError
from tests.measurements import measurements_dir

NCNN = """\
loop_count = 8
num_threads = 4
powersave = 2
gpu_device = -1
cooling_down = 1
          squeezenet  min =    4.84  max =    6.12  avg =    5.33
        mobilenet_v2  min =    6.65  max =    6.86  avg =    6.76
[0 Adreno (TM) 540]  queueC=0[3]  queueG=0[3]
num_threads = 1
powersave = 0
gpu_device = 0
            resnet50  min =  104.84  max =  106.12  avg =  105.33
"""

TRTEXEC_10 = """\
&&&& RUNNING TensorRT.trtexec [TensorRT v8601] # trtexec --onnx=/models/resnet50.onnx --fp16 --shapes=input:1x3x9x9
[09/02/2024-17:46:50] [I] === Model Options ===
[09/02/2024-17:47:01] [I] Starting inference
[09/02/2024-17:47:04] [I] Average on 10 runs - GPU latency: 22.3188 ms - Host latency: 22.3843 ms (enqueue 0.08 ms)
[09/02/2024-17:47:11] [I] === Performance summary ===
[09/02/2024-17:47:11] [I] Throughput: 44.7064 qps
[09/02/2024-17:47:11] [I] Latency: min = 22.05 ms, max = 22.97 ms, mean = 22.26 ms, median = 22.24 ms, \
percentile(90%) = 22.9 ms, percentile(95%) = 22.9 ms, percentile(99%) = 22.9 ms
[09/02/2024-17:47:11] [I] Enqueue Time: min = 0.05 ms, max = 0.11 ms, mean = 0.07 ms, median = 0.07 ms
[09/02/2024-17:47:11] [I] GPU Compute Time: min = 21.99 ms, max = 22.9 ms, mean = 22.2 ms, median = 22.18 ms
&&&& PASSED TensorRT.trtexec [TensorRT v8601] # trtexec
"""

TRTEXEC_8 = """\
&&&& RUNNING TensorRT.trtexec # trtexec --loadEngine=vgg19.engine
[12/02/2021-19:58:58] [I] Latency: min = 100.036 ms, max = 104.2 ms, mean = 101.4 ms, median = 101.092 ms, percentile(99%) = 1 ms
[12/02/2021-19:58:58] [I] End-to-End Host Latency: min = 100.0 ms, max = 104.2 ms, mean = 101.4 ms, median = 101.105 ms
"""

TRTEXEC_7 = """\
&&&& RUNNING TensorRT.trtexec # trtexec --onnx=yolov3-tiny.onnx --explicitBatch
[10/20/2020-19:56:26] [I] Average on 10 runs - GPU latency: 4.6697 ms
[10/20/2020-19:56:29] [I] Host Latency
[10/20/2020-19:56:29] [I] min: 4.34442 ms (end to end 4.35388 ms)
[10/20/2020-19:56:29] [I] median: 4.49951 ms (end to end 4.51025 ms)
[10/20/2020-19:56:29] [I] Enqueue Time
[10/20/2020-19:56:29] [I] median: 2.64331 ms
[10/20/2020-19:56:29] [I] GPU Compute
[10/20/2020-19:56:29] [I] median: 4.4 ms
"""

TRTEXEC_5 = """\
&&&& RUNNING TensorRT.trtexec # trtexec --deploy=resnet50.prototxt --batch=1
[I] Average over 10 runs is 5.5 ms (host walltime is 5.6 ms, 99% percentile time is 6.2).
[I] Average over 10 runs is 5.3 ms (host walltime is 5.6 ms, 99% percentile time is 6.2).
[I] Average over 10 runs is 5.4 ms (host walltime is 5.6 ms, 99% percentile time is 6.2).
"""

JETSON = """\
Exec Start: 1739807186.1136515
------------Executing vgg19_N2------------

Exec End: 1739808174.6306627
---------------------- 576.568 0 0
--------------------------

Model Name: vgg19_N2 
FPS:1.73 

--------------------------

Wall Time for running model (secs): 988.5170540809631
"""

JETSON_UPSTREAM = """\
------------Executing inception_v4------------

--------------------------

Model Name: inception_v4 
FPS:12.50 

--------------------------
"""

TFLITE = """\
STARTING!
Log parameter values verbosely: [0]
Num threads: [4]
Graph: [/data/local/tmp/mobilenet_v2.tflite]
#threads used for CPU inference: [4]
count=1 curr=3512391

count=50 first=29902 curr=29134 min=27275 max=31899 avg=2.95034e+04 std=109

Inference timings in us: Init: 17187, First inference: 35123, Warmup (avg): 3.5e+04, Inference (avg): 2.95034e+04
"""

TFLITE_GPU = """\
I tflite  : Graph: [resnet50.tflite]
I tflite  : Use gpu: [1]
I tflite  : INFO: Created TensorFlow Lite delegate for GPU.
I tflite  : count=25 first=18 curr=14 min=14 max=19 avg=14.5 std=1 p5=14 median=14125 p95=18
I tflite  : Inference timings in us: Init: 92318, First inference: 187533, Warmup (avg): 211669, Inference (avg): 145528
"""

TX2 = (
    "RAM 524/7850MB (lfb 393x4MB) SWAP 53/3925MB (cached 7MB) CPU [84%@2019,0%@2034,0%@2036,0%@2034,0%@2035,"
    "15%@2035] EMC_FREQ 7%@1866 GR3D_FREQ 98%@114 APE 150 MTS fg 0% bg 0% PLL@41.5C PMIC@50C thermal@40.9C "
    "VDD_SYS_GPU 152/152 VDD_SYS_SOC 838/838 VDD_4V0_WIFI 0/0 VDD_IN 4230/4230 VDD_SYS_CPU 990/990"
)
NANO = (
    "RAM 1923/3964MB (lfb 2x2MB) SWAP 191/1982MB (cached 6MB) IRAM 0/252kB(lfb 252kB) CPU [5%@1224,4%@1224,"
    "3%@1224,6%@1224] EMC_FREQ 0%@1600 GR3D_FREQ 0%@76 APE 25 PLL@37C POM_5V_IN 1750/1628 POM_5V_GPU 0/0 "
    "POM_5V_CPU 366/406"
)
XAVIER = (
    "RAM 2000/15690MB (lfb 1x4MB) CPU [1%@1190,off,off,0%@1190] EMC_FREQ 0% GR3D_FREQ 0% AO@32.5C GPU@32C "
    "GPU 0mW/0mW CPU 465mW/465mW SOC 1242mW/1242mW CV 0mW/0mW VDDRQ 465mW/465mW SYS5V 2760mW/2760mW"
)
ORIN = (
    "04-24-2023 00:01:24 RAM 1282/62795MB (lfb 15152x4MB) SWAP 0/31398MB (cached 0MB) CPU [0%@729,100%@2201] "
    "EMC_FREQ 1%@2133 GR3D_FREQ 12%@[305,305] VIC_FREQ 729 APE 174 CV0@-256C tj@42.593C VDD_GPU_SOC "
    "2399mW/2399mW VDD_CPU_CV 400mW/400mW VIN_SYS_5V0 4032mW/4032mW NC 0mW/0mW VDDQ_VDD2_1V8AO 301mW/301mW"
)
ORIN_JP7 = (
    "07-25-2026 09:08:28 RAM 20642/62817MB (lfb 1x2MB) CPU [23%@2201,10%@2201] EMC_FREQ 3%@3199 GR3D_FREQ "
    "12%@[1300,1300] NVENC0 off VIC off APE 174 cpu@52.968C/52.968C soc2@48.406C/48.406C "
    "VDD_GPU_SOC 5139mW/5139mW/5139mW VDD_CPU_CV 3268mW/3268mW/3268mW VIN_SYS_5V0 5500mW/5500mW/5500mW"
)

SAMPLES = {
    "benchncnn": (NCNN,),
    "trtexec": (TRTEXEC_10, TRTEXEC_8, TRTEXEC_7, TRTEXEC_5),
    "jetson-benchmarks": (JETSON, JETSON_UPSTREAM),
    "tflite": (TFLITE, TFLITE_GPU),
}


def only(found: list[Timed]) -> Timed:
    """The single result."""
    (timed,) = found
    return timed


def test_benchncnn_rows_carry_the_mapping_of_their_settings() -> None:
    found = PARSERS["benchncnn"](NCNN, "x")
    assert [(t.workload, t.latency_ms, t.mapping, t.cores) for t in found] == [
        ("squeezenet", 5.33, "big", 4),
        ("mobilenet_v2", 6.76, "big", 4),
        ("resnet50", 105.33, "gpu", 1),
    ]


def test_trtexec_median_host_latency_of_every_version() -> None:
    newest = only(PARSERS["trtexec"](TRTEXEC_10, "x"))
    assert (newest.workload, newest.latency_ms) == ("resnet50", 22.24)
    assert newest.start_s is not None
    assert newest.end_s is not None
    assert newest.end_s - newest.start_s == 10.0
    found = PARSERS["trtexec"](TRTEXEC_8 + TRTEXEC_7 + TRTEXEC_5, "x")
    assert [(t.workload, t.latency_ms) for t in found] == [
        ("vgg19", 101.092),
        ("yolov3-tiny", 4.49951),
        ("resnet50", 5.4),
    ]


def test_jetson_benchmarks_prints_latency_or_a_rounded_rate() -> None:
    exact = only(PARSERS["jetson-benchmarks"](JETSON, "x"))
    assert (exact.workload, exact.latency_ms) == ("vgg19_N2", 576.568)
    assert exact.end_s
    assert exact.start_s
    assert exact.end_s - exact.start_s == pytest.approx(988.517, abs=1e-3)
    rounded = only(PARSERS["jetson-benchmarks"](JETSON_UPSTREAM, "x"))
    assert rounded.latency_ms == pytest.approx(80.0)
    assert "from FPS" in rounded.note


def test_tflite_time_in_microseconds_with_its_threads_or_gpu() -> None:
    on_cpu = only(PARSERS["tflite"](TFLITE, "x"))
    assert (on_cpu.workload, on_cpu.mapping, on_cpu.cores) == ("mobilenet_v2", "cpu", 4)
    assert on_cpu.latency_ms == pytest.approx(29.5034)
    on_gpu = only(PARSERS["tflite"](TFLITE_GPU, "x"))
    assert (on_gpu.workload, on_gpu.mapping) == ("resnet50", "gpu")
    assert on_gpu.latency_ms == pytest.approx(14.125)


@pytest.mark.parametrize(
    ("kind", "text", "complaint"),
    [
        ("benchncnn", NCNN.replace("6.12", "slow"), "x: line 6: max 'slow': not a number"),
        ("benchncnn", NCNN.replace("avg =    5.33", ""), "x: line 6: expected 'NETWORK min"),
        ("benchncnn", NCNN.replace("avg =    5.33", "avg =    9.99"), "line 6: avg 9.99 is not between"),
        ("benchncnn", NCNN.split("\n", 5)[5], "line 1: num_threads and gpu_device of this run"),
        ("benchncnn", NCNN.replace("num_threads = 4", "num_threads = x"), "line 6: num_threads 'x'"),
        ("trtexec", TRTEXEC_10.replace("median = 22.24 ms", "med"), "line 7: expected 'Latency: min"),
        ("trtexec", TRTEXEC_10.replace("22.24", "-1"), "line 7: median '-1': expected a number above 0"),
        ("trtexec", TRTEXEC_10.replace("input:1x", "input:16x"), "line 7: batch 16: a request is one input"),
        ("trtexec", TRTEXEC_5.split("\n")[0], "line 1: run of resnet50 has no latency line"),
        ("jetson-benchmarks", JETSON.replace("576.568 0 0", "576.568 40 0"), "line 5: a DLA ran beside"),
        ("jetson-benchmarks", JETSON.replace("FPS:1.73", ""), "line 2: vgg19_N2 has neither"),
        ("jetson-benchmarks", "FPS:3\n", "line 1: FPS of no network"),
        (
            "tflite",
            TFLITE.replace("Inference (avg): 2.95034e+04", ""),
            "line 10: expected 'Inference timings",
        ),
        (
            "tflite",
            TFLITE.replace("2.95034e+04\n\nI", "2\n\nI").replace("): 2.95034e+04", "): nan"),
            "line 10",
        ),
        ("tflite", f"Use nnapi: [1]\n{TFLITE}", "line 11: run on nnapi: only CPU and GPU"),
        (
            "tflite",
            f"INFO: 3 operations will not be executed by the delegate\n{TFLITE_GPU}",
            "line 6: the GPU delegate refused",
        ),
    ],
)
def test_a_torn_output_is_refused_with_its_line(kind: str, text: str, complaint: str) -> None:
    with pytest.raises(MeasurementError) as told:
        PARSERS[kind](text, "x")
    assert complaint in str(told.value)
    assert "\n" not in str(told.value)


def test_file_names_and_the_person_complete_what_a_tool_does_not_say(tmp_path: Path) -> None:
    file = tmp_path / "vgg_19_114750000_1866000000_output.txt"
    file.write_text(JETSON)
    (row,) = parse_file(
        "jetson-benchmarks", file, Settings(pattern="{workload}_{gpu_hz}_{mem_hz}_output.txt", cpu_mhz=2035.2)
    )
    assert (row.workload, row.clocks, row.latency_ms) == ("vgg_19", (2035.2, 114.75, 1866.0), 576.568)
    (tmp_path / "n.txt.gz").write_bytes(gzip.compress(NCNN.encode()))
    rows = parse_file("benchncnn", tmp_path / "n.txt.gz", Settings(rename={"squeezenet": "mine"}))
    assert [row.workload for row in rows] == ["mine", "mobilenet-v2", "resnet50"]
    kept = parse_file("benchncnn", tmp_path / "n.txt.gz", Settings(only=("resnet50",), cores=2))
    assert [(row.workload, row.cores) for row in kept] == [("resnet50", 2)]


@pytest.mark.parametrize(
    ("kind", "settings_", "complaint"),
    [
        ("trtexec", Settings(), "no result of trtexec in it"),
        ("nvidia-smi", Settings(), "not a known tool"),
        ("jetson-benchmarks", Settings(pattern="{speed}.txt"), "file name pattern"),
        ("jetson-benchmarks", Settings(pattern="{gpu_hz}.log"), "name is not of the pattern"),
        ("jetson-benchmarks", Settings(pattern="a{gpu_hz}.txt"), "name is not of the pattern"),
    ],
)
def test_a_file_that_does_not_fit_is_named(
    kind: str, settings_: Settings, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "abc.txt").write_text(JETSON)
    with pytest.raises((MeasurementError, ConfigError), match=complaint):
        parse_file(kind, tmp_path / "abc.txt", settings_)


@pytest.mark.parametrize(
    ("line", "board_mw", "gpu_mhz", "mem_mhz", "busy_cores", "time_s"),
    [
        (TX2, 4230.0, 114.0, 1866.0, 0.99, None),
        (f"1739645853.518---{TX2}", 4230.0, 114.0, 1866.0, 0.99, 1739645853.518),
        (NANO, 1750.0, 76.0, 1600.0, 0.18, None),
        (XAVIER, 465.0 + 1242.0 + 465.0 + 2760.0, None, None, 0.01, None),
        (ORIN, 2399.0 + 400.0 + 4032.0, 305.0, 2133.0, 1.0, 1682294484.0),
        (ORIN_JP7, 5139.0 + 3268.0 + 5500.0, 1300.0, 3199.0, 0.33, 1784970508.0),
    ],
    ids=["tx2", "tx2 stamped", "nano", "xavier", "orin", "orin jetpack 7"],
)
def test_lines_of_several_boards(
    line: str,
    board_mw: float,
    gpu_mhz: float | None,
    mem_mhz: float | None,
    busy_cores: float,
    time_s: float | None,
    tmp_path: Path,
) -> None:
    (tmp_path / "t.log").write_text(f"{line}\nRAM 12/78")  # the logger was stopped while writing
    (sample,) = read_samples(tmp_path / "t.log")
    assert sample.board_mw == board_mw
    assert (sample.gpu_mhz, sample.mem_mhz) == (gpu_mhz, mem_mhz)
    assert sample.busy_cores == pytest.approx(busy_cores)
    assert sample.time_s == time_s


def test_power_by_time_overlap(tmp_path: Path) -> None:
    lines = [
        f"{1000000000 + second}.0---{TX2.replace('4230', str(4000 + 100 * second))}" for second in range(20)
    ]
    (tmp_path / "t.log").write_text("\n".join(lines))
    samples = read_samples(tmp_path / "t.log")
    row = Row(
        "gpu", 1, None, 114.75, 1866.0, "vgg19", 5.0, None, 1000000005.0, 1000000009.5, where="r: line 2"
    )
    (done,) = with_power([row], samples)
    assert done.power_mw == 4700.0
    late = Row("gpu", 1, None, 114.75, 1866.0, "vgg19", 5.0, None, 2e9, 2e9 + 5, where="r: line 2")
    with pytest.raises(
        MeasurementError, match=r"r: line 2: 0 lines of tegrastats .* the log covers 1000000000"
    ):
        with_power([late], samples)
    with pytest.raises(MeasurementError, match="start_s and end_s are not known"):
        with_power([Row("gpu", 1, None, None, None, "vgg19", 5.0, where="r: line 2")], samples)


def test_a_log_without_times_begins_when_it_is_said_to(tmp_path: Path) -> None:
    (tmp_path / "t.log").write_text("\n".join([TX2] * 4))
    samples = read_samples(tmp_path / "t.log", start_s=100.0, interval_ms=500.0)
    assert [s.time_s for s in samples] == [100.0, 100.5, 101.0, 101.5]
    (tmp_path / "t.log").write_text(ORIN)
    assert read_samples(tmp_path / "t.log", utc_offset_hours=2.0)[0].time_s == 1682294484.0 - 7200.0
    assert read_samples(tmp_path / "t.log", rails=("VDD_GPU_SOC",))[0].board_mw == 2399.0


def test_power_by_the_clock_each_line_says_and_the_waiting_board(tmp_path: Path) -> None:
    quiet = (
        TX2.replace("4230/", "1600/")
        .replace("98%@114", "0%@114")
        .replace("84%@", "1%@")
        .replace("15%@", "2%@")
    )
    (tmp_path / "t.log").write_text("\n".join([TX2] * 3 + [quiet] * 3))
    samples = read_samples(tmp_path / "t.log")
    row = Row("gpu", 1, 2035.2, 114.75, 1866.0, "vgg19", 5.0, where="r: line 2")
    assert with_power([row], samples, by_clock=True)[0].power_mw == 4230.0
    (idle,) = idle_rows(samples[3:], [row])
    assert (idle.workload, idle.power_mw, idle.clocks) == ("idle", 1600.0, (2035.2, 114.75, 1866.0))
    with pytest.raises(MeasurementError, match="0 lines with GPU and CPU quiet"):
        idle_rows(samples[:3])


@pytest.mark.parametrize(
    ("text", "rails", "complaint"),
    [
        ("hello\n", (), "no line of tegrastats"),
        ("RAM 1/2MB CPU [1%@100]\nRAM 1/2MB\n", (), "line 1: no power rail"),
        (TX2, ("VDD_XYZ",), "line 1: no rail VDD_XYZ; it has VDD_4V0_WIFI, VDD_IN"),
    ],
)
def test_a_log_without_power_is_named(
    text: str, rails: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "t.log").write_text(text)
    with pytest.raises(MeasurementError, match=complaint):
        read_samples(tmp_path / "t.log", rails=rails)


def spoiled(samples: tuple[str, ...]) -> st.SearchStrategy[str]:
    """A sample with a stretch of it replaced by anything."""

    def splice(sample: str, at: float, length: int, new: str) -> str:
        start = int(at * len(sample))
        return sample[:start] + new + sample[start + length :]

    return st.builds(
        splice,
        st.sampled_from(samples),
        st.floats(0.0, 1.0),
        st.integers(0, 40),
        st.text(max_size=20) | st.sampled_from(["\n", "nan", "1e999", "-1", "0", "inf", "."]),
    )


@pytest.mark.parametrize("kind", sorted(SAMPLES))
@settings(max_examples=60)
@given(data=st.data())
def test_any_spoiled_output_is_rows_or_one_line(kind: str, data: st.DataObject) -> None:
    text = data.draw(spoiled(SAMPLES[kind]) | st.text(max_size=200))
    parse: Callable[[str, str], list[Timed]] = PARSERS[kind]
    complaint = "x: line"
    found: list[Timed] = []
    try:
        found = parse(text, "x")
    except MeasurementError as told:
        complaint = str(told)
    assert complaint.startswith("x: line")
    assert "\n" not in complaint
    assert all(math.isfinite(timed.latency_ms) and timed.latency_ms > 0.0 for timed in found)


@settings(max_examples=60)
@given(text=spoiled((TX2, NANO, XAVIER, ORIN, ORIN_JP7, f"{TX2}\n{ORIN}")))
def test_any_spoiled_log_is_samples_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "t.log"
    file.write_text(text, encoding="utf-8", errors="replace")
    complaint = ""
    samples: list[Sample] = []
    try:
        samples = read_samples(file)
    except MeasurementError as told:
        complaint = str(told)
    assert "\n" not in complaint
    assert all(math.isfinite(sample.board_mw) and sample.board_mw >= 0.0 for sample in samples)


def test_every_published_ncnn_line_is_read() -> None:
    file = measurements_dir() / "ncnn-benchmark-tables" / "ncnn_benchmark_README.txt.gz"
    text = gzip.decompress(file.read_bytes()).decode()
    rows = parse_file("benchncnn", file)
    assert len(rows) == text.count("min =") == 8554


def test_published_tx2_files_give_the_same_grid_and_power_as_the_shipped_readers() -> None:
    folder = measurements_dir() / "tx2-thynics-gpu-emc-rails"
    said = Settings(pattern="{workload}_{gpu_hz}_{mem_hz}_output.txt", cpu_mhz=2035.2)
    files = sorted((folder / "data_transfer_all").glob("vgg19_*"))
    rows = [row for file in files for row in parse_file("jetson-benchmarks", file, said)]
    grid = read_latency_grid(measurements_dir(), "vgg19")
    assert sorted(row.latency_ms or 0.0 for row in rows) == pytest.approx(sorted(grid.latency_ms.tolist()))
    samples = read_samples(folder / "vgg_tegrastats_114750000_cumulative.txt.gz")
    fast = [row for row in rows if row.mem_mhz == 1866.0]
    power = {row.gpu_mhz: row.power_mw for row in with_power(fast, samples, by_clock=True)}
    assert power[114.75] == pytest.approx(5250.0, rel=1e-3)
    assert power[1300.5] == pytest.approx(15911.0, rel=1e-3)
    assert idle_rows(samples, fast)[0].power_mw == pytest.approx(3469.0, rel=0.01)
