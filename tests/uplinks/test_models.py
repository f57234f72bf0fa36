import functools
import subprocess
import sys

import numpy as np
import pytest

import dvfo_env.uplinks as uplinks
from dvfo_env.errors import ConfigError, TraceError
from dvfo_env.uplinks import Uplink, list_uplinks, load_model, load_uplink
from dvfo_env.uplinks.fit import long_run
from dvfo_env.uplinks.model import ChainProcess, UplinkModel
from dvfo_env.uplinks.statistics import describe, dwell_lengths
from dvfo_env.uplinks.synthetic import bounded_walk
from dvfo_env.uplinks.yaml_file import write_model

REQUIRED = {
    "5g-mmwave-walking",
    "5g-mmwave-driving",
    "5g-static",
    "lte-driving",
    "lte-static",
    "wifi-campus",
    "hsdpa",
    "dvfo-0.5-8",
}
FITTED = [name for name in list_uplinks() if load_model(name).fit is not None]
BANKS, SAMPLES = 8, 262_144


@functools.cache
def _fresh(name):
    """Figures of banks with seeds that no fit and no report has used."""
    model, uplink = load_model(name), load_uplink(name)
    series = [uplink.bank(SAMPLES, 9000 + index)[:, 0] for index in range(BANKS)]
    return describe(series, uplink.step_ms, model.process.outage_below_mbps)


def test_the_required_models_are_shipped():
    assert set(list_uplinks()) >= REQUIRED


def test_all_is_exact_and_everything_in_it_exists():
    assert sorted(uplinks.__all__) == list(uplinks.__all__)
    assert all(hasattr(uplinks, name) for name in uplinks.__all__)


@pytest.mark.parametrize("name", list_uplinks())
def test_every_model_satisfies_the_interface(name):
    uplink = load_uplink(name)
    assert isinstance(uplink, Uplink)
    assert uplink.name == name
    assert uplink.step_ms > 0
    assert uplink.downlink_mbps > 0
    bank = uplink.bank(5000, seed=0)
    assert bank.shape == (5000, 2)
    assert bank.dtype == np.float32
    assert np.isfinite(bank).all()
    assert (bank[:, 0] >= 0).all()
    assert (bank[:, 1] > 0).all()


@pytest.mark.parametrize("name", ["lte-driving", "5g-mmwave-driving", "dvfo-0.5-8"])
def test_same_seed_same_bank_other_seed_other_bank(name):
    one = load_uplink(name).bank(4000, 5)
    np.testing.assert_array_equal(one, load_uplink(name).bank(4000, 5))
    other = load_uplink(name).bank(4000, 6)
    assert (one != other).any(axis=0).all()


def test_seeds_are_independent_streams():
    uplink = load_uplink("5g-mmwave-walking")
    one, other = (uplink.bank(100_000, seed)[:, 0] for seed in (0, 1))
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.08


@pytest.mark.parametrize("name", FITTED)
def test_a_fresh_bank_has_the_figures_of_the_fit_report(name):
    fitted, made = load_model(name).fit.fitted, _fresh(name)
    scale = fitted.p95_mbps
    for figure in ("p5_mbps", "p25_mbps", "p50_mbps", "p75_mbps", "p95_mbps", "mean_mbps"):
        assert getattr(made, figure) == pytest.approx(getattr(fitted, figure), rel=0.06, abs=0.05 * scale), (
            figure
        )
    for figure in ("autocorrelation_step", "autocorrelation_1s", "autocorrelation_5s"):
        assert getattr(made, figure) == pytest.approx(getattr(fitted, figure), abs=0.05), figure
    assert made.outage_share == pytest.approx(fitted.outage_share, rel=0.15, abs=0.002)
    assert made.outage_dwell_s == pytest.approx(fitted.outage_dwell_s, rel=0.15, abs=0.02)


@pytest.mark.parametrize("name", FITTED)
def test_the_fitted_figures_match_the_measured_ones(name):
    real, fitted = load_model(name).fit.real, load_model(name).fit.fitted
    for figure in ("p5_mbps", "p25_mbps", "p50_mbps", "p75_mbps", "p95_mbps", "mean_mbps"):
        error = abs(getattr(fitted, figure) - getattr(real, figure))
        assert error <= 0.05 * max(getattr(real, figure), real.p95_mbps), figure
    assert abs(fitted.autocorrelation_1s - real.autocorrelation_1s) <= 0.08
    assert abs(fitted.outage_share - real.outage_share) <= 0.01
    if real.outage_share > 0.001:
        assert fitted.outage_dwell_s == pytest.approx(real.outage_dwell_s, rel=0.05)


def test_the_synthetic_range_stays_in_its_range_and_is_log_uniform():
    rates = load_uplink("dvfo-0.5-8").bank(1_000_000, 1)[:, 0]
    assert rates.min() >= 0.5
    assert rates.max() <= 8.0
    quantiles = np.quantile(np.log(rates / 0.5) / np.log(16.0), [0.1, 0.3, 0.5, 0.7, 0.9])
    np.testing.assert_allclose(quantiles, [0.1, 0.3, 0.5, 0.7, 0.9], atol=0.03)
    assert load_model("dvfo-0.5-8").process_evidence == "assumed"


@pytest.mark.parametrize("name", list_uplinks())
def test_round_trips_follow_their_table(name):
    rtt = load_model(name).rtt
    times = load_uplink(name).bank(SAMPLES, 12)[:, 1]
    for probability in (0.05, 0.5, 0.95):
        expected = np.interp(probability, rtt.probabilities, rtt.quantiles_ms)
        assert np.quantile(times, probability) == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("step_ms", [50.0, 250.0, 1000.0])
def test_another_step_keeps_the_mean(step_ms):
    native, other = load_uplink("lte-driving"), load_uplink("lte-driving", step_ms)
    assert other.step_ms == step_ms
    seconds = 2000
    expected = native.bank(seconds * 10, 4)[:, 0].mean()
    made = other.bank(int(seconds * 1000 / step_ms), 4)[:, 0].mean()
    assert made == pytest.approx(expected, rel=0.01)


def test_the_long_run_of_the_chain_is_what_it_generates():
    process = bounded_walk(1.0, 16.0, 8, 0.4)
    np.testing.assert_allclose(long_run(process).sum(axis=0), 0.125, atol=1e-6)


def test_dwell_lengths_count_runs():
    np.testing.assert_array_equal(dwell_lengths(np.array([1, 1, 0, 1, 0, 0, 1, 1, 1], bool)), [2, 1, 3])
    assert len(dwell_lengths(np.zeros(4, bool))) == 0


@pytest.mark.parametrize("name", list_uplinks())
def test_every_part_says_where_it_comes_from(name):
    model, evidence = load_model(name), load_uplink(name).evidence()
    expected = {"rate_mbps", "rtt_ms", "downlink_mbps", "transmit_base_mw", "transmit_mw_per_mbps"}
    assert expected | {"receive_base_mw", "receive_mw_per_mbps"} == set(evidence)
    for key, coefficient in evidence.items():
        assert coefficient.evidence in ("measured", "fitted", "assumed"), key
        assert coefficient.source, key
        assert coefficient.unit, key
        if coefficient.evidence == "assumed":
            assert coefficient.note or "assumed" in coefficient.source, key
    if model.direction == "downlink used as uplink":
        assert "downlink used as uplink" in model.title


@pytest.mark.parametrize("name", list_uplinks())
def test_sending_faster_never_takes_less_power_nor_more_energy_per_bit(name):
    radio = load_uplink(name).radio
    assert radio.transmit_base_mw.value > 0
    assert radio.receive_base_mw.value > 0
    rates = np.array([0.5, 1, 5, 20, 80])
    for law in (radio.transmit_mw, radio.receive_mw):
        power = np.array([law(rate) for rate in rates])
        assert (np.diff(power) >= 0).all()
        assert (np.diff(power / rates) < 0).all()


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="lte-driving") as caught:
        load_uplink("lte-flying")
    assert "lte-flying" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_file_of_ones_own_loads(tmp_path):
    path = tmp_path / "mine.yaml"
    write_model(load_model("hsdpa"), path)
    assert load_model(path) == load_model("hsdpa")
    np.testing.assert_array_equal(load_uplink(path).bank(500, 2), load_uplink("hsdpa").bank(500, 2))


def test_broken_model_files_name_the_field(tmp_path):
    path = tmp_path / "mine.yaml"
    write_model(load_model("dvfo-0.5-8"), path)
    text = path.read_text()
    path.write_text(text.replace("step_ms: 100.0", "step_ms: -100.0"))
    with pytest.raises(ConfigError, match=r"mine.yaml: process.step_ms"):
        load_uplink(path)
    path.write_text(text + "colour: red\n")
    with pytest.raises(ConfigError, match="colour: unknown key"):
        load_uplink(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"level_transitions": ((0.5,),)}, "does not sum to 1"),
        ({"outage_entry": ((0.0,),)}, "shape"),
        ({"bin_edges_mbps": (2.0, 1.0, 3.0)}, "must rise"),
        ({"outage_dwell_ms": (0.0,)}, "above 0"),
    ],
)
def test_inconsistent_chains_are_refused(change, message):
    data = bounded_walk(1.0, 4.0, 2, 0.5).model_dump() | change
    with pytest.raises(ValueError, match=message):
        ChainProcess.model_validate(data)


def test_bad_bank_arguments_are_refused():
    uplink = load_uplink("hsdpa")
    with pytest.raises(TraceError, match="samples"):
        uplink.bank(0, 1)
    with pytest.raises(TraceError, match="seed"):
        uplink.bank(10, -1)
    with pytest.raises(TraceError, match="step_ms"):
        load_uplink("hsdpa", 0.0)


def test_models_are_immutable():
    model = load_model("hsdpa")
    assert isinstance(model, UplinkModel)
    with pytest.raises(ValueError, match="frozen"):
        model.name = "x"


def test_importing_uplinks_brings_in_neither_matplotlib_nor_torch():
    heavy = "('matplotlib', 'torch')"
    code = f"import sys, dvfo_env.uplinks; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
