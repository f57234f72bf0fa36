"""Cards, the page made of them, and devices side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dvfo_env.devices import list_devices, load_device
from dvfo_env.devices.card import fits_of, opening, percent
from dvfo_env.devices.compare import compare, plot_fronts
from dvfo_env.devices.page import devices_page
from dvfo_env.errors import ConfigError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "devices.md"


@pytest.mark.parametrize("name", list_devices())
def test_a_card_opens_with_measured_fitted_assumed_and_places_every_network(name: str) -> None:
    profile = load_device(name)
    lines = opening(profile)
    assert [line.split(": ")[0] for line in lines] == ["measured", "fitted", "assumed"]
    text = "\n".join(lines)
    assert all(workload in text for workload in profile.latency)
    assert "latency." not in text
    assert "power." not in text.replace("power.meter", "")


def test_a_fitted_law_stands_with_its_error_and_hold_out() -> None:
    fitted = opening(load_device("jetson-tx2"))[1]
    assert "latency of vgg19 on gpu (0.59 %, hold-out 0.62 %)" in fitted
    assert "latency, Keras, inceptionv3_200x200 (7.5 %, hold-out 7.9 %)" in fitted


def test_what_the_nano_knows_at_one_setting_is_assumed_over_the_clocks() -> None:
    measured, fitted, assumed = opening(load_device("jetson-nano"))
    assert "resnet50" in measured
    assert "mobilenet-v2 on gpu" in fitted
    assert "part of the course over the clocks of efficientnet-b0" in assumed


def test_asked_hold_out_errors_are_reached() -> None:
    limits = {
        "jetson-tx2": {"latency of ": 1.0, "latency, Keras": 9.0, "board power": 5.0},
        "jetson-agx-xavier": {"latency": 5.0, "wall power": 5.0, "board power": 5.0},
        "jetson-nano": {"latency": 5.0, "wall power": 5.0, "board power": 5.0},
    }
    for device, by_start in limits.items():
        rows = fits_of(load_device(device))
        for start, limit in by_start.items():
            found = [row.fit.holdout_error_percent for row in rows if row.what.startswith(start)]
            assert found, (device, start)
            assert all(error is not None and error <= limit for error in found), (device, start)


def test_the_error_of_scaling_by_flops_stands_with_what_is_assumed() -> None:
    for name in ("phone-snapdragon835", "raspberry-pi-4b", "jetson-nano"):
        profile = load_device(name)
        (row,) = (row for row in fits_of(profile) if row.what.startswith("times scaled by FLOPs"))
        assert row.fit.error_percent is None
        _, fitted, assumed = opening(profile)
        assert f"{row.what} (hold-out {percent(row.fit.holdout_error_percent)})" in assumed
        assert "scaled by FLOPs" not in fitted


def test_the_page_is_made_from_the_shipped_profiles() -> None:
    assert PAGE.read_text(encoding="utf-8") == devices_page(), "run: dvfo devices page --out docs/devices.md"


def test_the_page_has_every_device_and_every_hold_out_error() -> None:
    page = devices_page()
    for name in list_devices():
        assert f"(`{name}`)" in page
        for row in fits_of(load_device(name)):
            if row.fit.holdout_error_percent is not None:
                assert f"| {name} | {row.what} | {row.fit.points or ''} |" in page


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "< 0.01 %"), (0.034, "0.034 %"), (4.04, "4 %"), (12.3, "12 %")]
)
def test_errors_are_printed_to_two_digits(value: float | None, text: str) -> None:
    assert percent(value) == text


def test_fronts_hold_only_settings_that_nothing_beats() -> None:
    profiles = [load_device(name) for name in list_devices()]
    rows, fronts = compare(profiles, "resnet50")
    assert [row["latency_ms"] for row in rows] == sorted(row["latency_ms"] for row in rows)
    assert {row["device"] for row in rows} == {p.name for p in profiles if "resnet50" in p.latency}
    for front in fronts:
        assert np.all(np.diff(front.latency_ms) >= 0.0)
        assert np.all(np.diff(front.energy_mj) < 0.0)
        ms, mj = front.out_of_the_box
        assert not np.any((front.latency_ms > ms) & (front.energy_mj > mj))
    by_name = {row["device"]: row for row in rows}
    assert by_name["jetson-agx-xavier"]["power"] == "fitted, wall socket"
    assert by_name["jetson-orin-nano"]["power"] == "assumed"


def test_a_latency_only_profile_is_compared_without_energy(tmp_path: Path) -> None:
    bare = load_device("raspberry-pi-4b").model_copy(update={"power": None})
    rows, fronts = compare([bare], "resnet50")
    assert rows[0]["energy_mj"] is None
    assert rows[0]["power"] == "latency only"
    assert fronts == []
    assert "latency only" in opening(bare)[2]
    with pytest.raises(ConfigError, match="no energy to draw"):
        plot_fronts(fronts, "resnet50", tmp_path / "x.png")


def test_a_network_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'vgg16': none of phone-kirin990 knows it"):
        compare([load_device("phone-kirin990")], "vgg16")


def test_fronts_are_drawn_and_bad_endings_refused(tmp_path: Path) -> None:
    _, fronts = compare([load_device("jetson-nano"), load_device("raspberry-pi-5")], "resnet50")
    assert plot_fronts(fronts, "resnet50", tmp_path / "fronts.svg").stat().st_size > 1000
    with pytest.raises(ConfigError, match=r"fronts\.doc: cannot be written"):
        plot_fronts(fronts, "resnet50", tmp_path / "fronts.doc")
