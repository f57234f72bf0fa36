"""Serve the tails of a network to devices that run its heads (`dvfo-controller run --server`).

Listens on loopback unless told otherwise. Any other address needs TLS and a token:

    openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=edge -addext subjectAltName=IP:192.0.2.7
            -keyout key.pem -out cert.pem
    head -c 32 /dev/urandom | base64 > token && chmod 600 token key.pem
    dvfo serve --model model.onnx --plan model.split --host 192.0.2.7
               --tls-cert cert.pem --tls-key key.pem --token-file token

docs/split.md has the protocol, the limits and what happens when something fails.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo serve`."""
    parser.add_argument(
        "--model", required=True, metavar="FILE", help="the .onnx file, the same as devices have"
    )
    parser.add_argument("--plan", metavar="FOLDER", help="split plan: names of cuts, calibrations, scaling")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; default: 127.0.0.1")
    parser.add_argument("--port", type=int, default=7433, help="0 lets the system choose; default: 7433")
    parser.add_argument("--tls-cert", default="", metavar="FILE", help="PEM certificate")
    parser.add_argument("--tls-key", default="", metavar="FILE", help="PEM key")
    parser.add_argument("--token-file", metavar="FILE", help="what devices must know; readable by you alone")
    parser.add_argument("--threads", type=int, default=1, help="threads of a tail; default: 1")
    parser.add_argument("--cpus", default="", metavar="0,1", help="cores that tails run on; default: any")
    parser.add_argument("--max-batch", type=int, default=8, help="tails of one cut run at once; default: 8")
    parser.add_argument("--max-queue", type=int, default=32, help="requests that may wait; default: 32")
    parser.add_argument("--max-clients", type=int, default=32, help="devices at once; default: 32")
    parser.add_argument("--idle-timeout", type=float, default=300.0, metavar="S", help="default: 300")
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or an interrupt."""
    from pathlib import Path

    from dvfo_controller.split.engine import Engine, Mapping
    from dvfo_controller.split.plan import read_plan
    from dvfo_controller.split.security import read_token
    from dvfo_controller.split.server import ServerSettings, SplitServer, run
    from dvfo_env.errors import SplitError

    try:
        model = Path(arguments.model).read_bytes()
    except OSError as error:
        raise SplitError(f"{arguments.model}: {error.strerror}") from None
    try:
        cpus = tuple(int(cpu) for cpu in arguments.cpus.split(",") if cpu)
    except ValueError:
        raise SplitError(f"--cpus: {arguments.cpus!r} is no list of cores like 0,1") from None
    settings = ServerSettings(
        host=arguments.host,
        port=arguments.port,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        token=read_token(arguments.token_file) if arguments.token_file else b"",
        max_batch=arguments.max_batch,
        max_queue=arguments.max_queue,
        max_clients=arguments.max_clients,
        idle_timeout_s=arguments.idle_timeout,
        mapping=Mapping(arguments.threads, cpus),
    )
    engine = Engine(model, read_plan(arguments.plan) if arguments.plan else None)

    def log(line: str) -> None:
        if not arguments.quiet:
            print(f"dvfo serve: {line}", flush=True)

    name, digest = Path(arguments.model).name, engine.network.digest
    log(f"model {name}, sha256 {digest[:12]}, {len(engine.network.cuts())} cuts")
    run(SplitServer(engine, settings, log))
    return 0
