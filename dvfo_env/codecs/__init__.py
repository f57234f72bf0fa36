"""Feature compression as the environment sees it: bytes, time and accuracy per cut and level."""

from dvfo_env.codecs.table import (
    CompressionTable,
    Level,
    LevelCosts,
    list_compression_tables,
    load_compression,
)

__all__ = ["CompressionTable", "Level", "LevelCosts", "list_compression_tables", "load_compression"]
