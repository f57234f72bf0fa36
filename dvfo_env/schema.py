"""How every data file is read: YAML through a frozen, strict schema, with errors that name file and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from dvfo_env.errors import ConfigError

Evidence = Literal["measured", "fitted", "assumed"]

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Record(BaseModel):
    """Base of every schema here: immutable, unknown keys refused, no NaN or infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Coefficient(Record):
    """One number with where it comes from.

    `error_percent` is the mean absolute percentage error of the fit it belongs to (in sample),
    `holdout_error_percent` the same on measurements the fit has not seen.
    """

    value: float
    unit: str
    evidence: Evidence
    source: str
    error_percent: float | None = None
    holdout_error_percent: float | None = None
    range: tuple[float, float] | None = None
    note: str | None = None


RecordType = TypeVar("RecordType", bound=Record)


def load_yaml(path: Path | str, model: type[RecordType]) -> RecordType:
    """Read one YAML file into `model`.

    Raises:
        ConfigError: the file is missing, is not YAML, or does not fit the schema; one line, naming file and
        field.
    """
    return parse_record(read_yaml(path), model, where=str(path))


def read_yaml(path: Path | str) -> Any:
    """Read one YAML file with the safe loader.

    Raises:
        ConfigError: the file is missing, unreadable or not YAML.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(f"{path}: {line}not valid YAML: {getattr(error, 'problem', error)}") from None


def parse_record(data: Any, model: type[RecordType], where: str) -> RecordType:
    """Validate plain data against `model`; `where` names its origin in errors.

    Raises:
        ConfigError: with the first field that does not fit, what was found and what was expected.
    """
    if not isinstance(data, dict):
        raise ConfigError(f"{where}: expected a mapping of keys to values, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = problems[0]
        field = ".".join(str(part) for part in first["loc"]) or "(top level)"
        found = "" if first["type"] in ("missing", "extra_forbidden") else f" (found {first['input']!r:.80})"
        reason = {"extra_forbidden": "unknown key", "missing": "is missing"}.get(first["type"], first["msg"])
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{where}: {field}: {reason}{found}{more}") from None
