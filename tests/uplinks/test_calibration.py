import numpy as np
import pytest

from dvfo_env.calibration.uplink.fit import calibrate_shipped, calibrate_uplink, fit_report_rows, write_model
from dvfo_env.calibration.uplink.readers import hsdpa, mahimahi, nuwins_throughput, starlink, timed_files
from dvfo_env.errors import ConfigError, MeasurementError, TraceError
from dvfo_env.uplinks import load_model, load_uplink
from dvfo_env.uplinks.radio import fit_power_law
from tests.measurements import measurements_dir

NUWINS = "net-nuwins-mmwave-uplink"


def _user_folder(tmp_path, count=6, seconds=90):
    """Traces like a user's: a slow wave with outages, 0.1 s."""
    rng = np.random.default_rng(0)
    for index in range(count):
        steps = seconds * 10
        log_rate = np.cumsum(rng.normal(0, 0.06, steps))
        rate = 10.0 * np.exp(log_rate - log_rate.mean())
        rate[100:130] = 0.0
        rows = "\n".join(f"{0.1 * i:.1f},{value:.4f}" for i, value in enumerate(rate))
        (tmp_path / f"run{index}.csv").write_text("time_s,mbps\n" + rows + "\n")
    return tmp_path


def test_a_users_folder_becomes_a_model_that_matches_it(tmp_path):
    folder = tmp_path / "traces"
    folder.mkdir()
    model, rows = calibrate_uplink(_user_folder(folder), "my-route")
    assert rows == fit_report_rows(model)
    figures = {row["figure"]: row for row in rows}
    assert set(figures["mean_mbps"]) == {"figure", "real", "fitted", "held_back_real", "held_back_fitted"}
    assert figures["mean_mbps"]["fitted"] == pytest.approx(figures["mean_mbps"]["real"], rel=0.08)
    assert figures["outage_share"]["fitted"] == pytest.approx(figures["outage_share"]["real"], rel=0.2)
    assert figures["outage_dwell_s"]["fitted"] == pytest.approx(3.0, rel=0.05)
    assert abs(figures["autocorrelation_1s"]["fitted"] - figures["autocorrelation_1s"]["real"]) < 0.1
    assert model.radio.transmit_base_mw.evidence == "assumed"
    assert model.rtt.evidence == "assumed"
    write_model(model, tmp_path / "my-route.yaml")
    assert load_model(tmp_path / "my-route.yaml") == model
    assert load_uplink(tmp_path / "my-route.yaml").bank(100, 0).shape == (100, 2)


def test_too_little_data_is_refused(tmp_path):
    (tmp_path / "short.csv").write_text("\n".join(f"{i},1" for i in range(20)))
    with pytest.raises(MeasurementError, match="200 are needed"):
        calibrate_uplink(tmp_path, "short")


def test_an_empty_folder_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(MeasurementError, match="no trace file"):
        calibrate_uplink(tmp_path, "nothing")
    with pytest.raises(TraceError, match="no such file"):
        calibrate_uplink(tmp_path / "gone", "nothing")


def test_a_bad_trace_in_the_folder_is_named(tmp_path):
    _user_folder(tmp_path, count=1)
    (tmp_path / "bad.csv").write_text("0,1\n1,-1\n")
    with pytest.raises(TraceError, match=r"bad.csv: line 2"):
        calibrate_uplink(tmp_path, "bad")


def test_an_unknown_companion_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="known"):
        calibrate_uplink(_user_folder(tmp_path, count=1), "x", companion="nobody")


def test_constant_bandwidth_can_be_fitted(tmp_path):
    (tmp_path / "flat.csv").write_text("\n".join(f"{i},5" for i in range(400)))
    model, _ = calibrate_uplink(tmp_path, "flat")
    rates = load_uplink_rates(model, tmp_path)
    np.testing.assert_allclose(rates, 5.0, rtol=1e-3)


def load_uplink_rates(model, tmp_path):
    write_model(model, tmp_path / "model.yaml")
    return load_uplink(tmp_path / "model.yaml").bank(1000, 0)[:, 0]


def test_a_power_law_finds_its_own_line():
    target = np.repeat([1.0, 5.0, 10.0, 20.0], 20)
    rate = target * np.tile(np.linspace(0.9, 1.0, 20), 4)
    law = fit_power_law(target, rate, 1000.0 + 40.0 * rate)
    assert law.base_mw == pytest.approx(1000.0)
    assert law.mw_per_mbps == pytest.approx(40.0)
    assert law.holdout_error_percent < 1e-6
    with pytest.raises(MeasurementError, match="at least 3"):
        fit_power_law(target[:40], rate[:40], rate[:40])


def test_unknown_shipped_names_are_refused(tmp_path):
    with pytest.raises(MeasurementError, match="known"):
        calibrate_shipped(tmp_path, tmp_path, ["lte-flying"])
    with pytest.raises(MeasurementError, match="no file matches"):
        calibrate_shipped(tmp_path, tmp_path, ["lte-driving"])


@pytest.mark.parametrize("name", ["dvfo-0.5-8", "umts-driving", "5g-mmwave-walking"])
def test_shipped_models_are_rebuilt_from_the_measurements(name, tmp_path):
    root = measurements_dir()
    made = calibrate_shipped(root, tmp_path, [name])[name]
    shipped = load_model(name)
    assert made.provenance == shipped.provenance
    assert made.radio == shipped.radio
    assert made.downlink_mbps == shipped.downlink_mbps
    np.testing.assert_allclose(made.rtt.quantiles_ms, shipped.rtt.quantiles_ms)
    assert (made.fit is None) == (shipped.fit is None)
    if made.fit is not None:
        assert made.fit.real == shipped.fit.real
        assert made.fit.fitted.mean_mbps == pytest.approx(shipped.fit.fitted.mean_mbps, rel=0.03)
        assert made.fit.fitted.autocorrelation_1s == pytest.approx(
            shipped.fit.fitted.autocorrelation_1s, abs=0.04
        )


def test_time_lines_are_not_read_as_rates():
    traces = nuwins_throughput(measurements_dir() / NUWINS, "driving", "5g")
    assert max(trace.rate_mbps.max() for trace in traces) < 250.0
    assert all(trace.step_ms == 100.0 for trace in traces)
    assert min(trace.rate_mbps.min() for trace in traces) >= 0.0


def test_runs_are_not_joined_across_time_gaps():
    traces = starlink(measurements_dir() / "net-starlink-vs-cellular")
    assert len(traces) > 3
    assert sum(len(trace.rate_mbps) for trace in traces) <= 5400


def test_crowded_rows_are_weighted_by_time():
    folder = measurements_dir() / "net-merina-hsdpa-oboe-fcc-puffer"
    mean = np.concatenate([trace.rate_mbps for trace in hsdpa(folder)]).mean()
    assert mean == pytest.approx(1.23, abs=0.05)
    assert timed_files(folder, "fcc_ori/test_traces/*.log", 5000.0)


def test_the_measured_phone_traces_have_the_published_figures():
    up = mahimahi(measurements_dir() / "net-mahimahi-lte", "TMobile-UMTS-driving.up", 1000.0)[0]
    np.testing.assert_allclose(np.quantile(up.rate_mbps, [0.5, 0.95]), [1.08, 1.44], atol=0.03)
