"""The controller as a service: watchdog, metrics, status, doctor, and a unit that systemd accepts."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from dvfo_controller.board import Board
from dvfo_controller.main import main
from dvfo_controller.safety import Governor, Guard, Wanted
from dvfo_controller.service import metrics as metrics_module
from dvfo_controller.service.doctor import examine
from dvfo_controller.service.metrics import MOST_SERIES, Metrics, MetricsServer
from dvfo_controller.service.notify import Notifier
from dvfo_controller.service.status import LiveStatus
from dvfo_controller.service.unit import unit_text
from dvfo_env.errors import BoardError
from tests.controller.trees import MACHINES, TX2, build, contents
from tests.hardware.trees import ReadOnlySysFs, write


@pytest.mark.parametrize("address", ["notify.sock", "@dvfo-test"])
def test_the_service_manager_hears_that_it_is_ready_and_alive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.chdir(tmp_path)  # the path of a socket is short
    now = [0.0]
    abstract = f"\0dvfo-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(abstract if address.startswith("@") else address)
        manager.settimeout(5.0)
        name = "@" + abstract[1:] if address.startswith("@") else address
        environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "4000000", "WATCHDOG_PID": str(os.getpid())}
        notifier = Notifier(environment, clock=lambda: now[0])
        assert notifier.watched
        notifier.ready("serves\nmobilenet")
        for now[0] in (0.0, 0.4, 0.99, 1.0, 1.5):
            notifier.alive()
        notifier.stopping()
        heard = [manager.recv(200) for _ in range(4)]
    assert heard == [b"READY=1\nSTATUS=serves mobilenet", b"WATCHDOG=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_without_a_service_manager_nothing_is_said_and_nothing_fails() -> None:
    silent: dict[str, str] = {}
    for environment in (silent, {"NOTIFY_SOCKET": "/nowhere/at/all", "WATCHDOG_USEC": "1000"}):
        notifier = Notifier(environment)
        notifier.ready()
        notifier.alive()
    assert not Notifier({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}).watched


def scrape(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5.0) as answer:
        return answer.read().decode()


def test_metrics_are_served_in_prometheus_format(tmp_path: Path) -> None:
    board = Board.discover(build(TX2, tmp_path))
    metrics = Metrics()
    metrics.count("dvfo_requests_total", where="server")
    metrics.count("dvfo_requests_total", where="server")
    metrics.observe("dvfo_request_seconds", 0.25)
    metrics.observe("dvfo_request_seconds", 0.5)
    metrics.board(board, board.reading())
    metrics.set("dvfo_power_watts", 1.5, rail='odd "rail"\\')
    with Governor(board, tell=lambda line: None) as governor:
        metrics.guard(Guard(governor))
    with MetricsServer(metrics, 0) as server:
        lines = scrape(server.port).splitlines()
        with pytest.raises(urllib.error.HTTPError, match="404") as caught:
            scrape(server.port, "/")
        caught.value.close()
    assert "# TYPE dvfo_requests_total counter" in lines
    assert 'dvfo_requests_total{where="server"} 2' in lines
    assert "dvfo_request_seconds_sum 0.75" in lines
    assert "dvfo_request_seconds_count 2" in lines
    assert 'dvfo_clock_hertz{domain="gpu"} 114750000' in lines
    assert 'dvfo_power_watts{rail="VDD_IN"} 3.458' in lines
    assert 'dvfo_power_watts{rail="odd \\"rail\\"\\\\"} 1.5' in lines
    assert 'dvfo_safe_profile_total{reason="hot"} 0' in lines


def test_metrics_do_not_grow_without_end() -> None:
    metrics = Metrics()
    for number in range(10 * MOST_SERIES):
        metrics.set("dvfo_power_watts", 1.0, rail=str(number))
    assert metrics.text().count("\ndvfo_power_watts{") == MOST_SERIES


def test_metrics_are_for_this_machine_alone() -> None:
    with pytest.raises(BoardError, match="only loopback"):
        MetricsServer(Metrics(), 0, "0.0.0.0")


def test_a_port_that_is_taken_is_one_line() -> None:
    with (
        MetricsServer(Metrics(), 0) as server,
        pytest.raises(BoardError, match=f"metrics port {server.port}"),
    ):
        MetricsServer(Metrics(), server.port)


def test_a_client_that_dawdles_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "SCRAPE_S", 0.3)
    with (
        MetricsServer(Metrics(), 0) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=5.0) as slow,
    ):
        begun = time.monotonic()
        slow.sendall(b"GET /met")
        assert scrape(server.port) == ""
        assert time.monotonic() - begun < 3.0


def test_status_tells_of_a_run_and_of_what_one_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def status() -> dict[str, Any]:
        assert main(["status", "--json", "--sysfs-root", str(tmp_path)]) in (0, 1)
        return json.loads(capsys.readouterr().out)

    build(TX2, tmp_path)
    idle = status()
    assert (idle["running"], idle["saved"], idle["live"]) == (False, None, None)
    assert idle["reading"]["power_mw"]["VDD_IN"] == 3458.0
    with Governor(Board.discover(tmp_path), tell=lambda line: None) as governor:
        governor.apply(Wanted(cpu_mhz=960.0))
        live = LiveStatus(tmp_path / "var/lib/dvfo-controller")
        live.write({"requests": 7})
        live.write({"requests": 8})  # within the same second
        running = status()
        assert running["process"] == os.getpid()
        assert running["live"]["requests"] == 7
        assert len(running["saved"]["now_differs"]) == 4
        journal = tmp_path / "var/lib/dvfo-controller/originals.json"
        kept = journal.read_bytes()
    live.clear()
    assert main(["status", "--sysfs-root", str(tmp_path)]) == 0
    journal.write_bytes(kept)
    write(tmp_path, {"sys/devices/system/cpu/cpufreq/policy0/scaling_max_freq": 960000})
    assert main(["status", "--sysfs-root", str(tmp_path)]) == 1
    assert "1 hold something else now; dvfo-controller restore puts them back" in capsys.readouterr().out


@pytest.mark.parametrize("name", MACHINES)
def test_the_doctor_says_what_works_and_changes_nothing(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(build(MACHINES[name], tmp_path))
    assert main(["doctor", "--sysfs-root", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "works    cpu clock" in said
    assert ("works    gpu clock" in said) == bool(MACHINES[name].gpu)
    assert contents(tmp_path) == before
    assert not (tmp_path / "var").exists()


def test_the_doctor_says_what_needs_which_right(tmp_path: Path) -> None:
    board = Board.discover(sysfs=ReadOnlySysFs(build(TX2, tmp_path)))
    found = {finding.what: finding for finding in examine(board, environment={})}
    assert "may not write" in found["cpu clock"].found
    assert "run it as root" in found["cpu clock"].advice
    assert found["service"].advice == "dvfo-controller unit"


def test_the_doctor_names_what_stops_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(build(TX2, tmp_path), {"etc/systemd/system/multi-user.target.wants/tlp.service": ""})
    assert main(["doctor", "--json", "--sysfs-root", str(tmp_path)]) == 1
    found = json.loads(capsys.readouterr().out)
    stops = [finding for finding in found if finding["verdict"] == "stops"]
    assert [finding["found"] for finding in stops] == ["TLP (tlp.service is enabled) sets clocks too"]


@pytest.mark.parametrize("name", MACHINES)
def test_the_unit_may_write_the_clocks_of_this_machine_and_nothing_else(tmp_path: Path, name: str) -> None:
    board = Board.discover(build(MACHINES[name], tmp_path))
    text = unit_text(board, ["--bundle", "/etc/dvfo/my bundle", "--say", "100%"], "/usr/bin/dvfo-controller")
    paths = [line.split("=-", 1)[1] for line in text.splitlines() if line.startswith("ReadWritePaths")]
    assert [os.path.realpath(f"{tmp_path}{path}") for path in paths] == [
        os.path.realpath(tmp_path / path) for path in board.written_files()
    ]
    assert not [path for path in paths if "governor" in path or not path.startswith("/sys/")]
    assert 'ExecStart=/usr/bin/dvfo-controller run --bundle "/etc/dvfo/my bundle" --say 100%%' in text
    assert "ExecStopPost=/usr/bin/dvfo-controller restore --after-run" in text
    assert "ProtectSystem=strict" in text


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    board = Board.discover(build(TX2, tmp_path / "root"))
    unit = tmp_path / "dvfo-controller.service"
    unit.write_text(unit_text(board, ["--bundle", "/b"], shutil.which("true")))
    done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True)
    complaints = [line for line in done.stderr.splitlines() if unit.name in line]
    assert complaints == []
