"""Who may talk to whom: loopback or TLS, certificates, and tokens that lie in files."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path

from dvfo_env.errors import SplitError


def is_loopback(host: str) -> bool:
    """Whether an address reaches this machine alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def server_tls(cert: str, key: str) -> ssl.SSLContext:
    """A context with a certificate and its key, PEM files.

    Raises:
        SplitError: they cannot be read, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SplitError(f"server: {cert}, {key}: {error.strerror or error}") from None
    return context


def client_tls(ca: str) -> ssl.SSLContext:
    """A context that verifies the server against the authorities in a PEM file, or the system's where empty.

    Raises:
        SplitError: the file cannot be read.
    """
    try:
        return ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise SplitError(f"{ca}: {error.strerror or error}") from None


def read_token(path: Path | str) -> bytes:
    """The token in a file, white space around it left out; files that others may read are refused.

    Raises:
        SplitError: it cannot be read, is readable by others, or is empty.
    """
    path = Path(path)
    try:
        if path.stat().st_mode & 0o077:
            raise SplitError(f"{path}: others may read it: chmod 600 {path}")
        token = path.read_bytes().strip()
    except OSError as error:
        raise SplitError(f"{path}: {error.strerror}") from None
    if not 16 <= len(token) <= 256:
        raise SplitError(f"{path}: a token has 16 to 256 bytes, found {len(token)}")
    return token
