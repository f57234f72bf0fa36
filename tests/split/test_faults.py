"""Whatever breaks, every request is answered, with the right values, and the session recovers by itself."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest

from dvfo_controller.split.client import Answer, SplitClient
from dvfo_controller.split.engine import Engine
from dvfo_controller.split.server import ServerSettings, SplitServer, serving
from dvfo_controller.split.shaping import TokenBucket
from tests.split.models import example, small_network
from tests.split.proxies import BreakableLink

TIMEOUT_MS = 150.0


def ask(client: SplitClient, expected: np.ndarray, count: int = 1) -> Counter[str]:
    """So many requests: where they were answered; their values are checked."""
    places: Counter[str] = Counter()
    for number in range(count):
        cut = ("image", "residual", "joined")[number % 3]
        answer = client.request(example(), cut)
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
        places[answer.where] += 1
    return places


def recovers(client: SplitClient, within_s: float = 10.0) -> Answer:
    """The first answer of the server's."""
    until = time.monotonic() + within_s
    while True:
        answer = client.request(example(), "residual")
        if answer.where == "server":
            return answer
        assert time.monotonic() < until, f"no recovery: {answer.why}"
        time.sleep(0.02)


@pytest.fixture
def link(server):
    """A breakable link to the server."""
    with BreakableLink(server.address) as made:
        yield made


@pytest.fixture
def client(engine, link):
    """A client behind the link, connected."""
    with SplitClient(engine, link.address, timeout_ms=TIMEOUT_MS) as made:
        made.wait_connected()
        made.prepare(["image", "residual", "joined"])
        yield made


@pytest.mark.parametrize("mode", ["silent", "corrupt", "corrupt-up", "refuse"])
def test_every_request_is_answered_while_the_link_misbehaves_and_after(client, link, expected, mode) -> None:
    recovers(client)
    link.mode = mode
    if mode == "refuse":
        link.cut()
    places = ask(client, expected, 12)
    assert sum(places.values()) == 12
    assert places["server"] == 0
    link.mode = "pass"
    assert recovers(client).why == ""


def test_a_link_that_is_cut_again_and_again(client, link, expected) -> None:
    sent = answered = 0
    for _ in range(8):
        link.cut()
        sent += 3
        answered += sum(ask(client, expected, 3).values())
    assert answered == sent == 24
    recovers(client)


def test_a_storm_of_faults_loses_no_request(client, link, expected) -> None:
    rng = random.Random(5)
    stop = threading.Event()

    def storm() -> None:
        while not stop.wait(rng.uniform(0.01, 0.12)):
            link.mode = rng.choice(("pass", "pass", "silent", "corrupt", "corrupt-up", "refuse"))
            link.delay_s = rng.choice((0.0, 0.0, 0.05, 0.2))
            if rng.random() < 0.3:
                link.cut()

    thread = threading.Thread(target=storm)
    thread.start()
    sent = 0
    places: Counter[str] = Counter()
    until = time.monotonic() + 2.5
    while time.monotonic() < until:
        sent += 1
        places += ask(client, expected)
        time.sleep(0.005)
    stop.set()
    thread.join()
    link.mode, link.delay_s = "pass", 0.0
    assert sum(places.values()) == sent > 20
    recovers(client)


def test_a_server_that_is_gone_costs_nothing_a_request(engine, expected) -> None:
    with serving(SplitServer(Engine(small_network(batch="n")))) as address:
        client = SplitClient(engine, address, timeout_ms=TIMEOUT_MS)
        client.wait_connected()
        recovers(client)
    with client:
        ask(client, expected)  # may notice
        for _ in range(20):
            answer = client.request(example(), "residual")
            assert answer.where == "fallback"
            assert sum(answer.phases_ms[phase] for phase in ("send", "network", "server")) < TIMEOUT_MS / 2


def test_a_server_that_comes_back_is_used_again(engine, expected) -> None:
    with serving(SplitServer(Engine(small_network(batch="n")))) as address:
        client = SplitClient(engine, address, timeout_ms=TIMEOUT_MS)
        client.wait_connected()
        recovers(client)
    with client:
        assert ask(client, expected, 6)["server"] == 0
        again = ServerSettings(host=address[0], port=address[1])
        with serving(SplitServer(Engine(small_network(batch="n")), again)):
            recovers(client)


def test_answers_that_come_too_late_are_recognised_and_dropped(engine, link, expected) -> None:
    with SplitClient(engine, link.address, timeout_ms=60.0) as client:
        client.wait_connected()
        client.prepare(["image", "residual", "joined"])
        link.delay_s = 0.09
        assert client.request(example(1), "residual").why == "time-out"
        time.sleep(0.3)
        link.delay_s = 0.0
        before = client._keeper.opened
        answer = recovers(client)
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)  # not that of example(1)
        assert client._keeper.opened == before


def test_a_link_too_slow_for_a_request_cuts_it_off_at_the_time_out(engine, server, expected) -> None:
    link = TokenBucket([0.01, 50.0], 400.0)  # 0.4 s at 10 kbit/s, 0.4 s at 50 Mbit/s
    with SplitClient(engine, server.address, shaper=link, timeout_ms=100.0) as client:
        client.wait_connected()
        client.prepare(["residual"])
        link.start()
        answer = client.request(example(), "residual")
        assert (answer.where, answer.why) == ("fallback", "time-out")
        assert answer.phases_ms["send"] == pytest.approx(100.0, abs=30.0)
        assert 0 < answer.sent_bytes < 200
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
        recovers(client)


def jump(monkeypatch: pytest.MonkeyPatch, clock: Callable[[], float], by_s: float) -> None:
    monkeypatch.setattr(time, "time", lambda: clock() + by_s)
    monkeypatch.setattr(time, "time_ns", lambda: int((clock() + by_s) * 1e9))


def test_a_clock_that_jumps_changes_nothing(client, expected, monkeypatch) -> None:
    clock = time.time
    recovers(client)
    for by_s in (3600.0, -86400.0, 1e9):
        jump(monkeypatch, clock, by_s)
        assert ask(client, expected, 3)["server"] == 3


def test_a_server_that_answers_nonsense_is_left(engine, expected) -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    with listener, SplitClient(engine, listener.getsockname(), timeout_ms=TIMEOUT_MS) as client:
        near, _ = listener.accept()
        with near:
            near.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 4)
            assert ask(client, expected, 3) == {"fallback": 3}


def test_sigterm_lets_what_was_asked_be_answered(engine, expected, monkeypatch) -> None:
    made = SplitServer(Engine(small_network(batch="n")))
    with serving(made), SplitClient(engine, made.address, timeout_ms=3000) as client:
        client.wait_connected()
        client.prepare(["residual"])
        run = made._worker.batches.run

        def slow(*arguments):
            made.stop()  # what the signal's handler does
            time.sleep(0.2)
            return run(*arguments)

        monkeypatch.setattr(made._worker.batches, "run", slow)
        assert client.request(example(), "residual").where == "server"
