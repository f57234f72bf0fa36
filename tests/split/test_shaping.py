"""The link's transfers take as long as the environment says, whatever the rate does meanwhile."""

from __future__ import annotations

import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.netns import NamespaceLink, inside, why_not
from dvfo_controller.split.server import ServerSettings, SplitServer, serving
from dvfo_controller.split.shaping import TICK_S, PlainLink, TokenBucket, Trace, smallest_rtt_s
from dvfo_env.errors import TraceError
from dvfo_env.serving import transfer
from tests.split.certificates import self_signed
from tests.split.models import example

rates = st.lists(st.floats(0.0625, 400.0, width=32), min_size=1, max_size=12)


def simulated(bank, start_ms: float, kilobit: float, limit_ms: float) -> tuple[float, float]:
    """Duration and kilobit of a transfer in the environment."""
    return transfer.py_func(bank, 0, 100.0, start_ms, kilobit, limit_ms)


@given(rates, st.floats(0.0, 5000.0), st.floats(0.01, 20_000.0))
def test_a_transfer_takes_as_long_as_in_the_environment(mbps, start_ms, kilobit) -> None:
    bank = np.zeros((len(mbps), 4), np.float32)
    bank[:, 0] = mbps
    expected_ms, _ = simulated(bank, start_ms, kilobit, 1e12)
    link = TokenBucket(mbps, 100.0)
    assert link.trace.transfer_s(start_ms * 1e-3, kilobit * 125) * 1e3 == pytest.approx(
        expected_ms, rel=1e-4, abs=1e-3
    )


class Clock:
    """Time that passes by sleeping only."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds + 1e-6


def through(link: TokenBucket, clock: Clock, data: bytes, until_s: float = 1e9) -> list[tuple[float, int]]:
    """Send data: when how many bytes had been written in all."""
    written: list[tuple[float, int]] = []

    def write(view: memoryview, _: float) -> int:
        written.append((clock(), (written[-1][1] if written else 0) + len(view)))
        return len(view)

    sent = link.send(write, data, until_s)
    assert sent.bytes == (written[-1][1] if written else 0)
    return written


@given(rates, st.integers(1, 200_000), st.floats(0.0, 3.0))
def test_no_byte_is_written_before_it_would_have_left(mbps, count, idle_s) -> None:
    clock = Clock()
    link = TokenBucket(mbps, 100.0, clock=clock, sleep=clock.sleep)
    clock.sleep(idle_s)  # an idle link saves nothing up
    begun = clock() - 1000.0
    for moment, done in through(link, clock, bytes(count)):
        carried = link.trace.kilobit(moment - 1000.0) - link.trace.kilobit(begun)
        assert done * 8e-3 <= carried * (1 + 1e-9) + 1e-6
    ideal = link.trace.transfer_s(begun, count)
    assert clock() - 1000.0 - begun == pytest.approx(ideal, abs=2 * TICK_S)


def test_a_transfer_is_cut_off_at_its_time_with_the_environments_bytes() -> None:
    clock = Clock()
    link = TokenBucket([4.0, 0.5], 100.0, clock=clock, sleep=clock.sleep)
    begun = clock() - 1000.0
    written = through(link, clock, bytes(100_000), clock() + 0.15)
    bank = np.array([[4.0, 0, 0, 0], [0.5, 0, 0, 0]], np.float32)
    _, kilobit = simulated(bank, begun * 1e3, 800.0, 150.0)
    assert written[-1][1] == pytest.approx(kilobit * 125, abs=4.0 * TICK_S * 125e3)


def test_a_rate_of_nothing_waits_for_the_next_sample() -> None:
    clock = Clock()
    link = TokenBucket([8.0, 0.0, 8.0], 100.0, clock=clock, sleep=clock.sleep)
    through(link, clock, bytes(150_000))  # 100 ms, nothing for 100 ms, 50 ms
    assert clock() - 1000.0 == pytest.approx(0.25, abs=2 * TICK_S)


@pytest.mark.parametrize(
    "arguments",
    [([], []), ([0.0], [-1.0]), ([0.0, 0.0], [1.0, 1.0]), ([0.0], [0.0]), ([1.0], [1.0]), ([0.0], [np.nan])],
)
def test_what_is_no_trace_is_refused(arguments) -> None:
    with pytest.raises(TraceError):
        Trace(*arguments)


def paced(link, count: int) -> float:
    """Seconds until so many bytes have left through a real connection that somebody reads."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        near = link.connect(listener.getsockname(), 1.0)
        far, _ = listener.accept()
        with near, far:
            reader = threading.Thread(target=lambda: [None for _ in iter(lambda: far.recv(1 << 16), b"")])
            reader.start()
            begun = time.monotonic()
            sent = link.send(lambda view, _: near.send(view), bytes(count), begun + 10, near)
            near.shutdown(socket.SHUT_WR)
            reader.join()
            assert sent.bytes == count
            assert 0.0 < smallest_rtt_s(near) < 0.05
            return sent.left_s - begun


def test_a_real_connection_gets_the_rate_of_the_trace() -> None:
    taken = sorted(paced(TokenBucket([20.0], 100.0), 50_000) for _ in range(5))
    assert taken[0] >= 0.020
    assert taken[2] == pytest.approx(0.020, abs=0.010)
    assert paced(PlainLink(), 50_000) < 0.020


@pytest.mark.skipif(bool(why_not()), reason=f"network namespaces: {why_not()}")
def test_a_link_of_the_kernels_own_in_two_namespaces(engine, expected, tmp_path) -> None:
    token = b"sixteen bytes or more"
    link = NamespaceLink([4.0, 1.0], 2000.0, rtt_ms=12.0)
    with inside(link.server):
        cert, key = self_signed(tmp_path, link.host)
        settings = ServerSettings(host=link.host, token=token, tls_cert=cert, tls_key=key)
        server = serving(SplitServer(engine, settings))
        address = server.__enter__()
    try:
        with SplitClient(engine, address, shaper=link, timeout_ms=5000, token=token, tls_ca=cert) as client:
            client.wait_connected()
            client.prepare(["image", "joined"])
            link.start()
            seen = []
            for moment_s in (0.2, 0.6, 1.0, 2.3, 2.7, 3.1):
                time.sleep(max(0.0, moment_s - link.now_ms() * 1e-3))
                answer = client.request(example(), "joined")
                assert answer.where == "server", answer.why
                np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
                seen.append(answer.seen_mbps)
                assert answer.latency_ms >= 12.0
    finally:
        server.__exit__(None, None, None)
    # two packets may leave at once: the bucket of the kernel is full after idling
    assert 2.0 < np.median(seen[:3]) < 16.0
    assert 0.7 < np.median(seen[3:]) < 4.0
    assert np.median(seen[:3]) > 1.5 * np.median(seen[3:])
