"""Search for an agent's hyper-parameters with Optuna; one SQLite file per study, resumable.

Examples:
    dvfo tune ppo --trials 40 --seconds 60         40 trials of 60 s of processor time on the default scenario
    dvfo tune ppo --study my.db --trials 80        go on: 80 trials in all; a kill loses only what ran
    dvfo tune sac --scenario default tx2-vgg19-lte-driving     the mean score over two scenarios
    dvfo tune show --study my.db                   best trials, importance of parameters, the shipped one
    dvfo tune export --study my.db --out mine.yaml     then: dvfo train --agent mine.yaml
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dvfo_agents.arguments import at_least
from dvfo_cli.output import number, print_json, print_note, print_table

if TYPE_CHECKING:
    from dvfo_agents.config import AgentConfig
    from dvfo_agents.tune.study import StudyFile

_NEW = {"seconds": 60.0, "sampler": "tpe", "pruner": "halving", "seed": 0}
_TRIALS = 20
_OTHERS = 3  # trials beside the configuration given, in a terminal's width
#: Which options go with which command; the others are refused.
_OPTIONS = {
    "show": {"study", "json"},
    "export": {"study", "out", "json"},
    "AGENT": {"study", "scenario", "trials", "workers", "json", *_NEW},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `dvfo tune`; None stands for what was not given."""
    parser.add_argument("what", metavar="AGENT|show|export", help="shipped agent or .yaml file; or a command")
    parser.add_argument(
        "--study",
        type=Path,
        metavar="FILE.db",
        help="SQLite file; default: studies/AGENT-SCENARIO.db in the user's data folder",
    )
    search = parser.add_argument_group("search; for a study that goes on, what is left out stays as it was")
    search.add_argument("--scenario", nargs="+", metavar="NAME|FILE", help="default: default")
    search.add_argument(
        "--trials",
        type=at_least(int, 1),
        metavar="N",
        help=f"trials in all, earlier ones too; default: {_TRIALS}",
    )
    search.add_argument(
        "--seconds",
        type=at_least(float, 0.1),
        metavar="S",
        help="processor time of a trial on each scenario; default: 60",
    )
    search.add_argument(
        "--workers", type=at_least(int, 1), metavar="W", help="trials at a time, one thread each; default: 1"
    )
    search.add_argument("--sampler", choices=("tpe", "gp"), help="who proposes; default: tpe")
    search.add_argument(
        "--pruner", choices=("halving", "median", "none"), help="who stops poor trials; default: halving"
    )
    search.add_argument(
        "--seed", type=at_least(int, 0), metavar="N", help="of draws and training; default: 0"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.yaml", help="for export: the agent file to write")
    parser.add_argument("--json", action="store_true", default=None, help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Search, show or export."""
    what: str = arguments.what
    _check_options(arguments)
    if what == "show":
        return _show(arguments)
    if what == "export":
        return _export(arguments)
    return _search(arguments)


def _search(arguments: argparse.Namespace) -> int:
    from dvfo_agents.tune.search import search
    from dvfo_agents.tune.summary import summary
    from dvfo_cli.tune_progress import TuneProgress

    path = _path(arguments)
    with TuneProgress() as progress, _opened(path, arguments, progress.say) as file:
        trials = arguments.trials or max(_TRIALS, len(file.finished()))
        try:
            search(file, trials, arguments.workers or 1, progress)
        except KeyboardInterrupt:
            again = shlex.join(
                ["dvfo", "tune", arguments.what, "--study", str(path), "--trials", str(trials)]
            )
            progress.say(f"stopped; finished trials are kept; to go on: {again}")
            return 130
        about = summary(file)
    _print(about, arguments)
    return 0


def _opened(path: Path, arguments: argparse.Namespace, say: Callable[[str], None]) -> StudyFile:
    """The study, taken up where it is or begun.

    Raises:
        ConfigError: agent or scenario do not exist, or the study is another one than the arguments say.
    """
    from dvfo_agents.config import load_agent_config, parse_agent_config
    from dvfo_agents.tune.settings import new_settings
    from dvfo_agents.tune.study import StudyFile
    from dvfo_env.errors import DvfoError

    config = load_agent_config(arguments.what)
    if not path.exists():
        say(f"new study: {path}")
        chosen = {name: _given(arguments, name, default) for name, default in _NEW.items()}
        names = arguments.scenario or ["default"]
        return StudyFile.create(path, new_settings(arguments.what, names, progress=say, **chosen))
    file = StudyFile.open(path, write=True)
    try:
        _check_same(file, arguments, config)
    except DvfoError:
        file.close()
        raise
    if config != parse_agent_config(file.settings.config, where=str(path)):
        say(f"{path}: goes on from the configuration it began with; {arguments.what} has changed since")
    say(f"going on with {path}: {len(file.finished())} trials are finished")
    return file


def _check_same(file: StudyFile, arguments: argparse.Namespace, config: AgentConfig) -> None:
    """Compare what the arguments say with what the study began with.

    Raises:
        ConfigError: names the first difference.
    """
    from dvfo_env.scenario import load_scenario

    path, settings = file.path, file.settings
    _must_be(path, "agent", Path(arguments.what).stem, settings.agent)
    _must_be(path, "algorithm", config.algorithm, settings.config["algorithm"])
    if arguments.scenario:
        names = [load_scenario(name).name for name in arguments.scenario]
        _must_be(path, "scenario", names, [arena.scenario.name for arena in settings.arenas])
    for name in _NEW:
        stored = getattr(settings, name)
        _must_be(path, f"--{name}", _given(arguments, name, stored), stored)
    settings.check_tables()


def _must_be(path: Path, what: str, given: Any, stored: Any) -> None:
    from dvfo_env.errors import ConfigError

    if given != stored:
        words = [", ".join(each) if isinstance(each, list) else str(each) for each in (stored, given)]
        raise ConfigError(f"{path}: is a study with {what} {words[0]}, not {words[1]}: name another --study")


def _show(arguments: argparse.Namespace) -> int:
    from dvfo_agents.tune.study import StudyFile
    from dvfo_agents.tune.summary import summary

    with StudyFile.open(_path(arguments), write=False) as file:
        about = summary(file)
    _print(about, arguments)
    return 0


def _export(arguments: argparse.Namespace) -> int:
    from dvfo_agents.tune.study import StudyFile
    from dvfo_agents.tune.summary import export
    from dvfo_env.errors import ConfigError

    if arguments.out is None:
        raise ConfigError("--out: name the .yaml file to write")
    if arguments.out.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out: {arguments.out} does not end in .yaml, so that train would not read it")
    with StudyFile.open(_path(arguments), write=False) as file:
        about = export(file, arguments.out)
    if arguments.json:
        print_json({**about, "out": str(arguments.out)})
    else:
        best = about["trials"][0]
        print_note(f"{arguments.out}: trial {best['trial']}, score {best['score']:.3f}")
    return 0


def _print(about: dict[str, Any], arguments: argparse.Namespace) -> None:
    """Parameters in rows by importance, the configuration set out from and the best trials in columns."""
    if arguments.json:
        print_json(about)
        return
    counts, shipped = about["counts"], about["shipped"]
    print_note(
        f"{about['study']}: {counts['complete']} trials complete, {counts['stopped']} stopped early, "
        f"{counts['failed']} failed; {about['seconds']:g} s of processor time a trial and scenario"
    )
    others = [*(trial for trial in about["trials"] if not trial["shipped"]), *about["stopped"]]
    columns = ([] if shipped is None else [shipped]) + others[:_OTHERS]
    if not columns:
        print_note("no trial is complete yet")
        return
    heads = ["as given" if trial["shipped"] else f"trial {trial['trial']}" for trial in columns]
    after = [f"{100 * trial.get('after_share', 1.0):.0f} %" for trial in columns]
    share = about["importance"]
    names = sorted(columns[0]["values"], key=lambda name: -share.get(name, 0.0))
    rows: list[tuple[object, ...]] = [
        ("score", None, *(f"{t['score']:.3f}" for t in columns)),
        ("after share of the budget", None, *after),
    ]
    for scenario in about["scenarios"]:
        rows.append((f"cost, {scenario}", None, *(f"{t['costs'][scenario]:.4f}" for t in columns)))
    rows.append(("million steps", None, *(f"{t['steps'] / 1e6:.2f}" for t in columns)))
    for name in names:
        importance = f"{100 * share[name]:.0f} %" if name in share else None
        rows.append((name, importance, *(_value(t["values"][name]) for t in columns)))
    print_table(("", "importance", *heads), rows)
    for line in _notes(about):
        print_note(line)


def _notes(about: dict[str, Any]) -> list[str]:
    shipped, complete = about["shipped"], about["counts"]["complete"]
    lines = ["score: mean over the scenarios on validation episodes; 0 = best fixed action, 1 = bound"]
    if shipped is None:
        lines.append("the configuration given is not done yet")
    elif shipped["rank"] == 1:
        lines.append(f"the configuration given is the best of {complete} complete trials")
    else:
        lines.append(
            f"the configuration given is number {shipped['rank']} of {complete} complete trials, "
            f"{about['behind']:.3f} behind; each trained once: seeds alone move scores too"
        )
    for trial in about["stopped"][:_OTHERS]:
        if trial["shipped_score"] is not None:
            lines.append(
                f"trial {trial['trial']} was stopped after {100 * trial['after_share']:.0f} % of the budget: "
                f"{trial['score']:.3f}, where the configuration given had {trial['shipped_score']:.3f}"
            )
    if about["importance"]:
        lines.append(
            f"importance: share of the score's variation over the {about['importance_trials']} trials that "
            f"had {100 * about['importance_after_share']:.0f} % of the budget (PED-ANOVA)"
        )
    return lines


def _value(value: object) -> str:
    if isinstance(value, list):
        return "-".join(map(str, value))
    return number(float(value)) if isinstance(value, int | float) else str(value)


def _path(arguments: argparse.Namespace) -> Path:
    """The study's file.

    Raises:
        ConfigError: none is named, and for `show` and `export` it does not follow from the agent.
    """
    from dvfo_env.errors import ConfigError
    from dvfo_env.user_data import user_data_folder

    if arguments.study is not None:
        path: Path = arguments.study
        return path
    folder = user_data_folder() / "studies"
    if arguments.what in ("show", "export"):
        known = ", ".join(str(file) for file in sorted(folder.glob("*.db"))) or f"none in {folder}"
        raise ConfigError(f"--study: name the file; there are: {known}")
    scenarios = [Path(name).stem for name in arguments.scenario or ["default"]]
    return folder / f"{'-'.join((Path(arguments.what).stem, *scenarios))}.db"


def _check_options(arguments: argparse.Namespace) -> None:
    from dvfo_env.errors import ConfigError

    legal = _OPTIONS.get(arguments.what, _OPTIONS["AGENT"])
    for name, value in vars(arguments).items():
        if name != "what" and value is not None and name not in legal:
            raise ConfigError(f"--{name}: does not go with dvfo tune {arguments.what}")


def _given(arguments: argparse.Namespace, name: str, default: Any) -> Any:
    value = getattr(arguments, name)
    return default if value is None else value
