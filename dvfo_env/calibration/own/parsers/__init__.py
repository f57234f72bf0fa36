"""Outputs of benchmark tools as rows of the table of measured points.

One file per tool; each turns a text into `Timed` results, none knows clocks that its tool does not print.
"""

from dvfo_env.calibration.own.parsers.common import PARSERS, Settings, Timed, parse_file
from dvfo_env.calibration.own.parsers.tegrastats import Sample, idle_rows, read_samples, with_power

__all__ = [
    "PARSERS",
    "Sample",
    "Settings",
    "Timed",
    "idle_rows",
    "parse_file",
    "read_samples",
    "with_power",
]
