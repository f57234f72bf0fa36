"""What is tried at a cut, and what is left out."""

from __future__ import annotations

import pytest

from dvfo_env.accuracy.measuring.settings import FEATURE, Settings, VariantKey, hopeless_because
from dvfo_env.accuracy.measuring.variants import coders_of, name_of
from dvfo_env.codecs import FeatureSetting
from dvfo_env.errors import ConfigError
from dvfo_env.workloads import load_workload


def test_every_setting_has_a_name_of_its_own() -> None:
    settings = Settings(bottlenecks=(1 / 4, 1 / 8), rankings=("magnitude", "attention-dynamic"))
    card = load_workload("mobilenet-v2")
    for cut in (0, 5):
        keys = settings.keys_at(card, cut)
        assert len({key.text for key in keys}) == len(keys)


def test_names_of_feature_settings_are_the_codecs() -> None:
    for key in Settings().features():
        for coder in coders_of(key, ("none", "zlib", "zstd", "rans")):
            setting = FeatureSetting.parse(name_of(key, coder))
            assert (setting.keep, setting.bits, setting.coder) == (key.keep, key.bits, coder)


def test_what_is_milder_than_a_failure_is_measured_and_what_is_not_is_left_out() -> None:
    settings = Settings()
    failed = VariantKey(FEATURE, "magnitude", 1 / 2, 4)
    agreement = {failed: 0.3}
    assert hopeless_because(VariantKey(FEATURE, "magnitude", 1 / 2, 2), settings, agreement) == failed
    assert hopeless_because(VariantKey(FEATURE, "magnitude", 1 / 8, 4), settings, agreement) == failed
    for other in (
        failed,
        VariantKey(FEATURE, "magnitude", 1 / 2, 8),
        VariantKey(FEATURE, "taylor", 1 / 2, 2),
        VariantKey(FEATURE, "", 1.0, 2),
    ):
        assert hopeless_because(other, settings, agreement) is None
    assert hopeless_because(
        VariantKey(FEATURE, "taylor", 1 / 2, 2), settings, {VariantKey(FEATURE, "", 1.0, 4): 0.1}
    )


def test_rankings_are_always_compared_at_a_quarter() -> None:
    failed = {VariantKey(FEATURE, "taylor", 1 / 2, 8): 0.0}
    assert hopeless_because(VariantKey(FEATURE, "taylor", 1 / 4, 8), Settings(), failed) is None
    assert hopeless_because(VariantKey(FEATURE, "taylor", 1 / 4, 6), Settings(), failed) is not None
    assert hopeless_because(VariantKey(FEATURE, "taylor", 1 / 8, 8), Settings(), failed) is not None


@pytest.mark.parametrize(
    "wrong",
    [
        {"keeps": (0.0,)},
        {"images": 0},
        {"bytes_images": 0},
        {"rankings": ("loudness",)},
        {"bits": (5,)},
        {"coders": ("none", "7z")},
    ],
)
def test_settings_that_measure_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Settings(**wrong)  # type: ignore[arg-type]


def test_a_table_says_the_command_that_made_it() -> None:
    assert Settings().as_options() == ""
    given = Settings(keeps=(1.0, 0.25), bits=(8, 4), bottlenecks=(1.0, 1 / 2, 1 / 4), bytes_images=100)
    assert given.as_options() == " --keep 1,1/4 --bits 8,4 --bottleneck --bytes-images 100"
