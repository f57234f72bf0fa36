"""Figures of the running controller in Prometheus' text format, on a port of the loopback interface only.

https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from __future__ import annotations

import ipaddress
import socket
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from socketserver import TCPServer

from dvfo_controller.board.board import Board, Reading
from dvfo_controller.safety.guard import Guard
from dvfo_env.errors import BoardError

#: Every figure: its type and its help line.
FIGURES: dict[str, tuple[str, str]] = {
    "dvfo_requests_total": ("counter", "Requests answered, by where the answer came from."),
    "dvfo_request_seconds": ("summary", "Latency of requests."),
    "dvfo_decision_seconds": ("summary", "Time the policy took to decide."),
    "dvfo_sent_bytes_total": ("counter", "Bytes sent to the server."),
    "dvfo_deadline_missed_total": ("counter", "Requests answered after their deadline."),
    "dvfo_safe_profile": ("gauge", "1 while the safe profile is in force."),
    "dvfo_safe_profile_total": ("counter", "How often the safe profile was put in force, by reason."),
    "dvfo_clock_hertz": ("gauge", "Clock that the kernel reports, by domain."),
    "dvfo_clock_masked": ("gauge", "1 where a clock cannot be set, by domain."),
    "dvfo_temperature_celsius": ("gauge", "Temperature, by thermal zone."),
    "dvfo_power_watts": ("gauge", "Power, by rail."),
    "dvfo_battery_ratio": ("gauge", "State of charge."),
    "dvfo_throttled": ("gauge", "1 while the machine slows itself down."),
    "dvfo_uplink_bits_per_second": ("gauge", "Rate of the last transfer to the server."),
}
#: Most label values of one figure: what a device has is few, and memory must not grow without end.
MOST_SERIES = 64
#: Longest time for one scrape; the next one waits for it.
SCRAPE_S = 2.0

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """The figures of `FIGURES`; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {name: {} for name in FIGURES}

    def count(self, name: str, by: float = 1.0, **labels: str) -> None:
        """Add to a counter."""
        self._put(name, labels, by, add=True)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Set a gauge, or a counter that is kept elsewhere."""
        self._put(name, labels, value, add=False)

    def observe(self, name: str, value: float, **labels: str) -> None:
        """Add one value to a summary."""
        self._put(name, labels | {"_": "sum"}, value, add=True)
        self._put(name, labels | {"_": "count"}, 1.0, add=True)

    def board(self, board: Board, reading: Reading) -> None:
        """Take over what a board says."""
        clocks = {"cpu": reading.cpu_mhz, "gpu": reading.gpu_mhz, "memory": reading.mem_mhz}
        for domain, axis in board.knobs.items():
            self.set("dvfo_clock_masked", float(not axis.settable), domain=domain)
            mhz = clocks[domain]
            if mhz is not None:
                self.set("dvfo_clock_hertz", mhz * 1e6, domain=domain)
        for zone, celsius in reading.temperatures_c.items():
            self.set("dvfo_temperature_celsius", celsius, zone=zone)
        for rail, milliwatts in reading.power_mw.items():
            self.set("dvfo_power_watts", milliwatts / 1e3, rail=rail)
        if reading.battery_share is not None:
            self.set("dvfo_battery_ratio", reading.battery_share)
        if reading.throttled is not None:
            self.set("dvfo_throttled", float(reading.throttled))

    def guard(self, guard: Guard) -> None:
        """Take over the guard's state and what it last read of its board."""
        self.set("dvfo_safe_profile", float(guard.safe))
        for why, times in guard.trips.items():
            self.set("dvfo_safe_profile_total", float(times), reason=why)

    def text(self) -> str:
        """Everything that has a value."""
        lines: list[str] = []
        with self._lock:
            for name, (kind, words) in FIGURES.items():
                if self._values[name]:
                    lines += [f"# HELP {name} {words}", f"# TYPE {name} {kind}"]
                for labels, value in self._values[name].items():
                    part = "".join(f"_{end}" for key, end in labels if key == "_")
                    shown = ",".join(f'{key}="{_escaped(word)}"' for key, word in labels if key != "_")
                    lines.append(f"{name}{part}{f'{{{shown}}}' if shown else ''} {value:.10g}")
        return "\n".join([*lines, ""])

    def _put(self, name: str, labels: dict[str, str], value: float, add: bool) -> None:
        key = tuple(sorted(labels.items()))
        with self._lock:
            series = self._values[name]
            if key in series or len(series) < MOST_SERIES:
                series[key] = series.get(key, 0.0) + value if add else value


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class MetricsServer:
    """Serves `Metrics` at /metrics while the block lasts; one scrape at a time, each within `SCRAPE_S`.

    Raises:
        BoardError: the address is not of the loopback interface, or the port is taken.
    """

    def __init__(self, metrics: Metrics, port: int, address: str = "127.0.0.1") -> None:
        if not ipaddress.ip_address(address).is_loopback:
            raise BoardError(f"metrics address {address}: only loopback addresses are served")
        handler = type("Handler", (_Handler,), {"metrics": metrics})
        try:
            self._server = _Server((address, port), handler)
        except (OSError, OverflowError) as error:
            raise BoardError(f"metrics port {port}: {getattr(error, 'strerror', None) or error}") from None
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="metrics", daemon=True
        )

    def __enter__(self) -> MetricsServer:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(HTTPServer):
    def server_bind(self) -> None:
        """As HTTPServer does, without asking the name service for this machine's name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = "localhost", int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    metrics: Metrics
    timeout = SCRAPE_S
    server_version = "dvfo-controller"
    sys_version = ""

    def setup(self) -> None:
        """However slowly a client sends, it is cut off in time."""
        super().setup()
        self._cut_off = threading.Timer(SCRAPE_S, self._shut)
        self._cut_off.daemon = True
        self._cut_off.start()

    def finish(self) -> None:
        """Done in time."""
        self._cut_off.cancel()
        with suppress(OSError):
            super().finish()

    def _shut(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def do_GET(self) -> None:
        """Answer a scrape."""
        found = self.path.split("?", 1)[0] == "/metrics"
        body = self.metrics.text().encode() if found else b"metrics are at /metrics\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of scrapes."""
