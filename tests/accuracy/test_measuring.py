"""The measurement from end to end, on a small network and random images: what it finds, that it goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dvfo_env.accuracy.measuring.cut import chunks
from dvfo_env.accuracy.measuring.plot import plot_table
from dvfo_env.accuracy.measuring.session import Options, Outcome, Progress, run
from dvfo_env.accuracy.measuring.settings import Settings
from dvfo_env.accuracy.pareto import worth_choosing
from dvfo_env.accuracy.table import AccuracyTable, Row, load_accuracy_table
from dvfo_env.errors import ConfigError
from dvfo_env.workloads.own import add_card, card_of_module, load_module
from tests.accuracy.test_datasets import idx

NETWORK = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 8, 3, 2, 1), nn.ReLU(),
        nn.Flatten(), nn.Linear(128, 5),
    )
    return net, torch.zeros(1, 1, 16, 16)
"""
IMAGES = 120
SETTINGS = Settings(
    rankings=("magnitude", "attention-dynamic"),
    keeps=(1.0, 1 / 2),
    bits=(32, 8, 2),
    coders=("none", "zlib"),
    image_codecs=("png", "jpeg-q50"),
    calibration_images=40,
    bytes_images=30,
    timed_frames=2,
    timed_rounds=2,
    hopeless_agreement=0.0,
    bottlenecks=(1 / 2,),
    bottleneck_bits=(8,),
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network, its card and images, where everything of the user's lies, too."""
    folder = tmp_path_factory.mktemp("measuring")
    (folder / "small_net.py").write_text(NETWORK)
    images = folder / "images"
    images.mkdir()
    generator = np.random.default_rng(0)
    for split, count in (("train", 60), ("t10k", IMAGES)):
        coarse = generator.integers(0, 256, (count, 4, 4), dtype=np.uint8)
        pixels = np.kron(coarse, np.ones((1, 4, 4), dtype=np.uint8))
        (images / f"{split}-images-idx3-ubyte").write_bytes(idx(pixels))
        (images / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(count, dtype=np.uint8) % 5))
    return folder


@pytest.fixture
def here(place: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(place)
    monkeypatch.setenv("XDG_DATA_HOME", str(place))
    monkeypatch.syspath_prepend(str(place))
    if not (place / "dvfo" / "workloads").exists():
        add_card(card_of_module(*load_module("small_net:build"), "build"))
    return place


def measured(settings: Settings = SETTINGS, **options: object) -> Outcome:
    return run(Options("small_net:build", "images", settings, **options), lambda _: None)  # type: ignore[arg-type]


def row_of(table: AccuracyTable, codec: str, ranking: str = "", cut: int = 1) -> Row:
    name = list(dict.fromkeys(table.rows.cut))[cut]
    return next(r for r in table.all_rows() if (r.cut, r.codec, r.ranking) == (name, codec, ranking))


def without_times(table: AccuracyTable) -> list[Row]:
    return [row._replace(encode_ms=0.0, decode_ms=0.0) for row in table.all_rows()]


def test_a_table_holds_every_setting_and_where_it_comes_from(here: Path) -> None:
    seen: list[Progress] = []
    outcome = run(Options("small_net:build", "images", SETTINGS), seen.append)
    table = load_accuracy_table("build")
    assert table == outcome.table
    assert outcome.path == here / "dvfo" / "accuracy" / "build.json"
    assert table.data is not None
    assert (table.data.images, table.data.clusters, table.data.calibration_images) == (IMAGES, IMAGES, 40)
    assert table.charges == "agreement"  # 120 images tell no accuracy apart
    assert sum(table.difficulty.shares) == pytest.approx(1.0, abs=1e-3)
    assert seen[-1].share == 1.0
    assert [p.share for p in seen] == sorted(p.share for p in seen)
    lossless = row_of(table, "fp32-keep1-none")
    assert lossless.agreement == 1.0
    assert (lossless.lost_low, lossless.lost_points, lossless.lost_high) == (0.0, 0.0, 0.0)
    assert set(lossless.lost_by_class) == {0.0}
    assert row_of(table, "int8-keep1-none").agreement > 0.95
    saved = row_of(table, "int8-keep1-none").bytes_mean - row_of(table, "int2-keep1-none").bytes_mean
    assert saved == pytest.approx(8 * 4 * 4 * 6 / 8, abs=2)  # 8 channels of 4 x 4, six bits each
    assert row_of(table, "png", cut=0).agreement == 1.0
    assert row_of(table, "jpeg-q50", cut=0).agreement < 1.0
    per_input = row_of(table, "int8-keep1/2-none", "attention-dynamic")
    fixed = row_of(table, "int8-keep1/2-none", "magnitude")
    assert per_input.bytes_mean > fixed.bytes_mean  # the frame names its channels
    narrow = row_of(table, "bottleneck4-int8-none")
    assert narrow.agreement > row_of(table, "int8-keep1/2-none", "magnitude").agreement
    assert narrow.bytes_mean == pytest.approx(fixed.bytes_mean, abs=4)
    assert all(row.encode_ms > 0 for row in table.all_rows())


def test_the_record_of_images_adds_up_to_the_table(here: Path) -> None:
    outcome = measured()
    with np.load(outcome.record) as record:
        agree = np.unpackbits(record["agree"], axis=1, count=IMAGES)
        index = list(record["setting"]).index("int2")
        found = row_of(
            outcome.table,
            "int2-keep1-none",
            cut=list(dict.fromkeys(record["cut"])).index(record["cut"][index]),
        )
        assert found.agreement == pytest.approx(agree[index].mean(), rel=1e-4)
        hardest = record["confidence"] < outcome.table.difficulty.edges[0]
        assert outcome.table.difficulty.shares[0] == pytest.approx(hardest.mean(), rel=1e-4)
        assert found.disagreed_by_class[0] == pytest.approx(
            100 * (1 - agree[index][hardest].mean()), rel=1e-4
        )


def test_what_was_measured_is_not_measured_again_and_more_is_added(here: Path) -> None:
    before = measured()
    logs = sorted((here / "dvfo" / "accuracy" / "runs").rglob("*.jsonl"))
    sizes = [log.stat().st_size for log in logs]
    again = measured()
    assert [log.stat().st_size for log in logs] == sizes
    assert again.resumed == len(logs)
    assert again.table == before.table
    wider = measured(replace(SETTINGS, bits=(32, 8, 4, 2)))
    kept = [row for row in without_times(wider.table) if row.bits != 4]
    assert kept == without_times(before.table)
    assert len(wider.table.rows.cut) > len(kept)


@pytest.mark.slow
def test_processes_find_what_one_process_finds(here: Path) -> None:
    alone = measured()
    together = measured(fresh=True, workers=2)
    assert without_times(together.table) == without_times(alone.table)


@pytest.mark.slow
def test_after_a_kill_the_same_command_ends_with_the_same_table(here: Path) -> None:
    expected = without_times(measured(fresh=True).table)
    script = (
        "from tests.accuracy.test_measuring import measured\n"
        "if __name__ == '__main__':\n    measured(fresh=True, workers=2)\n"
    )
    (here / "killed.py").write_text(script)
    path = os.pathsep.join([str(here), str(Path(__file__).parents[2])])
    killed = subprocess.Popen([sys.executable, "killed.py"], cwd=here, env={**os.environ, "PYTHONPATH": path})
    logs = here / "dvfo" / "accuracy" / "runs"
    deadline = time.monotonic() + 60
    before = time.time()
    while time.monotonic() < deadline:
        new = [log for log in logs.rglob("*.jsonl") if log.stat().st_mtime > before]
        if any(b'"answers"' in log.read_bytes() for log in new):
            break
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert without_times(measured().table) == expected


def test_a_wrong_cut_is_named_with_those_there_are(here: Path) -> None:
    with pytest.raises(ConfigError, match=r"--cuts: build has no cut 'nowhere'; it has"):
        measured(replace(SETTINGS, cuts=("nowhere",)))


def test_a_picture_is_drawn_and_an_unknown_format_refused(here: Path, tmp_path: Path) -> None:
    table = measured().table
    assert plot_table(table, tmp_path / "rates.png").stat().st_size > 10_000
    with pytest.raises(ConfigError, match=r"rates\.nonsense"):
        plot_table(table, tmp_path / "rates.nonsense")


def test_settings_worth_choosing_beat_each_other_nowhere(here: Path) -> None:
    table = measured().table
    best = worth_choosing(table.all_rows(), "agreement")
    assert 0 < len(best) < len(table.rows.cut)
    for row in best:
        for other in (r for r in table.all_rows() if r.cut == row.cut):
            assert not (other.bytes_mean < row.bytes_mean and other.agreement >= row.agreement)


def test_the_verb_shows_what_was_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dvfo_cli.main import main

    table = measured().table
    assert main(["accuracy", "list", "--json"]) == 0
    assert "build" in {row["name"] for row in json.loads(capsys.readouterr().out)}
    assert main(["accuracy", "show", "build", "--json", "--all"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(table.rows.cut)
    assert main(["accuracy", "show", "build", "--cut", "nowhere"]) == 2
    assert "has no cut 'nowhere'" in capsys.readouterr().err


def test_chunks_cover_all_images_once_the_pilot_first() -> None:
    for images, elements in ((10_000, 25_000), (200, 75_264), (3, 10), (41, 10**9)):
        ranges = chunks(images, elements, 500)
        assert [i for start, stop in ranges for i in range(start, stop)] == list(range(images))
        assert ranges[0][1] <= 500
        assert all((stop - start) * elements <= max(1 << 25, 16 * elements) for start, stop in ranges[1:])
