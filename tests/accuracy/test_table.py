"""Accuracy tables: written and read back, refused where they contradict themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from dvfo_env.accuracy import AccuracyTable, load_accuracy_table, write_accuracy_table
from dvfo_env.accuracy.table import Difficulty, Row, columns_of
from dvfo_env.errors import ConfigError


def a_row(**changes: object) -> Row:
    row = Row(
        cut="layer-3", codec="int4-zstd", ranking="", keep=1.0, bits=4, coder="zstd", exit=0, task="classify",
        bytes_mean=4700.0, bytes_p95=5100.0, encode_ms=0.2, decode_ms=0.1,
        accuracy=0.9, accuracy_low=0.88, accuracy_high=0.92, agreement=0.98, agreement_low=0.96,
        agreement_high=0.99, lost_points=0.4, lost_low=-0.1, lost_high=0.9,
        lost_by_class=(1.0, 0.2), disagreed_by_class=(4.0, 0.5),
    )  # fmt: skip
    return row._replace(**changes)


def a_table(*rows: Row) -> AccuracyTable:
    return AccuracyTable(
        name="by-hand",
        title="written by a test",
        workload="mobilenet-v2",
        evidence="assumed",
        source="this test",
        charges="accuracy",
        difficulty=Difficulty(edges=(0.8,), shares=(0.25, 0.75)),
        rows=columns_of(rows or (a_row(),)),
    )


def test_a_table_with_two_exits_and_two_tasks_is_read_back_as_written(tmp_path: Path) -> None:
    rows = [a_row(exit=e, task=t) for e in (0, 1) for t in ("classify", "segment")]
    table = a_table(*rows)
    path = write_accuracy_table(table, tmp_path / "mine.json")
    again = load_accuracy_table(path)
    assert again == table
    assert again.all_rows() == tuple(rows)


def test_classes_of_difficulty_must_fit_the_rows() -> None:
    with pytest.raises(ValueError, match="lost_by_class"):
        a_table(a_row(lost_by_class=(1.0,)))
    with pytest.raises(ValueError, match="shares add up"):
        Difficulty(edges=(0.8,), shares=(0.25, 0.5))


def test_a_measured_table_names_what_was_measured() -> None:
    with pytest.raises(ValueError, match="names model, data, machine and baseline"):
        AccuracyTable.model_validate(a_table().model_dump() | {"evidence": "measured"})


@pytest.mark.parametrize(
    ("text", "why"), [("{", "not valid JSON"), ("{}", "is missing"), ("[]", "expected a mapping")]
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=why) as refused:
        load_accuracy_table(path)
    assert "\n" not in str(refused.value)


def test_an_unknown_table_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="not known"):
        load_accuracy_table("no-such-table")
