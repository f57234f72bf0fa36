import errno
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import dvfo_train
from dvfo_agents import checkpoint
from dvfo_agents.learned import load_policy
from dvfo_env.tables import ACTION_PARTS
from tests.agents import small


def error_of(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert dvfo_train.main(arguments) == 2
    said = capsys.readouterr().err
    assert said.startswith("train: ")
    assert said.count("\n") == 1
    return said


def test_a_run_leaves_checkpoint_result_and_provenance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dvfo_train.main([*small.train_arguments(tmp_path), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    run = tmp_path / "run"
    assert result["finished"] is True
    assert result["steps"] == 512
    assert result == json.loads((run / "result.json").read_text())
    (start,) = json.loads((run / "provenance.json").read_text())
    assert {"python", "numpy", "torch", "gymnasium", "stable_baselines3", "dvfo_env"} <= set(
        start["versions"]
    )
    assert start["machine"]["cpu_cores"] == os.cpu_count()
    assert "--steps 512" in start["command"]
    assert (run / "checkpoints" / "000000000512" / "manifest.json").is_file()


def test_curves_hold_every_part_and_the_choices(tmp_path: Path) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = set(events.Tags()["scalars"])
    assert {"reward/mean", "latency/head_ms", "energy/send_mj", "time/steps_per_s", "time/env_share"} <= tags
    assert {"train/value_loss", "train/approx_kl"} <= tags
    assert {f"action/{part}" for part in ACTION_PARTS} == set(events.Tags()["histograms"])


def test_a_run_folder_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = small.train_arguments(tmp_path)
    assert dvfo_train.main(arguments) == 0
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*"))
    assert "--resume" in error_of(arguments, capsys)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*")) == before
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("")
    assert "is not empty (holds thesis.tex)" in error_of(["--out", str(tmp_path / "other")], capsys)


def test_resuming_nothing_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "holds no run" in error_of(["--resume", "--out", str(tmp_path)], capsys)
    assert "holds no run" in error_of(["--resume", "--out", str(tmp_path / "missing")], capsys)


def test_resuming_with_other_settings_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    resume = ["--resume", "--out", str(tmp_path / "run")]
    assert "--seed" in error_of([*resume, "--seed", "7"], capsys)
    assert "--agent" in error_of([*resume, "--agent", "sac"], capsys)
    assert "--scenario" in error_of([*resume, "--scenario", "default"], capsys)


def test_a_finished_run_goes_on_with_a_larger_budget(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    assert dvfo_train.main(["--resume", "--out", str(tmp_path / "run"), "--steps", "1024", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["steps"] == 1024
    assert "000000000512: 512 steps" in captured.err


def test_a_torn_checkpoint_is_skipped_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    resume = ["--resume", "--out", str(tmp_path / "run"), "--steps"]
    assert dvfo_train.main([*resume, "1024"]) == 0
    os.truncate(tmp_path / "run" / "checkpoints" / "000000001024" / "weights.safetensors", 100)
    assert dvfo_train.main([*resume, "1536"]) == 0
    said = capsys.readouterr().err
    assert "skipping a checkpoint" in said
    assert load_policy(tmp_path / "run").steps == 1536


def test_a_changed_device_is_noticed_on_resume(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    device = tmp_path / "toy-device.yaml"
    device.write_text(device.read_text().replace("value: 40.0", "value: 41.0"))
    arguments = ["--resume", "--out", str(tmp_path / "run"), "--steps", "1024"]
    assert "other cost tables" in error_of(arguments, capsys)


def test_a_full_disk_is_one_line_and_the_earlier_checkpoint_survives(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    capsys.readouterr()
    real = checkpoint.write_flushed
    monkeypatch.setattr(
        checkpoint,
        "write_flushed",
        lambda path, content: (full if "checkpoints" in str(path) else real)(path, content),
    )
    assert dvfo_train.main(["--resume", "--out", str(tmp_path / "run"), "--steps", "1024"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device; earlier checkpoints are untouched" in said
    monkeypatch.undo()
    assert load_policy(tmp_path / "run").steps == 512


def test_help_imports_nothing_heavy() -> None:
    heavy = "[name for name in ('torch', 'numba', 'numpy') if name in sys.modules]"
    code = f"import sys, dvfo_train; dvfo_train.build_parser(); print({heavy})"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "words", [["--steps", "0"], ["--minutes", "nan"], ["--seed", "-1"], ["--steps", "1", "--minutes", "1"]]
)
def test_impossible_numbers_are_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        dvfo_train.main(words)
    assert caught.value.code == 2
    assert words[0] in capsys.readouterr().err


def test_two_processes_never_train_in_one_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dvfo_agents.run_folder import RunFolder

    assert dvfo_train.main(small.train_arguments(tmp_path)) == 0
    with RunFolder.open(tmp_path / "run") as held:
        assert held.config.steps == 512
        assert "another process" in error_of(["--resume", "--out", str(tmp_path / "run")], capsys)


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    arguments = small.train_arguments(tmp_path, steps=100_000_000)
    process = subprocess.Popen(
        [sys.executable, dvfo_train.__file__, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    deadline = time.monotonic() + 60.0
    while not (checkpoints.is_dir() and any(path.name.isdigit() for path in checkpoints.iterdir())):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(2)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    line = said.splitlines()[-1]
    assert f"to go on: train.py --out {tmp_path / 'run'} --resume" in line
    steps = load_policy(tmp_path / "run").steps
    words = line.split("to go on: train.py ")[1].split()
    assert steps is not None
    assert words[-2:] == ["--steps", "100000000"]
    assert dvfo_train.main([*words[:-1], str(steps + 256)]) == 0
