"""The systemd unit of a controller on this very machine: it may write the clocks found here, nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from dvfo_controller.board.board import Board

WATCHDOG_S = 30

_TEMPLATE = """\
# Made for this machine by `dvfo-controller unit`: ReadWritePaths names the clocks found here. Make it again
# after changing hardware or kernel. Save as /etc/systemd/system/dvfo-controller.service, then
#   systemctl daemon-reload && systemctl enable --now dvfo-controller
[Unit]
Description=Clocks, core mapping and split inference by a learned policy
After=network-online.target nvpmodel.service nvpower.service
Wants=network-online.target
StartLimitIntervalSec=300
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={start}
# after SIGKILL or a crash too; clocks that were to be kept stay
ExecStopPost={restore}
WatchdogSec={watchdog_s}
TimeoutStopSec={watchdog_s}
Restart=on-failure
RestartSec=5
# 2: what was asked for cannot be; starting again would not help
RestartPreventExitStatus=2
StateDirectory=dvfo-controller
UMask=0022

# The clocks' files belong to root, who needs no capability to write them. Without any, root may not look
# into other users' private folders: install program, bundle and model where everybody may read them.
CapabilityBoundingSet=
AmbientCapabilities=
NoNewPrivileges=yes
ProtectSystem=strict
ProtectKernelTunables=yes
{paths}
ProtectHome=read-only
PrivateTmp=yes
PrivateDevices=yes
ProtectControlGroups=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
MemoryDenyWriteExecute=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"""


def unit_text(board: Board, arguments: Sequence[str], program: str | None = None) -> str:
    """The unit file. `arguments` are those of `dvfo-controller run`; `program` is the command's path."""
    command = program or _program()
    real = dict.fromkeys(_real(board.sysfs.root, path) for path in board.written_files())
    # a leading minus: a clock that is gone at start (an offline core's) is no reason not to start
    paths = "\n".join(f"ReadWritePaths={_quoted('-' + path)}" for path in real)
    return _TEMPLATE.format(
        start=" ".join(map(_quoted, [command, "run", *arguments])),
        restore=" ".join(map(_quoted, [command, "restore", "--after-run"])),
        watchdog_s=WATCHDOG_S,
        paths=paths or "# no clock was found that can be set here",
    )


def _program() -> str:
    """Where this command is installed."""
    beside = Path(sys.executable).with_name("dvfo-controller")
    return str(beside) if beside.exists() else os.path.abspath(sys.argv[0])


def _real(root: Path, path: str) -> str:
    """Absolute path without links, below the root that was looked at."""
    resolved = os.path.realpath(root / path)
    base = os.path.realpath(root).rstrip("/")
    return resolved.removeprefix(base) if resolved.startswith(f"{base}/") else resolved


def _quoted(word: str) -> str:
    """A word as systemd reads it: % and $ stand for themselves, blanks and quotes do not end it."""
    word = word.replace("\\", "\\\\").replace("%", "%%").replace("$", "$$").replace("\n", "\\n")
    if not word or any(character in word for character in " \t;'\""):
        return '"' + word.replace('"', '\\"') + '"'
    return word
