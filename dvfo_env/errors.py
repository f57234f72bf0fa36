"""The exceptions users can meet, one small tree.

    DvfoError
    ├── ConfigError        a scenario, profile, card or agent file says something impossible
    ├── MeasurementError   raw measurements cannot be read, or are too few or degenerate to fit
    ├── TraceError         a bandwidth trace has gaps, negative rates, or no samples
    ├── ActionError        an action is NaN, out of range or of the wrong shape
    ├── CodecError         bytes are malformed or do not fit their calibration, or a coder is missing
    ├── CheckpointError    a run folder or checkpoint is missing, torn or of another format
    ├── DataError          images or weights are missing, unreadable or not the ones they should be
    ├── BoardError         a clock, sensor or saved setting of this machine cannot be read, set or put back
    ├── BundleError        a policy bundle was altered, is cut short, of another format or cannot be made
    ├── SplitError         a model cannot be cut, a plan does not fit it, or a server cannot be used
    └── ResultsError       a results file cannot be read or does not replay

Every message is one line: where (file and field), what was found, what would be right.
"""

from __future__ import annotations


class DvfoError(Exception):
    """Base of every error that this project raises on purpose; the command line prints it as one line."""


class ConfigError(DvfoError):
    """Raised when a scenario, profile, card or agent configuration cannot be used as written."""


class MeasurementError(DvfoError):
    """Raised when raw measurements are missing, unreadable, too few or degenerate."""


class TraceError(DvfoError):
    """Raised when a bandwidth trace has gaps, negative rates or no samples."""


class ActionError(DvfoError):
    """Raised when an action is not finite, out of range or of the wrong shape."""


class CodecError(DvfoError):
    """Raised when encoded bytes are malformed or do not fit their calibration, or a coder is missing."""


class CheckpointError(DvfoError):
    """Raised when a checkpoint or run folder is missing, torn, tampered with or of an unknown format."""


class ResultsError(DvfoError):
    """Raised when a results file cannot be read or a row in it does not replay."""


class BundleError(DvfoError):
    """Raised when a policy bundle was altered, is incomplete, of another format, or cannot be made."""


class DataError(DvfoError):
    """Raised when images or weights are missing, unreadable, or have another hash than they should."""


class BoardError(DvfoError):
    """Raised when a clock, sensor or saved setting of this machine cannot be read, set or put back."""


class SplitError(DvfoError):
    """Raised when a model cannot be cut, a split plan does not fit it, or server and device disagree."""
