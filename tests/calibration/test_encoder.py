"""The encoder's speed on devices: carried over from one machine by 7-Zip."""

from __future__ import annotations

import pytest

from dvfo_env.calibration.encoder import HERE, RELATIVES, SEVEN_ZIP, encoder
from dvfo_env.calibration.encoder_here import seven_zip_mips
from dvfo_env.calibration.ncnn_tables import read_ncnn_tables, select_run
from dvfo_env.devices import list_devices, load_device
from dvfo_env.errors import MeasurementError
from tests.measurements import measurements_dir

SHIPPED = [name for name in list_devices() if load_device(name).power is not None]


@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_device_says_how_long_it_encodes(name: str) -> None:
    time = load_device(name).encoder_ms_ghz
    assert time is not None
    assert time.range is not None
    low, high = time.range
    assert low < time.value < high
    assert "nobody ran the encoder" in (time.note or "") or time.evidence == "assumed"


def test_a_device_has_figures_of_its_own_or_a_relative_never_both() -> None:
    assert not set(SEVEN_ZIP) & set(RELATIVES)
    shipped = {name.removesuffix("-pinned") for name in SHIPPED}
    assert shipped == set(SEVEN_ZIP) | set(RELATIVES)
    assert all(encoder(name).coefficient.evidence == "fitted" for name in SEVEN_ZIP)
    assert all(encoder(name).coefficient.evidence == "assumed" for name in RELATIVES)


def test_a_core_as_fast_as_here_takes_as_long_as_here() -> None:
    found = encoder("raspberry-pi-5")
    here, there = HERE.seven_zip, SEVEN_ZIP["raspberry-pi-5"]
    ratios = [here.compressing / there.compressing, here.decompressing / there.decompressing]
    expected = HERE.reference_ms * (ratios[0] * ratios[1]) ** 0.5 * 2.4
    assert found.coefficient.value == pytest.approx(expected, rel=1e-4)
    assert found.fit is not None
    worst = 100.0 * max(ratios[0] / ratios[1] - 1.0, ratios[1] / ratios[0] - 1.0)
    assert found.fit.holdout_worst_percent == pytest.approx(worst, rel=1e-3)


def test_newer_pis_encode_faster() -> None:
    times = []
    for name in ("raspberry-pi-zero-2w", "raspberry-pi-4b", "raspberry-pi-5"):
        times.append(encoder(name).coefficient.value / (SEVEN_ZIP[name].mhz / 1000.0))
    assert times == sorted(times, reverse=True)


def test_networks_widen_the_range_and_leave_the_value() -> None:
    tables = read_ncnn_tables(measurements_dir())
    alone = encoder("raspberry-pi-4b").coefficient
    both = encoder("raspberry-pi-4b", select_run(tables, "Raspberry Pi 4 Model B", threads=1)).coefficient
    assert alone.range is not None
    assert both.range is not None
    assert both.value == alone.value
    assert both.range[1] > 3.0 * alone.range[1]  # its vector units are much slower than its other ones


def test_seven_zip_is_read_from_its_own_output() -> None:
    text = (
        "                       Compressing  |                  Decompressing\n"
        "22:        826    31   2559    804  |      13121    35   3211   1120\n"
    )
    assert seven_zip_mips(text) == (2559.0, 3211.0)
    with pytest.raises(MeasurementError, match="7-Zip: its output has no line"):
        seven_zip_mips("7-Zip 16.02\n")
