"""Where a user's own files lie."""

from __future__ import annotations

import os
from pathlib import Path


def user_data_folder() -> Path:
    """`dvfo` below $XDG_DATA_HOME (default ~/.local/share): profiles, cards, tables, images and weights."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "dvfo"
