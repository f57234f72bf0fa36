"""`dvfo devices`: cards, the page, and devices side by side."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dvfo_cli.main import main
from dvfo_env.devices import list_devices, load_device
from dvfo_env.devices.page import devices_page
from dvfo_env.record_yaml import write_record


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for one's own devices."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    folder = tmp_path / "data" / "dvfo" / "devices"
    folder.mkdir(parents=True)
    return folder


def test_ones_own_devices_stand_in_the_list_and_in_comparisons(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = load_device("raspberry-pi-4b").model_copy(update={"title": "My Pi", "power": None})
    write_record(mine, own_folder / "my-pi.yaml")
    (own_folder / "torn.yaml").write_text("name: [", encoding="utf-8")
    assert main(["devices"]) == 0
    printed = capsys.readouterr().out
    assert "my-pi *" in printed
    assert f"* your own, in {own_folder}" in printed
    assert "torn.yaml: line" in printed
    assert main(["devices", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == {*list_devices(), "my-pi"}
    assert [name for name, row in rows.items() if row["own"]] == ["my-pi"]
    for told in (["compare"], ["compare", "resnet50"]):
        assert main(["devices", *told, "--json"]) == 0
        found = [row for row in json.loads(capsys.readouterr().out) if row["device"] == "my-pi"]
        assert found
        assert all(row["energy_mj"] is None and row["latency_ms"] > 0.0 for row in found)


def test_a_latency_only_device_is_predicted_without_power(
    own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_record(load_device("raspberry-pi-4b").model_copy(update={"power": None}), own_folder / "my-pi.yaml")
    told = [
        "predict",
        "--device",
        "my-pi",
        "--workload",
        "resnet50",
        "--mapping",
        "cpu4",
        "--cpu-mhz",
        "1500",
    ]
    assert main(told) == 0
    assert "latency only" in capsys.readouterr().out
    assert main([*told, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["power_mw"], found["energy_mj"]) == (None, None)
    assert found["latency_ms"] > 0.0


def test_compare_puts_one_network_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "compare", "resnet50", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["device"] for row in rows} == {
        name for name in list_devices() if "resnet50" in load_device(name).latency
    }
    assert main(["devices", "compare", "resnet50"]) == 0
    printed = capsys.readouterr().out
    assert all(row["device"] in printed for row in rows)
    assert "fitted, wall socket" in printed


def test_compare_draws_the_chosen_devices(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = ["devices", "compare", "vgg16", "--devices", "jetson-nano, jetson-orin-agx", "--json"]
    assert main([*told, "--plot", str(tmp_path / "fronts.svg")]) == 0
    assert {row["device"] for row in json.loads(capsys.readouterr().out)} == {
        "jetson-nano",
        "jetson-orin-agx",
    }
    drawn = (tmp_path / "fronts.svg").read_text(encoding="utf-8")
    assert drawn.startswith("<?xml")


def test_page_prints_and_writes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "page"]) == 0
    assert capsys.readouterr().out == devices_page()
    assert main(["devices", "page", "--out", str(tmp_path / "devices.md")]) == 0
    assert (tmp_path / "devices.md").read_text(encoding="utf-8") == devices_page()
    capsys.readouterr()
    assert main(["devices", "page", "--out", str(tmp_path / "nowhere" / "devices.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("told", "complaint"),
    [
        (["compare", "alexnet"], "workload 'alexnet' is unknown"),
        (["compare", "resnet50", "--devices", "toaster"], "device 'toaster' is not known"),
        (["compare", "resnet50", "--devices", "phone-galaxy-s10"], "none of phone-galaxy-s10 knows it"),
        (["compare", "resnet50", "--plot", "x.doc"], "x.doc: cannot be written"),
    ],
)
def test_what_cannot_be_compared_is_said_in_one_line(
    told: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["devices", *told]) == 2
    errors = capsys.readouterr().err
    assert complaint in errors
    assert errors.count("\n") == 1


@pytest.mark.parametrize(
    "told", [["--plot", "x.png"], ["compare", "--devices", "jetson-nano"], ["page", "x"]]
)
def test_options_without_a_network_are_refused(told: list[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["devices", *told])
    assert leaving.value.code == 2
