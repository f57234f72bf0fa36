"""A TCP link that can be broken in every way a link breaks."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time


class BreakableLink:
    """Forwards connections to a server until told to misbehave.

    Attributes:
        mode: "pass"; "silent": bytes are taken and thrown away (half-open); "corrupt": a bit of each piece
            towards the device is turned; "corrupt-up": towards the server; "refuse": connections are closed.
        delay_s: added before each piece is handed on.
    """

    def __init__(self, address: tuple[str, int]) -> None:
        self._target = address
        self.mode = "pass"
        self.delay_s = 0.0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address: tuple[str, int] = self._listener.getsockname()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._closed = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> BreakableLink:
        return self

    def __exit__(self, *_: object) -> None:
        self._closed = True
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def cut(self) -> None:
        """Reset every connection."""
        for pair in self._pairs:
            for end in pair:
                with contextlib.suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)
        self._pairs.clear()

    def _accept(self) -> None:
        while not self._closed:
            try:
                if not select.select([self._listener], [], [], 0.05)[0]:
                    continue
                near, _ = self._listener.accept()
            except (OSError, ValueError):
                return
            try:
                if self.mode == "refuse":
                    raise OSError
                far = socket.create_connection(self._target, 1)
            except OSError:
                near.close()
                continue
            self._pairs.append((near, far))
            thread = threading.Thread(target=self._forward, args=(near, far), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, near: socket.socket, far: socket.socket) -> None:
        with near, far:
            while not self._closed:
                try:
                    ready = select.select([near, far], [], [], 0.05)[0]
                    for end in ready:
                        data = end.recv(1 << 16)
                        if not data:
                            return
                        if self.delay_s:
                            time.sleep(self.delay_s)
                        if self.mode == "silent":
                            continue
                        if self.mode == ("corrupt" if end is far else "corrupt-up"):
                            damaged = bytearray(data)
                            damaged[len(damaged) // 2] ^= 0x10
                            data = bytes(damaged)
                        (near if end is far else far).sendall(data)
                except (OSError, ValueError):
                    return
