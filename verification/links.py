"""A server behind a link that replays a trace: network namespaces where permitted, else a token bucket."""

from __future__ import annotations

import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

from dvfo_controller.split.client import SplitClient
from dvfo_controller.split.engine import Engine, Mapping
from dvfo_controller.split.netns import NamespaceLink, why_not
from dvfo_controller.split.shaping import TokenBucket, Trace
from dvfo_env.errors import SplitError
from dvfo_verification.serving import Server

LinkKind = Literal["auto", "bucket", "namespaces"]
Link = TokenBucket | NamespaceLink


def no_namespaces() -> str:
    """Why network namespaces cannot be used here; empty where they can."""
    return "needs openssl" if shutil.which("openssl") is None else why_not()


@contextmanager
def connected(
    kind: LinkKind,
    trace: Trace,
    engine: Engine,
    model: Path,
    plan: Path,
    threads: int,
    timeout_ms: float,
    fallback: Mapping,
    scratch: Path,
) -> Iterator[tuple[Link, SplitClient]]:
    """A link and a client whose server is at its other end.

    `auto` takes namespaces where they are permitted. Their server is on no loopback address, so a certificate
    and a token are made in `scratch`.

    Raises:
        SplitError: namespaces were asked for and are not permitted, or the server does not start.
    """
    reason = no_namespaces() if kind != "bucket" else "not asked for"
    if kind == "namespaces" and reason:
        raise SplitError(f"network namespaces: {reason}")
    with ExitStack() as stack:
        if reason:
            bucket = TokenBucket.replaying(trace)
            server = stack.enter_context(Server(model, plan, threads))
            client = SplitClient(
                engine, server.address, shaper=bucket, timeout_ms=timeout_ms, fallback=fallback
            )
            yield bucket, stack.enter_context(client)
            return
        step_ms = float(trace.times_s[1] - trace.times_s[0]) * 1e3 if len(trace.times_s) > 1 else 1000.0
        link = NamespaceLink(trace.mbps, step_ms, trace.rtt_ms)
        stack.callback(link.close)
        cert, key, token = _secrets(scratch, link.host)
        options = (
            "--host",
            link.host,
            "--tls-cert",
            str(cert),
            "--tls-key",
            str(key),
            "--token-file",
            str(token),
        )
        inside = ("ip", "netns", "exec", link.server)
        server = stack.enter_context(Server(model, plan, threads, options, inside))
        client = SplitClient(
            engine,
            server.address,
            shaper=link,
            timeout_ms=timeout_ms,
            fallback=fallback,
            token=token.read_bytes().strip(),
            tls_ca=str(cert),
        )
        yield link, stack.enter_context(client)


def _secrets(folder: Path, address: str) -> tuple[Path, Path, Path]:
    """A certificate for an address, its key, and a token, readable by this user alone."""
    cert, key, token = folder / "cert.pem", folder / "key.pem", folder / "token"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=here"
    )
    names = ["-addext", f"subjectAltName=IP:{address}", "-keyout", str(key), "-out", str(cert)]
    done = subprocess.run([*command.split(), *names], capture_output=True, text=True)
    if done.returncode != 0:
        raise SplitError(f"openssl: {done.stderr.strip().splitlines()[-1:]}: no certificate for the link")
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    return cert, key, token
