"""The shipped servers are what the raw tables say, to the last digit."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.calibration.servers import calibrate_servers
from dvfo_env.errors import MeasurementError
from dvfo_env.record_yaml import write_record
from dvfo_env.servers import list_servers, load_server
from tests.measurements import measurements_dir


def test_the_shipped_files_come_from_the_raw_tables(tmp_path: Path) -> None:
    profiles, report = calibrate_servers(measurements_dir())
    assert tuple(sorted(profile.name for profile in profiles)) == list_servers()
    for profile in profiles:
        path = write_record(profile, tmp_path / f"{profile.name}.yaml")
        assert load_server(path) == load_server(profile.name)
    assert {row["evidence"] for row in report if row["workload"] == "resnet50"} == {"measured"}
    assert all(row["low_ms"] <= row["latency_ms"] <= row["high_ms"] for row in report)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(MeasurementError, match="cannot be read"):
        calibrate_servers(tmp_path / "nowhere")
