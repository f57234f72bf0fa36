"""Serve requests: decide on each by a policy, set the clocks, run the network here, on a server or on both.

Clocks are saved before the first write and put back at the end, after SIGTERM and after errors; after SIGKILL
by the next run or by `dvfo-controller restore`. Every request is answered, by this device if need be.

Examples:
    dvfo-controller run --bundle bundle --model model.onnx --plan model.split --server 192.0.2.7:7433
    dvfo-controller run --bundle bundle --model model.onnx --dry-run --requests 20
    dvfo-controller run ... --trace walk.csv        the link replays a bandwidth trace (time_s,mbps[,rtt_ms])
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dvfo_controller.safety.arguments import add_safety_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo-controller run`."""
    add = parser.add_argument
    add("--bundle", type=Path, required=True, metavar="DIR", help="policy, made by dvfo export")
    add("--digest", help="refuse any other bundle than the one with this digest")
    add("--model", type=Path, required=True, metavar="FILE.onnx", help="the network")
    add("--plan", type=Path, metavar="DIR", help="its split plan: names of cuts, calibrations, scaling")
    add("--server", metavar="HOST:PORT", help="where dvfo serve runs; without one everything runs here")
    add("--token-file", type=Path, metavar="FILE", help="what the server asks for")
    add(
        "--tls-ca",
        metavar="FILE",
        help="verify the server by TLS against these authorities ('': the system's)",
    )
    add("--images", type=Path, metavar="DIR", help="pictures that requests take turns with; default: noise")
    add("--trace", type=Path, metavar="FILE", help="shape the link by a bandwidth trace, in this process")
    add("--requests", type=int, metavar="N", help="stop after so many; default: until stopped")
    add("--period-ms", type=float, metavar="MS", help="between requests; default: the bundle's")
    add("--metrics-port", type=int, metavar="PORT", help="Prometheus metrics on 127.0.0.1")
    add("--log", type=Path, metavar="FILE.jsonl", help="a line for every request")
    add("--json", action="store_true", help="print what came of it as JSON")
    add_safety_arguments(parser)
    parser.set_defaults(parser=parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until there were enough requests, an interrupt or SIGTERM."""
    import json
    import sys

    from dvfo_controller.safety.arguments import governor_of, guard_of
    from dvfo_controller.session import RunOptions, Summary, run_session
    from dvfo_env.hardware.stopping import Terminated

    for name in ("requests", "period_ms"):
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            arguments.parser.error(f"--{name.replace('_', '-')} must be above 0")
    names = set(RunOptions.__dataclass_fields__)
    fields = {name: value for name, value in vars(arguments).items() if name in names}
    options = RunOptions(**fields | {"server": _address(arguments)})

    def tell(line: str) -> None:
        print(f"dvfo-controller: {line}", file=sys.stderr, flush=True)

    governor = governor_of(arguments, tell)
    summary = Summary()
    try:
        run_session(options, governor, guard_of(arguments, governor, tell), summary, tell)
    except (KeyboardInterrupt, Terminated):
        tell("stopped")
    print(json.dumps(summary.as_json(), indent=2) if arguments.json else "\n".join(summary.lines()))
    return 0


def _address(arguments: argparse.Namespace) -> tuple[str, int] | None:
    if arguments.server is None:
        return None
    host, _, port = arguments.server.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        arguments.parser.error(f"--server: {arguments.server!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
