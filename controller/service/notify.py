"""Telling systemd that the service is ready, alive and stopping (sd_notify, datagrams to a socket).

https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress


class Notifier:
    """Silent where no service manager listens.

    Args:
        environment: where systemd leaves NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID.
    """

    def __init__(
        self,
        environment: Mapping[str, str] = os.environ,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._clock = clock
        self._last_s: float | None = None
        self._every_s: float | None = None
        period = environment.get("WATCHDOG_USEC", "")
        owner = environment.get("WATCHDOG_PID", str(os.getpid()))
        if self._address and period.isdigit() and owner == str(os.getpid()):
            self._every_s = int(period) / 1e6 / 4.0  # four chances before the time is up

    @property
    def watched(self) -> bool:
        """Whether a watchdog expects to hear from `alive`."""
        return self._every_s is not None

    def ready(self, status: str = "") -> None:
        """The service serves from now on."""
        self._send(f"READY=1\nSTATUS={_line(status)}")

    def status(self, text: str) -> None:
        """One line for `systemctl status`."""
        self._send(f"STATUS={_line(text)}")

    def alive(self) -> None:
        """The loop still turns. Call it in every turn: it sends no more often than is of use."""
        if self._every_s is None:
            return
        now = self._clock()
        if self._last_s is None or now - self._last_s >= self._every_s:
            self._last_s = now
            self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The service is about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as out:
            out.settimeout(0.1)  # a manager that does not read must not hold up requests
            out.sendto(message.encode(), self._address)


def _line(text: str) -> str:
    return " ".join(text.split())
