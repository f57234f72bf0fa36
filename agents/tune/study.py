"""A study on disk: one SQLite file, written by one process at a time, with errors as one line."""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import optuna
import sqlalchemy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from dvfo_agents.tune.settings import Settings
from dvfo_agents.tune.spaces import OneOf, PowerOfTwo, Range, as_params, label
from dvfo_env.errors import ConfigError
from dvfo_env.schema import parse_record

#: Random trials before the sampler's model takes over, and complete ones before a pruner stops any.
STARTUP_TRIALS = 8
_WAIT_FOR_LOCK_S = 5.0
_MOST_ATTEMPTS = 3
_SETTINGS, _SHIPPED, _ATTEMPT, _REPEATED = "settings", "shipped", "attempt", "repeated"


class StudyFile:
    """An open study. A context manager; with `write` no other process can write to it meanwhile.

    Attributes:
        path: the SQLite file.
        settings: what the study began with.
        study: Optuna's.
    """

    def __init__(self, path: Path, settings: Settings, study: optuna.Study, lock: IO[str] | None) -> None:
        self.path = path
        self.settings = settings
        self.study = study
        self._lock = lock  # the system lets go of it also when the process is killed

    def __enter__(self) -> StudyFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self.study._storage.remove_session()
        if self._lock is not None:
            self._lock.close()

    @classmethod
    def create(cls, path: Path, settings: Settings) -> StudyFile:
        """Begin a study in a new file; its first trial is the configuration given.

        Raises:
            ConfigError: the file cannot be written, or another process tunes in it.
        """
        with plain_errors(path), contextlib.ExitStack() as undo:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = undo.enter_context(_lock(path))
            study = optuna.create_study(
                storage=_storage(path),
                study_name=settings.name,
                direction="maximize",
                sampler=_sampler(settings, 0),
                pruner=_pruner(settings),
            )
            study.set_user_attr(_SETTINGS, settings.model_dump(mode="json"))
            study.enqueue_trial(as_params(settings.ranges, settings.config), user_attrs={_SHIPPED: True})
            undo.pop_all()
        return cls(path, settings, study, lock)

    @classmethod
    def open(cls, path: Path, write: bool) -> StudyFile:
        """Open a study that was begun before.

        Raises:
            ConfigError: there is none, it is none of ours, or `write` and another process tunes in it.
        """
        if not path.is_file():
            raise ConfigError(f"{path}: no such study")
        with plain_errors(path), contextlib.ExitStack() as undo:
            lock = undo.enter_context(_lock(path)) if write else None
            storage = _storage(path)
            names = optuna.get_all_study_names(storage)
            if len(names) != 1:
                raise ConfigError(f"{path}: holds {len(names)} studies, not the one that dvfo tune makes")
            bare = optuna.load_study(study_name=names[0], storage=storage)
            settings = parse_record(bare.user_attrs.get(_SETTINGS), Settings, where=f"{path}: settings")
            study = optuna.load_study(
                study_name=names[0],
                storage=storage,
                sampler=_sampler(settings, len(bare.get_trials(deepcopy=False))),
                pruner=_pruner(settings),
            )
            undo.pop_all()
        return cls(path, settings, study, lock)

    def trials(self) -> list[FrozenTrial]:
        """Every trial that counts: all but those that were cut off and put back in line."""
        return [t for t in self.study.get_trials(deepcopy=False) if not t.user_attrs.get(_REPEATED)]

    def finished(self) -> list[FrozenTrial]:
        """Trials that ran to an end: complete, stopped early or failed."""
        return [t for t in self.trials() if t.state.is_finished()]

    def repeat_cut_off(self) -> int:
        """Put back in line what was running when an earlier process ended; returns how many."""
        stale = self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        for trial in stale:
            self.repeat(trial, "cut off")
        return len(stale)

    def repeat(self, trial: FrozenTrial, reason: str) -> None:
        """Fail a running trial and put its configuration back in line, up to three times."""
        attempt = int(trial.user_attrs.get(_ATTEMPT, 1))
        again = attempt < _MOST_ATTEMPTS
        attributes = {"error": f"{reason} (attempt {attempt})", _REPEATED: again}
        for name, value in attributes.items():
            self.study._storage.set_trial_user_attr(trial._trial_id, name, value)
        if again:
            kept = {_SHIPPED: True} if is_shipped(trial) else {}
            self.study.enqueue_trial(trial.params or _fixed(trial), {**kept, _ATTEMPT: attempt + 1})
        self.study.tell(trial.number, state=TrialState.FAIL)

    def next_trial(self) -> optuna.Trial:
        """A trial to run, its parameters drawn."""
        trial = self.study.ask()
        for name, span in self.settings.ranges.items():
            _suggest(trial, name, span)
        return trial


def is_shipped(trial: FrozenTrial | optuna.Trial) -> bool:
    """Whether the trial is the configuration that the study set out from."""
    return bool(trial.user_attrs.get(_SHIPPED))


@contextlib.contextmanager
def plain_errors(path: Path) -> Iterator[None]:
    """Turn what can go wrong with a database into one line, and keep Optuna quiet.

    Raises:
        ConfigError: the file is locked, unreadable or no database, or the disk is full.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.OptunaError, sqlite3.Error) as error:
            raise ConfigError(f"{path}: {_reason(error)}") from None
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror or error}") from None


def _reason(error: BaseException) -> str:
    root: BaseException = error
    while (cause := getattr(root, "orig", None) or root.__cause__) is not None:
        root = cause
    text = " ".join(str(root).split())
    if "locked" in text:
        return "another program holds the database locked: let it end, or name another --study"
    if "full" in text or "disk I/O" in text:
        return f"cannot be written ({text}): earlier trials are kept; free space and start again"
    if "not a database" in text or "malformed" in text:
        return f"is not a study ({text})"
    if "readonly" in text or "unable to open" in text:
        return f"cannot be written: {text}"
    return text


def _storage(path: Path) -> optuna.storages.RDBStorage:
    url = sqlalchemy.URL.create("sqlite", database=str(path)).render_as_string(hide_password=False)
    return optuna.storages.RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _WAIT_FOR_LOCK_S}})


def _sampler(settings: Settings, begun: int) -> optuna.samplers.BaseSampler:
    """The sampler, seeded anew at every start: the same seed would draw the first points once more."""
    seed = int(np.random.SeedSequence([settings.seed, begun]).generate_state(1)[0])
    if settings.sampler == "gp":
        return optuna.samplers.GPSampler(seed=seed, n_startup_trials=STARTUP_TRIALS)
    return optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=STARTUP_TRIALS, multivariate=True, constant_liar=True
    )


def _pruner(settings: Settings) -> optuna.pruners.BasePruner:
    if settings.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=2)
    if settings.pruner == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=STARTUP_TRIALS // 2)
    return optuna.pruners.NopPruner()


def _suggest(trial: optuna.Trial, name: str, span: Range) -> Any:
    if isinstance(span, OneOf):
        return trial.suggest_categorical(name, [label(choice) for choice in span.choices])
    if isinstance(span, PowerOfTwo):
        return trial.suggest_int(name, span.low.bit_length() - 1, span.high.bit_length() - 1)
    if isinstance(span.low, int):
        return trial.suggest_int(name, span.low, int(span.high))
    return trial.suggest_float(name, span.low, span.high, log=getattr(span, "log", False))


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    """Parameters that a trial was put in line with, where it was cut off before it took them up."""
    return dict(trial.system_attrs.get("fixed_params", {}))


def _lock(path: Path) -> IO[str]:
    lock = open(path.with_name(f".{path.name}.lock"), "a")  # noqa: SIM115  held while the study is open
    if sys.platform != "win32":
        import fcntl

        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigError(f"{path}: another process is tuning in this study") from None
    return lock
