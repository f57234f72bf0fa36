"""A run reduced to its policy: what deciding and judging need, without what only further training needs.

    run.yaml, provenance.json, result.json    as they were
    checkpoints/<steps>/                      weights and counters of the newest whole checkpoint

A run folder of up to twenty megabytes becomes one of some hundred kilobytes that every verb but
`train --resume` takes, and that can be put beside results so that they replay elsewhere.
"""

from __future__ import annotations

from pathlib import Path

from dvfo_agents.checkpoint import newest_saved, replace_file, write_checkpoint
from dvfo_agents.run_folder import PROVENANCE_FILE, RESULT_FILE, RUN_FILE, read_run_config
from dvfo_env.errors import CheckpointError

_DECIDES = ("weights.safetensors", "counters.json")


def keep_policy(run: Path, folder: Path) -> Path:
    """Write the policy of a run folder into `folder`, new or empty, and return it.

    Raises:
        CheckpointError: there is no run or no whole checkpoint, `folder` holds something already or cannot
            be written.
    """
    read_run_config(run)
    checkpoint = newest_saved(run, lambda line: None)
    try:
        if folder.exists() and any(folder.iterdir()):
            raise CheckpointError(f"{folder}: is not empty")
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: checkpoint.files[name] for name in _DECIDES}
        write_checkpoint(folder / "checkpoints", checkpoint.steps, files, checkpoint.versions)
        for name in (PROVENANCE_FILE, RESULT_FILE, RUN_FILE):
            if (run / name).exists():
                replace_file(folder / name, (run / name).read_bytes())
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written: {error.strerror or error}") from None
    return folder
