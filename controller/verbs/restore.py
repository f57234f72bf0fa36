"""Put every clock back to what it was before the controller first changed it.

Needed only where a run was killed or told to keep its clocks: every other end of a run does it by itself.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `dvfo-controller restore`."""
    parser.add_argument("--sysfs-root", type=Path, default=Path("/"), metavar="DIR", help="a copy of /")
    parser.add_argument("--state", type=Path, metavar="DIR", help="default: ROOT/var/lib/dvfo-controller")
    parser.add_argument("--dry-run", action="store_true", help="say what would be written")
    parser.add_argument(
        "--after-run", action="store_true", help="as a service's last step: leave clocks that are to be kept"
    )


def run(arguments: argparse.Namespace) -> int:
    """Restore; 0 also where there is nothing to restore."""
    from dvfo_controller.safety.dry_run import DryRun
    from dvfo_controller.safety.keeper import restore
    from dvfo_env.hardware.sysfs import SysFs

    root = arguments.sysfs_root
    lines = restore(DryRun(root) if arguments.dry_run else SysFs(root), arguments.state, arguments.after_run)
    print("nothing to restore" if lines is None else "\n".join(lines))
    return 0
