"""What the verbs that print data print: the same figures as the Python calls, and errors as one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dvfo_benchmarks.env import bench_env, random_actions
from dvfo_benchmarks.oracle import bench_oracle
from dvfo_benchmarks.timing import per_second
from dvfo_cli.main import main
from dvfo_cli.verbs import calibrate
from dvfo_env.calibration.shipped import DEVICE_FITS, SERVER_FITS
from dvfo_env.devices import describe, list_devices, load_device, predict
from dvfo_env.errors import ConfigError, DvfoError
from dvfo_env.tables import compile_scenario
from dvfo_env.workloads import cuts_table, list_workloads, load_workload
from tests.measurements import measurements_dir
from tests.worlds import scenario

TX2 = ("--cpu-mhz", "2035.2", "--gpu-mhz", "1300.5", "--mem-mhz", "1866")


def printed_json(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    """What `dvfo ARGUMENTS --json` prints."""
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that `dvfo ARGUMENTS` is refused with."""
    assert main(list(arguments)) == 2
    error = capsys.readouterr().err
    assert error.startswith("dvfo: error: ")
    assert error.count("\n") == 1
    return error


def test_predict_prints_what_the_call_returns(capsys: pytest.CaptureFixture[str]) -> None:
    told = ("predict", "--device", "jetson-tx2", "--workload", "resnet50", "--mapping", "gpu", *TX2)
    printed = printed_json(capsys, *told)
    assert printed == predict("jetson-tx2", "resnet50", "gpu", 2035.2, 1300.5, 1866.0)
    parts = printed["energy_mj"]
    assert parts["total"] == pytest.approx(sum(value for key, value in parts.items() if key != "total"))
    assert printed["power_mw"]["total"] == pytest.approx(1000 * parts["total"] / printed["latency_ms"])


def test_a_prediction_up_to_a_cut_is_part_of_the_whole(capsys: pytest.CaptureFixture[str]) -> None:
    told = ("predict", "--device", "jetson-tx2", "--workload", "vgg19", "--mapping", "gpu", *TX2)
    whole = printed_json(capsys, *told)
    part = printed_json(capsys, *told, "--cut", "pool3")
    assert part["cut"] == "pool3"
    assert 0 < part["latency_ms"] < whole["latency_ms"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"--device": "jetson"}, "device 'jetson' is not known"),
        ({"--workload": "alexnet"}, "workload 'alexnet' is unknown"),
        ({"--mapping": "npu"}, "npu"),
        ({"--gpu-mhz": "1234"}, "gpu_mhz: 1234, expected one of"),
        ({"--cut": "nowhere"}, "cut: 'nowhere'"),
    ],
)
def test_predict_names_what_is_wrong(
    change: dict[str, str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"--device": "jetson-tx2", "--workload": "resnet50", "--mapping": "gpu"}
    told |= dict(zip(TX2[::2], TX2[1::2], strict=True)) | change
    assert complaint in refused(capsys, "predict", *(word for pair in told.items() for word in pair))


def test_devices_lists_every_shipped_device(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed_json(capsys, "devices")
    assert [row["name"] for row in rows] == list(list_devices())
    assert main(["devices"]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in list_devices())


@pytest.mark.parametrize("name", list_devices())
def test_devices_show_opens_with_the_evidence_and_prints_every_coefficient(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", "show", name]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:3]] == ["measured", "fitted", "assumed"]
    rows = describe(load_device(name))
    text = "\n".join(lines)
    assert all(f"\n{row['name']} " in text for row in rows)
    assert all(row["source"] in text for row in rows)
    shown = printed_json(capsys, "devices", "show", name)
    assert [row["name"] for row in shown["rows"]] == [row["name"] for row in rows]
    assert sum(len(names) for names in shown["by_evidence"].values()) == len(rows)


def test_devices_compare_has_every_network_of_every_device(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed_json(capsys, "devices", "compare")
    pairs = {(row["device"], row["workload"]) for row in rows}
    assert pairs == {(name, workload) for name in list_devices() for workload in load_device(name).latency}
    assert all(row["latency_ms"] > 0 and row["energy_mj"] > 0 for row in rows)


def test_workloads_show_prints_the_table_of_cuts(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row["name"] for row in printed_json(capsys, "workloads")] == list(list_workloads())
    assert printed_json(capsys, "workloads", "show", "vgg19") == cuts_table(load_workload("vgg19"))
    assert len(printed_json(capsys, "workloads", "show", "resnet50", "--all")) > 21


@pytest.mark.parametrize("verb", ["devices", "workloads"])
@pytest.mark.parametrize("arguments", [["show"], ["list", "something"]])
def test_show_needs_a_name_and_list_takes_none(verb: str, arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([verb, *arguments])
    assert leaving.value.code == 2


@pytest.mark.parametrize("what", ["pis", "phones", "servers", "tx2"])
def test_calibrate_agrees_with_what_is_shipped(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    if what in ("pis", "phones"):
        pytest.importorskip("pyarrow", reason="the Pi 5's energy is read from Parquet")
    printed = printed_json(capsys, "calibrate", what, "--measurements", str(measurements_dir()), "--check")
    assert printed["differences"] == []
    assert printed["written"] == []
    assert printed["report"]


def test_calibrate_writes_a_profile_that_loads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("pyarrow", reason="the Pi 5's energy is read from Parquet")
    told = ("calibrate", "pis", "--measurements", str(measurements_dir()), "--out", str(tmp_path / "new"))
    written = printed_json(capsys, *told)["written"]
    assert {Path(file).stem for file in written} == {name for name in list_devices() if "pi-" in name}
    assert all(load_device(file) == load_device(Path(file).stem) for file in written)


def test_calibrate_fits_ones_own_traces_and_replaces_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trace = tmp_path / "mine.csv"
    rows = "\n".join(f"{second},{second % 17 + 1}.5" for second in range(600))
    trace.write_text(f"time_s,mbps\n{rows}\n")
    told = ("calibrate", "uplink", str(trace), "--name", "mine", "--out", str(tmp_path / "out"))
    printed = printed_json(capsys, *told)
    assert {row["figure"] for row in printed["report"]} >= {"mean_mbps", "outage_share", "autocorrelation_1s"}
    model = tmp_path / "out" / "mine.yaml"
    assert printed["written"] == [str(model)]
    model.write_text("precious")
    assert "already there" in refused(capsys, *told)
    assert model.read_text() == "precious"
    printed_json(capsys, *told, "--overwrite")
    assert model.read_text() != "precious"


def test_calibrate_without_measurements_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DVFO_MEASUREMENTS", raising=False)
    with pytest.raises(SystemExit):
        main(["calibrate", "tx2"])
    assert "--measurements DIR is needed" in capsys.readouterr().err
    missing = str(tmp_path / "nothing")
    assert f"{missing}: no such folder" in refused(capsys, "calibrate", "tx2", "--measurements", missing)


def test_check_finds_a_changed_figure_a_changed_word_and_a_missing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, fresh = tmp_path / "shipped", tmp_path / "fresh"
    shipped.mkdir()
    fresh.mkdir()
    (shipped / "a.yaml").write_text("{x: 1.0, y: [1, 2], z: alpha}")
    (fresh / "a.yaml").write_text("{x: 1.0001, y: [1, 3], z: alphabet}")
    (fresh / "b.yaml").write_text("{}")
    monkeypatch.setattr(calibrate, "_shipped_folder", lambda _: shipped)
    places = [line.split(":")[0] for line in calibrate._differences(fresh, "tx2")]
    assert places == ["a.y[1]", "a.z", "b"]


def test_out_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "fresh").mkdir()
    (tmp_path / "fresh" / "a.yaml").write_text("x")
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        calibrate._place(tmp_path / "fresh", tmp_path / "file" / "below", overwrite=False)


@pytest.mark.slow
def test_bench_env_has_the_agreed_keys_and_only_positive_speeds(tmp_path: Path) -> None:
    scenario(tmp_path)
    result = bench_env(str(tmp_path / "toy.yaml"), batch_size=8, repeats=1, seconds=0.001)
    speeds = {key: value for key, value in result.items() if key.endswith("_per_s")}
    assert set(speeds) >= {
        "batched_steps_per_s",
        "scalar_steps_per_s",
        "cartpole_scalar_steps_per_s",
        "cartpole_batched_steps_per_s",
    }
    assert all(value > 0 for value in speeds.values())
    assert (result["batch_size"], result["scenario"]) == (8, "toy")
    assert result["compile_s"] > result["cached_start_s"] > 0
    assert result["cores"] >= 1


def test_bench_env_of_no_scenario_is_an_error_of_ours() -> None:
    with pytest.raises(DvfoError, match="no-such-scenario"):
        bench_env("no-such-scenario")


def test_bench_oracle_times_every_decision(tmp_path: Path) -> None:
    scenario(tmp_path)
    result = bench_oracle(str(tmp_path / "toy.yaml"), decisions=4, bound_episodes=1, fixed_episodes=1)
    assert 0 < result["decision_ms_median"] <= result["decision_ms_p99"]
    assert 0 < result["random_state_ms_median"] <= result["random_state_ms_p99"]
    assert result["joint_actions"] > 1


def test_random_actions_are_legal_and_reach_both_ends(tmp_path: Path) -> None:
    tables = compile_scenario(scenario(tmp_path))
    actions = random_actions(tables, 512, draws=4)
    assert actions.min() == 0
    assert (actions.reshape(-1, len(tables.sizes)).max(axis=0) + 1 == tables.sizes).all()


def test_per_second_counts_what_was_handled() -> None:
    calls = []

    def run() -> int:
        calls.append(1)
        return 10

    assert per_second(run, repeats=3, seconds=1e-5) > 0
    assert len(calls) >= 5


def test_calibrate_offers_every_fit_behind_a_shipped_file() -> None:
    assert set(calibrate.SHIPPED) == {*DEVICE_FITS, *SERVER_FITS, "uplink"}
