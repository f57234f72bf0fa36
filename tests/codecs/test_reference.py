"""The reference encoding is the same everywhere and is really an encoding."""

from __future__ import annotations

import numpy as np

from dvfo_env.codecs.reference import reference_codec, reference_encode_ms, reference_tensor


def test_the_reference_frame_decodes_to_the_reference_tensor() -> None:
    frame = reference_codec().encode([reference_tensor()])
    (again,) = reference_codec().decode(frame)
    assert len(frame) < 64 * 14 * 14 / 2 + 64
    assert np.abs(again - np.minimum(reference_tensor(), 2.5)).max() <= 2.5 / 15 / 2 + 1e-6


def test_the_reference_is_timed_in_milliseconds() -> None:
    assert 1e-3 < reference_encode_ms(20) < 1e3
