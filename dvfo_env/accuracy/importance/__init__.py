"""Which channels matter: rankings, attention, ranges of quantisers, learned bottlenecks."""

from dvfo_env.accuracy.importance.attention import ChannelAttention, load_attention, save_attention
from dvfo_env.accuracy.importance.calibrate import better_fill, calibrate, reorder
from dvfo_env.accuracy.importance.features import CutFeatures, channel_axis, divergence
from dvfo_env.accuracy.importance.rankings import order_of, static_importance

#: Names that tables and the command line use.
RANKINGS = ("magnitude", "variance", "taylor", "attention")

__all__ = [
    "RANKINGS",
    "ChannelAttention",
    "CutFeatures",
    "better_fill",
    "calibrate",
    "channel_axis",
    "divergence",
    "load_attention",
    "order_of",
    "reorder",
    "save_attention",
    "static_importance",
]
