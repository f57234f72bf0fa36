"""Encoders and decoders of what crosses a cut, usable on their own; numpy is all that most need."""

from dvfo_env.codecs.bottleneck import BottleneckCodec
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.calibration_file import load_calibrations, save_calibrations
from dvfo_env.codecs.features import FeatureCodec, decode
from dvfo_env.codecs.images import IMAGE_CODECS, LOSSLESS_IMAGE_CODECS, ImageCodec
from dvfo_env.codecs.quantiser import indices
from dvfo_env.codecs.settings import BITS, CODERS, QUANTISED_BITS, FeatureSetting, kept_channels
from dvfo_env.codecs.table import (
    CompressionTable,
    Level,
    LevelCosts,
    list_compression_tables,
    load_compression,
)

__all__ = [
    "BITS",
    "CODERS",
    "IMAGE_CODECS",
    "LOSSLESS_IMAGE_CODECS",
    "QUANTISED_BITS",
    "BottleneckCodec",
    "ChannelCalibration",
    "CompressionTable",
    "FeatureCodec",
    "FeatureSetting",
    "ImageCodec",
    "Level",
    "LevelCosts",
    "decode",
    "indices",
    "kept_channels",
    "list_compression_tables",
    "load_calibrations",
    "load_compression",
    "save_calibrations",
]
