"""Certificates that tests make for themselves."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def self_signed(folder: Path, address: str = "127.0.0.1") -> tuple[str, str]:
    """Paths of a certificate for an address and of its key; skips the test where openssl is missing."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    cert, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=edge"
    )
    options = ["-addext", f"subjectAltName=IP:{address}", "-keyout", key, "-out", cert]
    subprocess.run([*command.split(), *options], check=True, capture_output=True)
    return cert, key
