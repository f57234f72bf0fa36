"""Studies of these tests need not survive a power cut: nothing waits for the disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy


def _do_not_wait(connection: Any, _: object) -> None:
    connection.execute("PRAGMA synchronous = OFF")


@pytest.fixture(autouse=True, scope="package")
def _quick_databases() -> Iterator[None]:
    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", _do_not_wait)
    yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", _do_not_wait)
