"""The table of measured points: what it takes, and that every refusal names file and line."""

from __future__ import annotations

import gzip
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvfo_env.calibration.own.table import Row, read_table, write_table
from dvfo_env.errors import MeasurementError
from tests.calibration.board_rows import cpu_row, gpu_row, idle_row

HEADING = "mapping,cores,cpu_mhz,gpu_mhz,mem_mhz,workload,latency_ms,power_mw\n"


def bare(row: Row) -> Row:
    """A row without the place it was read from."""
    return replace(row, where="")


def test_a_written_table_reads_back(tmp_path: Path) -> None:
    rows = [gpu_row(500.0, 800.0, power_mw=4000.0), cpu_row(4, 800.0), idle_row(800.0)]
    write_table(rows, tmp_path / "t.csv")
    again, origin = read_table(tmp_path / "t.csv")
    assert origin.rows == 3
    assert str(origin).startswith("t.csv (3 rows, sha256 ")
    for old, new in zip(rows, again, strict=True):
        assert new.latency_ms == pytest.approx(old.latency_ms)
        assert bare(replace(new, latency_ms=old.latency_ms)) == bare(old)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    assert [bare(row) for row in read_table(tmp_path / "t.csv.gz")[0]] == [bare(row) for row in again]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("gpu,1,,500,800,resnet50,", r"t.csv: line 2: has another number of cells"),
        ("gpu,1,,500,800,resnet50,,", r"line 2: latency_ms is empty: measure the point"),
        ("gpu,1.5,,500,800,resnet50,3,", r"line 2: cores '1.5'"),
        ("gpu,0,,500,800,resnet50,3,", r"line 2: cores '0'"),
        ("gpu,1,,fast,800,resnet50,3,", r"line 2: gpu_mhz 'fast': not a number"),
        ("gpu,1,,500,800,resnet50,-3,", r"line 2: latency_ms '-3': expected a number above 0"),
        ("gpu,1,,500,800,resnet50,inf,", r"line 2: latency_ms 'inf'"),
        (",1,,500,800,resnet50,3,", r"line 2: mapping is empty"),
        ("big>gpu,1,,500,800,resnet50,3,", r"kept for hand-overs"),
        ("idle,1,,500,800,idle,,", r"line 2: an idle row needs power_mw"),
        ('"gpu,1,,500,800,resnet50,3,', r"not CSV|another number"),
    ],
)
def test_a_wrong_row_is_named(line: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{HEADING}{line}\n")
    with pytest.raises(MeasurementError, match=complaint) as told:
        read_table(tmp_path / "t.csv")
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "column mapping is missing"),
        (HEADING, "no rows under the heading"),
        (HEADING.replace("power_mw", "power_mW"), "unknown column 'power_mW'"),
        (HEADING.replace("power_mw", "cores"), "column cores is there twice"),
        (HEADING.replace("cores,", ""), "column cores is missing"),
        (HEADING.replace(",", ";"), "line 1: cells are separated by semicolons; commas are needed"),
        (HEADING.replace(",", "\t"), "line 1: cells are separated by tabs"),
    ],
)
def test_a_wrong_heading_is_named(text: str, complaint: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(MeasurementError, match=complaint):
        read_table(tmp_path / "t.csv")


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00garbage")
    with pytest.raises(MeasurementError, match="not a text file"):
        read_table(tmp_path / "t.csv")
    (tmp_path / "t.gz").write_bytes(b"\x1f\x8b\x08torn")
    with pytest.raises(MeasurementError, match="not a whole gzip file"):
        read_table(tmp_path / "t.gz")
    with pytest.raises(MeasurementError, match="cannot be read"):
        read_table(tmp_path / "nothing.csv")


@given(st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.mktemp("fuzz") / "t.csv"
    file.write_bytes(HEADING.encode() + data)
    complaint = ""
    rows: list[Row] = []
    try:
        rows, _ = read_table(file)
    except MeasurementError as told:
        complaint = str(told)
    assert "\n" not in complaint
    assert all((row.latency_ms or row.power_mw or 0.0) > 0.0 for row in rows)
