"""Encoders and decoders of what crosses a cut, usable on their own; numpy is all that most need."""

from dvfo_env.codecs.bottleneck import BottleneckCodec
from dvfo_env.codecs.calibration import ChannelCalibration
from dvfo_env.codecs.calibration_file import load_calibrations, save_calibrations
from dvfo_env.codecs.features import FeatureCodec, decode
from dvfo_env.codecs.images import IMAGE_CODECS, LOSSLESS_IMAGE_CODECS, ImageCodec
from dvfo_env.codecs.quantiser import indices
from dvfo_env.codecs.settings import BITS, CODERS, QUANTISED_BITS, FeatureSetting, kept_channels

__all__ = [
    "BITS",
    "CODERS",
    "IMAGE_CODECS",
    "LOSSLESS_IMAGE_CODECS",
    "QUANTISED_BITS",
    "BottleneckCodec",
    "ChannelCalibration",
    "FeatureCodec",
    "FeatureSetting",
    "ImageCodec",
    "decode",
    "indices",
    "kept_channels",
    "load_calibrations",
    "save_calibrations",
]
