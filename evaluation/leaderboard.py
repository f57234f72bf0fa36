"""The leaderboard: a CSV file of results that anyone who has the runs can have again, row by row.

A row sums up one agent on one scenario of the release. Nothing in it is taken on trust: `check` recomputes it
from the results file it names, and that file's episodes by running them again, with the bound and the best
fixed action behind the score.
"""

from __future__ import annotations

import csv
import datetime
import hashlib
import io
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from dvfo_agents.run_folder import versions
from dvfo_env.errors import ConfigError, DvfoError, ResultsError
from dvfo_env.whole_file import write_whole
from dvfo_evaluation.leaderboard_check import Key, Recomputed, Results
from dvfo_evaluation.results import path_from

#: Training seeds below which a learned agent is not taken without --allow-few.
LEAST_SEEDS = 5
_LIST = "; "
_TOLERANCE = 1e-9  # summing in another order on another machine


class Entry(NamedTuple):
    """One row: an agent on a scenario, over one uplink.

    score: 0 = best fixed action, 1 = bound, with its 95 % interval over episodes and training seeds; cost:
    mean per request. seeds: training seeds, 0 for a baseline; few: "yes" where there are fewer than five.
    episodes: held-out episodes of each seed. members: the agent's labels in the results file. checkpoints:
    SHA-256 of each run's newest checkpoint. results: the file, relative to the leaderboard where it lies
    below it.
    """

    agent: str
    scenario: str
    uplink: str
    score: float
    score_low: float
    score_high: float
    cost: float
    cost_low: float
    cost_high: float
    seeds: int
    few: str
    episodes: int
    tables_sha256: str
    versions: str
    checkpoints: str
    members: str
    results: str
    results_sha256: str
    date: str
    link: str

    def __str__(self) -> str:
        return f"{self.agent} on {self.scenario}, uplink {self.uplink}"

    @property
    def key(self) -> tuple[str, str, str]:
        """What there is one row of: agent, scenario, uplink."""
        return (self.agent, self.scenario, self.uplink)


_FLOATS = ("score", "score_low", "score_high", "cost", "cost_low", "cost_high")
_INTEGERS = ("seeds", "episodes")


class Checked(NamedTuple):
    """A row of the file, its line (header = 1), and what is wrong with it; None: it agrees."""

    line: int
    entry: Entry
    problem: str | None


def read_board(path: Path) -> list[Entry]:
    """The rows of a leaderboard.

    Raises:
        ResultsError: missing, no leaderboard, or a value that cannot be; names file, line and column.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in Entry._fields if name not in (reader.fieldnames or [])]
            if missing:
                raise ResultsError(f"{path}: not a leaderboard: column {missing[0]!r} is missing")
            return [_parse(path, line, values) for line, values in enumerate(reader, start=2)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None


def add(
    board: Path,
    results: Path,
    agents: tuple[str, ...] = (),
    name: str | None = None,
    link: str = "",
    allow_few: bool = False,
    replace: bool = False,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Entry]:
    """Check a results file and write its agents into the leaderboard, which is made where there is none.

    Args:
        board: the leaderboard.
        results: a results.csv that `dvfo evaluate` wrote.
        agents: which of its agents; none: every learned one, or every baseline where nothing was learned.
        name: under which name the agent is listed; only where it is a single one.
        link: a page about it.
        allow_few: take learned agents with fewer than five training seeds, marked.
        replace: an agent already listed on a scenario gets the new row.
        progress: is told what is being run.

    Returns the rows added.

    Raises:
        ResultsError: the results do not replay, are not of the release's tables or episodes, or come from too
            few training seeds; or the agent is listed already.
        ConfigError: name or link cannot be used, or the file cannot be written.
    """
    _check_words(name, link)
    rows = read_board(board) if board.exists() else []
    source = Results(results, progress)
    wanted = source.keys(agents)
    if name is not None and len({key.agent for key in wanted}) > 1:
        among = ", ".join(dict.fromkeys(key.agent for key in wanted))
        raise ConfigError(f"--name: {results} holds several agents ({among}): choose one with --agents")
    added = []
    for key in wanted:
        found = source.recompute(key)
        if 0 < found.seeds < LEAST_SEEDS and not allow_few:
            raise ResultsError(
                f"{results}: {key.agent} on {key.scenario}: {found.seeds} training seeds, a leaderboard "
                f"takes {LEAST_SEEDS}: train more, or --allow-few to have the row marked"
            )
        entry = _entry(found, name or key.agent, board, results, link)
        if not replace and any(row.key == entry.key for row in rows):
            raise ResultsError(f"{board}: {entry} is listed already: choose another --name, or --replace")
        source.replay(key)
        added.append(entry)
    new = {entry.key for entry in added}
    _write(board, [row for row in rows if row.key not in new] + added)
    return added


def check(board: Path, progress: Callable[[str], None] = lambda line: None) -> list[Checked]:
    """Recompute every row from its results file and run that file's episodes again.

    Raises:
        ResultsError: the leaderboard itself cannot be read.
    """
    files: dict[Path, Results] = {}
    checked, seen = [], set()
    for line, entry in enumerate(read_board(board), start=2):
        try:
            if entry.key in seen:
                raise ResultsError("is listed twice")
            seen.add(entry.key)
            _check_entry(entry, board, files, progress)
            problem = None
        except DvfoError as error:
            problem = str(error)
        checked.append(Checked(line, entry, problem))
    return checked


def ranking(rows: Iterable[Entry], scenario: str | None = None) -> dict[tuple[str, str], list[Entry]]:
    """Rows by (scenario, uplink), best score first; of one scenario where it is named."""
    tables: dict[tuple[str, str], list[Entry]] = {}
    for row in sorted(rows, key=lambda row: -row.score):
        if scenario is None or row.scenario == scenario:
            tables.setdefault((row.scenario, row.uplink), []).append(row)
    return dict(sorted(tables.items()))


def _check_entry(
    entry: Entry, board: Path, files: dict[Path, Results], progress: Callable[[str], None]
) -> None:
    path = board.parent / entry.results
    if not path.is_file():
        raise ResultsError(f"results: {path} is not there")
    if _sha256(path) != entry.results_sha256:
        raise ResultsError(f"results: {path} is another file than when the row was added")
    source = files.setdefault(path, Results(path, progress))
    members = tuple(entry.members.split(_LIST))
    key = source.key_of(members, entry.scenario, entry.uplink)
    found = source.recompute(key)
    again = _entry(found, entry.agent, board, path, entry.link)
    for name in Entry._fields:
        if name in ("date", "versions"):
            continue
        listed, value = getattr(entry, name), getattr(again, name)
        same = math.isclose(listed, value, rel_tol=_TOLERANCE) if name in _FLOATS else listed == value
        if not same:
            raise ResultsError(f"{name} is {listed!r} in the leaderboard, {value!r} when recomputed")
    source.replay(key)


def _entry(found: Recomputed, agent: str, board: Path, results: Path, link: str) -> Entry:
    score, cost = found.score, found.cost
    return Entry(
        agent=agent,
        scenario=found.key.scenario,
        uplink=found.key.uplink,
        score=score.mean, score_low=score.low, score_high=score.high,
        cost=cost.mean, cost_low=cost.low, cost_high=cost.high,
        seeds=found.seeds,
        few="yes" if 0 < found.seeds < LEAST_SEEDS else "",
        episodes=found.episodes,
        tables_sha256=found.tables_sha256,
        versions=_LIST.join(f"{name} {release}" for name, release in versions().items()),
        checkpoints=_LIST.join(found.checkpoints),
        members=_LIST.join(found.key.members),
        results=path_from(board.parent, results),
        results_sha256=_sha256(results),
        date=datetime.date.today().isoformat(),
        link=link,
    )  # fmt: skip


def _parse(path: Path, line: int, values: dict[str, str | None]) -> Entry:
    parsed: dict[str, Any] = {}
    for name in Entry._fields:
        text = values[name]
        kind = float if name in _FLOATS else int if name in _INTEGERS else str
        try:
            if text is None:
                raise ValueError
            parsed[name] = kind(text)
            if kind is float and not math.isfinite(parsed[name]):
                raise ValueError
        except ValueError:
            what = {float: "a finite number", int: "a whole number", str: "there"}[kind]
            raise ResultsError(f"{path}: line {line}: {name}: {text!r} is not {what}") from None
    return Entry(**parsed)


def _write(board: Path, rows: list[Entry]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Entry._fields)
    for row in sorted(rows, key=lambda row: (row.scenario, row.uplink, -row.score)):
        writer.writerow([repr(value) if isinstance(value, float) else value for value in row])
    write_whole(board, text.getvalue())


def _check_words(name: str | None, link: str) -> None:
    if name is not None and (not name.strip() or not name.isprintable() or len(name) > 60):
        raise ConfigError(f"--name: {name!r} is not a name of 1 to 60 printable characters")
    if link and (not link.startswith(("https://", "http://")) or not link.isprintable() or " " in link):
        raise ConfigError(f"--link: {link!r} is not a web address")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


__all__ = ["LEAST_SEEDS", "Checked", "Entry", "Key", "add", "check", "ranking", "read_board"]
