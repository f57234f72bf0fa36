"""Reading a raw text file, plain or gzipped, with one line of error and the digest that provenance names."""

from __future__ import annotations

import gzip
import hashlib
import zlib
from pathlib import Path

from dvfo_env.errors import MeasurementError


def read_text(path: Path | str) -> tuple[str, str]:
    """A text file (plain or gzipped) and the SHA-256 of its bytes.

    Raises:
        MeasurementError: missing, unreadable or not text.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise MeasurementError(f"{path}: cannot be read: {error.strerror}") from None
    digest = hashlib.sha256(data).hexdigest()
    try:
        text = (gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error):
        raise MeasurementError(f"{path}: not a whole gzip file") from None
    except UnicodeDecodeError as error:
        raise MeasurementError(f"{path}: not a text file: byte {error.start} is not UTF-8") from None
    return text.replace("\0", " "), digest
