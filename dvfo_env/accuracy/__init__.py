"""Accuracy of compressed features: what was measured, and the images and networks it was measured with.

The tables (`table`, `levels`, `assumed`) are all that the environment reads, and need numpy and pydantic
alone; `datasets`, `models`, `importance` and `measuring` make them, with torch.
"""

from dvfo_env.accuracy.assumed import assumed_table
from dvfo_env.accuracy.table import (
    AccuracyTable,
    list_accuracy_tables,
    list_user_accuracy_tables,
    load_accuracy_table,
    write_accuracy_table,
)

__all__ = [
    "AccuracyTable",
    "assumed_table",
    "list_accuracy_tables",
    "list_user_accuracy_tables",
    "load_accuracy_table",
    "write_accuracy_table",
]
