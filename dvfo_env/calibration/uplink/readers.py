"""Readers of the published bandwidth, ping and radio-power measurements that the shipped uplink models
are fitted to.

Every reader takes the folder of one data set, exactly as its authors published the files, and returns
plain series.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dvfo_env.errors import MeasurementError
from dvfo_env.uplinks.traces import Trace, load_mahimahi, trace_of_rows

NUWINS_STEP_MS = 100.0
"""Sample spacing of the NUWiNS series: read from the time lines where there are any, assumed elsewhere."""

SPLIT_GAP_MS = 5000.0
"""A pause longer than this between two rows begins a new series."""


class PowerSamples(NamedTuple):
    """Power against rate, arrays [n]: target rate and achieved rate in Mbit/s, power in mW."""

    target_mbps: NDArray[np.float64]
    rate_mbps: NDArray[np.float64]
    power_mw: NDArray[np.float64]


def read_text(path: Path) -> str:
    """Text of a plain or gzipped file.

    Raises:
        MeasurementError: the file is missing or unreadable.
    """
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (OSError, UnicodeDecodeError, EOFError) as error:
        raise MeasurementError(f"{path}: cannot be read: {error}") from None


def files_under(folder: Path, pattern: str) -> list[Path]:
    """Files that match, sorted; hidden files left out.

    Raises:
        MeasurementError: there is none.
    """
    found = sorted(path for path in folder.glob(pattern) if path.is_file() and not path.name.startswith("."))
    if not found:
        raise MeasurementError(f"{folder}: no file matches {pattern}; expected the published data set there")
    return found


def nuwins_throughput(folder: Path, motion: str, technology: str) -> list[Trace]:
    """NUWiNS 5G-MeMU uplink series (Ghoshal et al. 2022): motion static|walking|driving, technology 5g|lte.

    A run of one line is the rate, one sample per 0.1 s. A run of four lines holds two unlabelled pairs of
    (sample times in s, Mbit/s). Only the first pair is used, split at its pauses: in the second the times go
    back again and again and the rate never passes 66 Mbit/s, the ceiling of the LTE files.

    Raises:
        MeasurementError: a file is missing or a run has another number of lines.
    """
    traces: list[Trace] = []
    for path in files_under(folder / "throughput" / motion / technology, "*.list*"):
        for block in _number_blocks(path):
            if len(block) == 1:
                traces.append(Trace(block[0].astype(np.float32), NUWINS_STEP_MS))
            elif len(block) == 4:
                traces.extend(_split_rows(block[0], block[1], NUWINS_STEP_MS, path))
            else:
                raise MeasurementError(f"{path}: a run with {len(block)} lines of numbers; expected 1 or 4")
    return traces


def nuwins_pings(folder: Path, motion: str, technology: str) -> list[NDArray[np.float64]]:
    """NUWiNS round-trip times in ms, one array a run; about ten pings a second by their count per run.

    Raises:
        MeasurementError: a file is missing.
    """
    paths = files_under(folder / "ping" / motion / technology, "*.list*")
    return [line for path in paths for block in _number_blocks(path) for line in block]


def mahimahi(folder: Path, file: str, step_ms: float) -> list[Trace]:
    """One trace of the Mahimahi repository, plain or gzipped, at `step_ms`."""
    return [load_mahimahi(files_under(folder, f"{file}*")[0], step_ms)]


def starlink(folder: Path, pattern: str = "UDP_Uplink_mob_all_area*") -> list[Trace]:
    """Starlink and cellular UDP throughput while driving, 1 s, split at time gaps of more than 2 s."""
    path = files_under(folder, pattern)[0]
    times, rates = [], []
    for row in csv.DictReader(read_text(path).splitlines()):
        stamp = row["time"].rsplit(" ", 1)[0]
        times.append(datetime.fromisoformat(stamp).timestamp())
        rates.append(float(row["throughput"]))
    return _split_rows(np.array(times), np.array(rates), 1000.0, path, 2000.0)


def timed_files(folder: Path, pattern: str, step_ms: float = 1000.0, *, ends: bool = False) -> list[Trace]:
    """(time in s, Mbit/s) files, split at pauses above 5 s.

    A rate holds from its time to the next row's; with `ends` it is the rate since the row before.
    """
    traces: list[Trace] = []
    for path in files_under(folder, pattern):
        lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
        rows = np.array([[float(item) for item in line[:2]] for line in lines])
        times, rates = (rows[:-1, 0], rows[1:, 1]) if ends else (rows[:, 0], rows[:, 1])
        traces.extend(_split_rows(times, rates, step_ms, path))
    return traces


def hsdpa(folder: Path) -> list[Trace]:
    """HSDPA downlink of Riiser et al. (MMSys 2013), averaged to 1 s.

    Rows come once per some 190 kB received and give the rate since the row before (taken that way, rate times
    time is nearly constant). So rows crowd where the link is fast: their plain mean, 1.7 Mbit/s,
    overstates the mean over time, 1.2 Mbit/s.
    """
    return timed_files(folder / "cooked_3gp", "*", ends=True)


def oboe(folder: Path) -> list[Trace]:
    """Downlink video-session rates of Akhtar et al. (SIGCOMM 2018), averaged to 5 s: rows are seconds
    apart.
    """
    return timed_files(folder / "traces_oboe", "*.txt", 5000.0, ends=True)


def fcc(folder: Path) -> list[Trace]:
    """Fixed-line downlink of the FCC's Measuring Broadband America, 5 s."""
    return timed_files(folder / "fcc_ori" / "test_traces", "*.log", 5000.0)


def lumos5g(folder: Path, generation: str, motion: str) -> list[Trace]:
    """Lumos5G downlink, 1 s: generation 4G|5G, motion walking|driving (Narayanan et al., SIGCOMM 2021)."""
    return timed_files(folder / "Lumous5G" / generation, f"*_{motion}*")


def wifi_campus(folder: Path) -> list[Trace]:
    """Campus Wi-Fi of MP-Traces: lines of (second, bytes in that second)."""
    traces = []
    for path in files_under(folder, "*_wifi.csv"):
        rows = np.array(
            [[float(item) for item in line.split(",")] for line in read_text(path).splitlines() if line]
        )
        traces.extend(_split_rows(rows[:, 0], rows[:, 1] * 8e-6, 1000.0, path))
    return traces


def transfer_power(folder: Path, network: str, direction: str) -> PowerSamples:
    """Whole-phone power of rate-limited transfers: network LTE|NSALow|mmwave, direction uplink|downlink.

    Raises:
        MeasurementError: the file is missing or has no such rows.
    """
    path = folder / "MN-Transfer_combined.csv"
    rows = [
        (float(row["target bandwidth"]), float(row["throughput"]), float(row["avg_power"]))
        for row in csv.DictReader(read_text(path).splitlines())
        if row["network type"] == network and row["direction"] == direction
    ]
    if not rows:
        raise MeasurementError(f"{path}: no rows for {network} {direction}")
    return PowerSamples(*np.array(rows).T)


def walking_power(folder: Path, file: str) -> NDArray[np.float64]:
    """Walking runs: [n, 4] of downlink and uplink Mbit/s, power above the base (mW), whole-phone power
    (mW).
    """
    columns = ("downlink_Mbps", "uplink_Mbps", "hardware_power", "hardware_power_full")
    rows = csv.DictReader(read_text(files_under(folder, f"{file}_combined.csv*")[0]).splitlines())
    table = np.array([[float(row[name] or "nan") for name in columns] for row in rows])
    kept: NDArray[np.float64] = table[np.isfinite(table).all(axis=1)]
    return kept


def _number_blocks(path: Path) -> Iterator[list[NDArray[np.float64]]]:
    """The comma lists of every "Run n" block."""
    block: list[NDArray[np.float64]] = []
    for line in read_text(path).splitlines():
        if line.startswith("Run"):
            if block:
                yield block
            block = []
        elif line.strip() and not line.startswith("#"):
            block.append(np.array([float(item) for item in line.split(",") if item.strip()]))
    if block:
        yield block


def _split_rows(
    times_s: NDArray[np.float64],
    rates: NDArray[np.float64],
    step_ms: float,
    path: Path,
    gap_ms: float = SPLIT_GAP_MS,
) -> list[Trace]:
    """Uniform series from timed rows, cut at pauses above `gap_ms`; pieces shorter than three steps
    are dropped.
    """
    breaks = np.flatnonzero((np.diff(times_s) * 1000.0 > gap_ms) | (np.diff(times_s) <= 0.0)) + 1
    pieces = zip(np.split(times_s, breaks), np.split(rates, breaks), strict=True)
    return [
        trace_of_rows(when * 1000.0, rate, step_ms, str(path))
        for when, rate in pieces
        if len(when) > 1 and (when[-1] - when[0]) * 1000.0 >= 3.0 * step_ms
    ]
