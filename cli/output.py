"""How verbs print: JSON, and tables that are pleasant on a terminal and plain and complete without one."""

from __future__ import annotations

import json
import math
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from typing import Any

Row = Sequence[object]


def print_json(data: object) -> None:
    """Print `data` as indented JSON; numpy values become plain ones, NaN and infinity become null."""
    print(json.dumps(_plain(data), indent=2, ensure_ascii=False))


def terminal_width() -> int | None:
    """Columns of the terminal that stdout is, or None where it is none: then print everything."""
    if not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def print_table(columns: Sequence[str], rows: Sequence[Row], title: str = "") -> None:
    """Print a table; a column of figures is set flush right, None is an empty cell.

    On a terminal it wraps to the width, all but the first column; elsewhere every row is one line. A line
    break in a heading counts on a terminal only.
    """
    cells = [[cell(value) for value in row] for row in rows]
    right = [all(map(_is_figure, column)) for column in zip(*rows, strict=True)] or [False] * len(columns)
    if terminal_width() is None:
        _plain_table([name.replace("-\n", "-").replace("\n", " ") for name in columns], cells, right, title)
    else:
        _rich_table(columns, cells, right, title)


def print_note(text: str = "") -> None:
    """Print a line of text; on a terminal it wraps between words."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console(highlight=False, markup=False).print(text)
    else:
        print(text)


def cell(value: object) -> str:
    """One value as people read it: four significant digits, thousands set apart, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return number(value)
    return str(value)


def number(value: float) -> str:
    """Four significant digits, never in powers of ten between 0.0001 and a billion."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    if size == 0.0:
        return "0"
    if size < 1e-4 or size >= 1e9:
        return f"{value:.3e}"
    decimals = max(0, 3 - math.floor(math.log10(size)))
    text = f"{value:,.{decimals}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _is_figure(value: object) -> bool:
    return value is None or isinstance(value, int | float) or bool(re.fullmatch(r"[-\d.,]+ ?%", str(value)))


def _rich_table(columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    for index, (name, flush_right) in enumerate(zip(columns, right, strict=True)):
        table.add_column(
            Text(name),
            justify="right" if flush_right else "left",
            overflow="fold",
            no_wrap=flush_right or index == 0,
        )
    for row in cells:
        table.add_row(*(Text(text) for text in row))
    Console(highlight=False).print(table)


def _plain_table(columns: Sequence[str], cells: list[list[str]], right: list[bool], title: str) -> None:
    if title:
        print(title)
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for row in (list(columns), *cells):
        padded = (
            text.rjust(width) if flush_right else text.ljust(width)
            for text, width, flush_right in zip(row, widths, right, strict=True)
        )
        print("  ".join(padded).rstrip())


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if hasattr(value, "tolist"):  # numpy, without importing it
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def exact(value: object) -> object:
    """A clock with all its digits: one has to type it."""
    return f"{value:.10g}" if isinstance(value, float) else value
