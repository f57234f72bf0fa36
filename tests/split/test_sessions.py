"""Requests over a real connection: what they answer, what they report, and who is let in."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from dvfo_controller.split.batching import Batches
from dvfo_controller.split.client import PHASES, SplitClient
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_controller.split.security import read_token
from dvfo_controller.split.server import ServerSettings, SplitServer, serving
from dvfo_controller.split.shaping import TokenBucket
from dvfo_env.errors import SplitError
from tests.split.certificates import self_signed
from tests.split.models import example, small_network

TOKEN = b"a token of enough bytes"


def test_every_cut_codec_and_mapping_is_answered_by_the_server_without_a_restart(
    engine, expected, server
) -> None:
    with SplitClient(engine, server.address, timeout_ms=5000) as client:
        client.wait_connected()
        for number, cut in enumerate(engine.network.cuts()):
            codec = ("fp32-keep1-none", "fp32-keep1-zlib", "fp16-keep1-none")[number % 3]
            answer = client.request(example(), cut, Mapping(1 + number % 2), codec)
            assert answer.where == ("server" if cut.tensors else "device"), answer.why
            tolerance = 1e-5 if codec.startswith("fp32") else 2e-2
            np.testing.assert_allclose(answer.outputs[0], expected, atol=tolerance)


def test_phases_have_the_environments_names_and_add_up(engine, server) -> None:
    from dvfo_env.state import PHASES as SIMULATED

    assert set(PHASES) < set(SIMULATED)
    link = TokenBucket([2.0], 100.0, rtt_ms=15.0)
    with SplitClient(engine, server.address, shaper=link, timeout_ms=5000) as client:
        client.wait_connected()
        client.prepare(["residual"])
        answer = client.request(example(), "residual")
        assert tuple(answer.phases_ms) == PHASES
        assert answer.latency_ms == pytest.approx(sum(answer.phases_ms.values()))
        ideal_ms = answer.sent_bytes * 8e-3 / 2.0
        assert answer.phases_ms["send"] == pytest.approx(ideal_ms, abs=20.0)
        assert answer.phases_ms["send"] >= ideal_ms - 1e-3
        assert answer.phases_ms["network"] >= 14.0
        assert answer.server_ms is not None
        assert answer.phases_ms["server"] <= answer.server_ms + 1e-6
        assert answer.seen_mbps == pytest.approx(2.0, rel=0.7)


def test_what_the_server_cannot_do_is_done_here(engine, expected, server) -> None:
    with SplitClient(engine, None) as client:
        answer = client.request(example(), "residual")
        assert (answer.where, answer.why) == ("fallback", "not connected: no server")
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
        assert answer.phases_ms["fallback"] > 0


@pytest.mark.parametrize(
    ("cut", "codec", "image", "reason"),
    [
        ("nowhere", "fp32-keep1-none", example(), "no tensor"),
        ("residual", "int8-keep1-none", example(), "needs a calibration"),
        ("residual", "jpeg-q75", example(), "first cut only"),
        ("residual", "fp32", example(), "codec setting"),
        ("residual", "fp32-keep1-none", example()[:, :2], "instead of the model's"),
    ],
)
def test_what_is_impossible_is_said_in_one_line(engine, server, cut, codec, image, reason) -> None:
    with SplitClient(engine, server.address) as client:
        client.wait_connected()
        with pytest.raises(SplitError, match=reason):
            client.request(image, cut, codec_name=codec)


def test_a_server_that_is_full_says_busy_and_the_device_answers(engine, expected, monkeypatch) -> None:
    made = SplitServer(Engine(small_network(batch="n")), ServerSettings(max_queue=1, max_batch=1))
    with serving(made), SplitClient(engine, made.address, timeout_ms=5000) as client:
        client.wait_connected()
        client.prepare(["residual"])
        running, go_on = threading.Event(), threading.Event()
        worker = made._worker

        def slow(*_: object) -> list[tuple[np.ndarray, ...]]:
            running.set()
            go_on.wait(10)
            return [(expected,)]

        monkeypatch.setattr(worker.batches, "run", slow)
        others = [SplitClient(engine, made.address, timeout_ms=5000) for _ in range(2)]
        threads = []
        for other in others:
            other.wait_connected()
            other.prepare(["residual"])
            threads.append(threading.Thread(target=other.request, args=(example(), "residual")))
            threads[-1].start()
            running.wait(5)
        while len(worker._jobs) < 1:  # one is being done, one waits
            pass
        answer = client.request(example(), "residual")
        assert (answer.where, answer.why) == ("fallback", "busy")
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
        go_on.set()
        for thread, other in zip(threads, others, strict=True):
            thread.join()
            other.close()


@pytest.mark.parametrize(("batch", "several"), [("n", True), (1, True)])
def test_tails_of_several_devices_run_together_and_are_kept_apart(batch, several) -> None:
    model = small_network(batch=batch)
    engine = Engine(model)
    batches = Batches(Engine(model), Mapping())
    images = [example(seed) for seed in range(3)]
    for cut in engine.network.cuts()[:-1]:
        assert batches.prepare(cut) is several
        inputs = [[value.copy() for value in engine.run_head(cut, image)] for image in images]
        for outputs, image in zip(batches.run(cut, inputs), images, strict=True):
            np.testing.assert_allclose(outputs[-1], engine.run_whole(image)[0], rtol=1e-4, atol=1e-5)


def test_several_devices_at_once_each_get_their_own_answer(engine, server) -> None:
    wrong: list[str] = []

    def device(seed: int) -> None:
        mine = Engine(engine.network)
        wanted = mine.run_whole(example(seed))[0]
        with SplitClient(mine, server.address, timeout_ms=10_000) as client:
            client.wait_connected()
            for _ in range(10):
                answer = client.request(example(seed), "residual")
                if answer.where != "server" or np.abs(answer.outputs[0] - wanted).max() > 1e-4:
                    wrong.append(f"{seed}: {answer.where} {answer.why}")
        mine.close()

    threads = [threading.Thread(target=device, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_any_address_but_loopback_needs_tls_and_a_token() -> None:
    for settings in ({}, {"token": TOKEN}, {"tls_cert": "c", "tls_key": "k"}):
        with pytest.raises(SplitError, match="needs TLS and a token"):
            ServerSettings(host="0.0.0.0", **settings)
    assert ServerSettings(host="0.0.0.0", token=TOKEN, tls_cert="c", tls_key="k")
    assert TOKEN.decode() not in repr(ServerSettings(token=TOKEN))


@pytest.mark.parametrize("token", [b"", b"another token, wrong", TOKEN + b"!"])
def test_a_wrong_token_is_refused_and_requests_are_answered_here(engine, expected, token) -> None:
    made = SplitServer(Engine(engine.network), ServerSettings(token=TOKEN))
    with serving(made), SplitClient(engine, made.address, token=token) as client:
        with pytest.raises(SplitError, match="the token is wrong"):
            client.wait_connected(0.5)
        answer = client.request(example(), "residual")
        assert answer.where == "fallback"
        np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)


def test_another_model_is_refused(engine) -> None:
    made = SplitServer(Engine(small_network(two_answers=True)))
    with (
        serving(made),
        SplitClient(engine, made.address) as client,
        pytest.raises(SplitError, match="has model"),
    ):
        client.wait_connected(0.5)


def test_tls_and_token_over_a_certificate_of_ones_own(engine, expected, tmp_path: Path) -> None:
    cert, key = self_signed(tmp_path)
    settings = ServerSettings(token=TOKEN, tls_cert=cert, tls_key=key)
    with serving(SplitServer(Engine(engine.network), settings)) as address:
        with SplitClient(engine, address, token=TOKEN, tls_ca=cert, timeout_ms=5000) as client:
            client.wait_connected()
            for cut in ("image", "residual"):
                answer = client.request(example(), cut)
                assert answer.where == "server", answer.why
                np.testing.assert_allclose(answer.outputs[0], expected, atol=1e-5)
        with SplitClient(engine, address, token=TOKEN) as plain, pytest.raises(SplitError):
            plain.wait_connected(0.3)
        with SplitClient(engine, address, token=TOKEN, tls_ca="") as stranger, pytest.raises(SplitError):
            stranger.wait_connected(0.3)


def test_a_token_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_bytes(TOKEN + b"\n")
    os.chmod(file, 0o644)
    with pytest.raises(SplitError, match="others may read it"):
        read_token(file)
    os.chmod(file, 0o600)
    assert read_token(file) == TOKEN


def test_small_frames_are_not_held_back(engine, server) -> None:
    """Nagle's algorithm and delayed acknowledgements together cost 40 ms a request."""
    with SplitClient(engine, server.address, timeout_ms=5000) as client:
        client.wait_connected()
        client.prepare(["pooled"])
        taken = sorted(client.request(example(), "pooled").latency_ms for _ in range(9))
        assert taken[4] < 30.0
