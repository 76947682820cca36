"""Ray Tune without its tables, logs and files: the run directory is the record."""

import contextlib
import logging
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial as TuneTrial

# Tune's own tables, result files and handling of Ctrl-C; it reads these when it starts.
_QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "RAY_AIR_NEW_OUTPUT": "0",
}


def run_tune(
    trainable: Any, space: dict[str, Any], config: tune.TuneConfig, report: tune.Callback, max_failures: int
) -> None:
    """Run all trials, each again up to `max_failures` times, and report to the callback."""
    with _quiet(), tempfile.TemporaryDirectory(prefix="tune-", ignore_cleanup_errors=True) as folder:
        tune.Tuner(
            trainable,
            param_space=space,
            tune_config=config,
            # What Tune keeps for itself may go with this command.
            run_config=tune.RunConfig(
                name="trials",
                storage_path=folder,
                verbose=0,
                callbacks=[report],
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=max_failures),
            ),
        ).fit()


def tracebacks(trial: TuneTrial) -> str:
    """Return the text of all failures of a trial, from this machine's file: Tune's storage has it only later."""
    text = Path(trial.error_file).read_text() if trial.error_file else "unknown"
    return re.sub(r"\x1b\[[0-9;]*m", "", text)  # Ray colours its tracebacks


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Turn off Tune's output and its handling of Ctrl-C while the block runs."""
    before = {name: os.environ.get(name) for name in _QUIET}
    logger = logging.getLogger("ray.tune")
    level = logger.level
    os.environ.update(_QUIET)
    logger.setLevel(logging.CRITICAL)  # errors reach the user as records and lines of this sweep's own
    try:
        yield
    finally:
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
