import gzip

import numpy as np
import pytest

from dvfo_env.errors import ConfigError, TraceError
from dvfo_env.uplinks import Trace, load_mahimahi, load_timed, load_trace, load_uplink, resample


def _written(tmp_path, text, name="trace.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_mahimahi_line_is_1500_bytes(tmp_path):
    path = _written(tmp_path, "".join(f"{ms}\n" for ms in range(1, 1001)), "link.up")
    trace = load_mahimahi(path, step_ms=100)
    assert trace.step_ms == 100
    assert len(trace.rate_mbps) == 10
    assert trace.rate_mbps.dtype == np.float32
    np.testing.assert_allclose(trace.rate_mbps[1:], 12.0)


def test_a_gzipped_mahimahi_trace_reads_the_same(tmp_path):
    text = "".join(f"{ms}\n" for ms in (0, 5, 5, 130, 180, 260, 400))
    plain = _written(tmp_path, text, "link.up")
    packed = tmp_path / "link.up.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    np.testing.assert_array_equal(load_trace(plain).rate_mbps, load_trace(packed).rate_mbps)


@pytest.mark.parametrize("header", ["", "time_s,mbps\n", "# a comment\n"])
@pytest.mark.parametrize("separator", [",", " ", "\t"])
def test_tables_read_with_and_without_header(tmp_path, header, separator):
    rows = "".join(f"{0.5 * i}{separator}{i + 1}\n" for i in range(6))
    trace = load_trace(_written(tmp_path, header + rows))
    assert trace.step_ms == 500
    np.testing.assert_allclose(trace.rate_mbps, [1, 2, 3, 4, 5, 6])


def test_resampling_conserves_bits(tmp_path):
    trace = Trace(np.array([1, 3, 5, 7], np.float32), 100.0)
    np.testing.assert_allclose(resample(trace, 200).rate_mbps, [2, 6])
    np.testing.assert_allclose(resample(trace, 50).rate_mbps, [1, 1, 3, 3, 5, 5, 7, 7])
    np.testing.assert_allclose(resample(trace, 400).rate_mbps, [4])


def test_uneven_rows_hold_until_the_next(tmp_path):
    trace = load_timed(_written(tmp_path, "0,10\n1,20\n3,30\n4,30\n"), step_ms=1000)
    np.testing.assert_allclose(trace.rate_mbps, [10, 20, 20, 30, 30])


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("", "is empty"),
        ("time_s,mbps\n", "no rows"),
        ("0,1\n1,-2\n", "line 2: rate -2 Mbit/s is below 0"),
        ("0,1\n1,nan\n", "line 2: rate in Mbit/s is nan"),
        ("0,1\n1,fast\n", "line 2: rate in Mbit/s 'fast' is not a number"),
        ("0,1\n2,1\n1,1\n", "line 3: time goes from 2 to 1 s"),
        ("0,1\n1,1\n60,1\n", "line 3: gap of 59 s"),
        ("0,1\n1\n", "line 2: found one value"),
        ("5\n3\n", "line 2: time goes back from 5 to 3 ms"),
        ("-1\n3\n", "line 1: time -1 ms is below 0"),
        ("1\nx\n", "line 2: time in ms 'x' is not a number"),
        ("1\ninf\n", "line 2: time in ms is inf"),
    ],
)
def test_bad_traces_name_file_and_line_in_one_line(tmp_path, text, where):
    path = _written(tmp_path, text)
    with pytest.raises(TraceError) as caught:
        load_trace(path)
    message = str(caught.value)
    assert where in message
    assert str(path) in message
    assert "\n" not in message


def test_the_gap_message_says_where_to_split(tmp_path):
    path = _written(tmp_path, "0,1\n1,1\n60,1\n")
    with pytest.raises(TraceError, match="split the file in two before line 3"):
        load_trace(path)
    assert len(load_trace(path, 1000, max_gap_ms=60_000).rate_mbps) >= 61


def test_a_torn_gzip_file_is_refused(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"1\n" * 1000)[:-12])
    with pytest.raises(TraceError, match="incomplete or damaged"):
        load_trace(path)
    path.write_bytes(b"not gzip at all")
    with pytest.raises(TraceError, match=r"x\.gz"):
        load_trace(path)


@pytest.mark.parametrize("step_ms", [0, -1, float("nan"), float("inf")])
def test_impossible_steps_are_refused(tmp_path, step_ms):
    path = _written(tmp_path, "0,1\n1,2\n")
    with pytest.raises(TraceError, match="step_ms"):
        load_trace(path, step_ms)


def test_a_trace_without_any_bandwidth_works(tmp_path):
    path = _written(tmp_path, "".join(f"{i},0\n" for i in range(20)), "dead.csv")
    uplink = load_uplink(path)
    bank = uplink.bank(1000, seed=3)
    assert bank.shape == (1000, 2)
    assert (bank[:, 0] == 0).all()
    assert (bank[:, 1] > 0).all()


def test_a_trace_uplink_repeats_its_trace_from_a_seeded_offset(tmp_path):
    path = _written(tmp_path, "".join(f"{i},{i + 1}\n" for i in range(10)), "steps.csv")
    uplink = load_uplink(path)
    assert uplink.name == "steps"
    bank = uplink.bank(30, seed=1)
    np.testing.assert_array_equal(bank[:10, 0], bank[10:20, 0])
    assert sorted(bank[:10, 0]) == list(range(1, 11))
    starts = {float(uplink.bank(1, seed)[0, 0]) for seed in range(40)}
    assert len(starts) > 5


def test_what_a_trace_uplink_borrows_is_labelled_assumed(tmp_path):
    uplink = load_uplink(_written(tmp_path, "0,1\n1,2\n2,3\n"))
    evidence = uplink.evidence()
    assert evidence["rate_mbps"].evidence == "measured"
    borrowed = {key: value for key, value in evidence.items() if key != "rate_mbps"}
    assert borrowed
    assert all(value.evidence == "assumed" for value in borrowed.values())
    assert all("lte-driving" in (value.note or "") for value in borrowed.values())


def test_a_missing_trace_file_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match="known: 5g-mmwave-driving"):
        load_uplink(tmp_path / "nothing.csv")
