"""The command line that all sweeps share: options, YAML, and what becomes of a mistake.

Options are pydantic models, so that the command line (tyro) and `--config FILE` (YAML) accept the same names
and refuse the same mistakes. The command line wins over the file.
"""

import argparse
import os
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Self, TypeVar

import tyro
import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    field_validator,
    model_validator,
)

from attrib_core.devices import without_gpus
from attrib_core.execution import Precision
from attrib_core.references import reference_text
from attrib_core.user_code import take_folder
from sweeps.help_text import print_help_if_asked
from sweeps.notices.registry import check_notices
from sweeps.store.terminal_text import terminal_text

CONSOLE = "attrib-sweeps"  # the first word of `sys.argv` where a sweep is not started as a script
INTERRUPTED = 130
USER_MISTAKE = 2


def output_field(sweep: str) -> Any:
    """Return the option --output: a folder of the sweep's name in `runs`, or where ATTRIB_SWEEPS_RUNS says."""
    return Field(
        default_factory=partial(default_output, sweep),
        description="Run directory: a path, s3://, gs:// or az://.",
    )


def default_output(sweep: str) -> str:
    """Return the run directory of a sweep whose user names none."""
    return f"{(_environment('RUNS') or 'runs').rstrip('/')}/{sweep}"


def _environment(name: str) -> str | None:
    """Return what a cluster's configuration says for an option that the command leaves out."""
    return os.environ.get(f"ATTRIB_SWEEPS_{name}") or None


class RefusedOptionsError(Exception):
    """Values that the options do not take. No ValueError: pydantic and tyro would wrap one in their own."""


class SweepOptions(BaseModel):
    """Options of every sweep; RefusedOptionsError names each field that cannot be as it is given."""

    # YAML reads `seeds: 3` as a number.
    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    output: str = Field(description="Run directory: a path, s3://, gs:// or az://.")
    config: Path | None = Field(None, description="YAML file with these same names; the command line wins.")
    plan: bool = Field(False, description="Print configuration, shards, cells, bytes and time; do nothing.")
    # A cluster that scales with demand has no GPUs yet when a sweep asks how many there are.
    num_workers: int | None = Field(
        default_factory=partial(_environment, "NUM_WORKERS"),
        validate_default=True,
        ge=1,
        description="Actors; ATTRIB_SWEEPS_NUM_WORKERS, else the GPUs of the cluster, else its cores.",
    )
    gpus_per_worker: float | None = Field(
        default_factory=partial(_environment, "GPUS_PER_WORKER"),
        validate_default=True,
        ge=0,
        description="May be a fraction; ATTRIB_SWEEPS_GPUS_PER_WORKER, else 1 if there are GPUs, else 0.",
    )
    threads_per_worker: int | None = Field(None, ge=1, description="CPU threads of torch; cores / workers.")
    precision: Precision = Field("float32", description="Arithmetic of the passes; float32 is IEEE's.")
    address: str | None = Field(None, description="Ray address, or `local`; the cluster if there is one.")
    shard_size: int | None = Field(None, ge=1, description="Cells a shard.")
    batch_size: int | None = Field(
        None,
        ge=1,
        description="Images a forward pass, rounded up to a multiple of four; by device and size if not given.",
    )
    code: Path | None = Field(
        None, description="Folder of your own modules, which goes to every worker; references name them."
    )
    seed: int = Field(0, ge=0, description="The sweep's seed, part of the key of every random number.")
    max_attempts: int = Field(3, ge=1, description="Tries of a shard before it is quarantined.")
    shard_timeout: float | None = Field(
        None, gt=0, description="Seconds a worker may take for one shard before it counts as hung; no limit."
    )
    notify: str = Field(
        "none",
        description="Trackers that are told of progress and rates while it runs: `tensorboard`, "
        "`mlflow:tracking_uri=URI`, `wandb:mode=offline`, with settings of their own; see docs/sweeps.md.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _lists_as_strings(cls, value: Any) -> Any:
        """Turn YAML's `classes: [0, 291]` into `0,291`, and `{use: pgd, num_steps: 40}` into a reference."""
        elements = value if isinstance(value, list) else [value]
        if not any(isinstance(element, list | dict) for element in [value, *elements]):
            return value
        return ",".join(
            reference_text(element) if isinstance(element, dict) else str(element) for element in elements
        )

    @model_validator(mode="wrap")
    @classmethod
    def _refuse_in_one_line(cls, values: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        try:
            return handler(values)
        except ValidationError as error:
            raise RefusedOptionsError("; ".join(_describe(problem) for problem in error.errors())) from None


Options = TypeVar("Options", bound=SweepOptions)


def parse_options(kind: type[Options], arguments: Sequence[str]) -> Options:
    """Return the options: the arguments win over `--config`, which wins over the defaults.

    Unknown options end the process with status 2 (tyro); wrong values and YAML mistakes are ValueErrors that
    name the field, the value and what would be accepted.
    """
    file = _config_file(arguments)
    try:
        default = kind(**(_read_yaml(file) if file is not None else {}))
        print_help_if_asked(kind, arguments, program=program(), default=default)
        # tyro builds the model anew from the default and the arguments, so that both are validated.
        return tyro.cli(kind, prog=program(), args=list(arguments), default=default)
    except RefusedOptionsError as error:
        raise ValueError(str(error)) from None


def run_command(
    kind: type[Options], run: Callable[[Options], int], arguments: Sequence[str] | None = None
) -> int:
    """Parse the options, run the sweep and return the exit status.

    A ValueError is a user's mistake: one message on stderr, status 2. Work that has started turns its own
    failures into quarantined shards, so a ValueError cannot come from there.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        options = parse_options(kind, sys.argv[1:] if arguments is None else arguments)
        check_notices(options.notify, options.output)
        if options.code is not None:
            take_folder(options.code)
        # Also from the driver's own passes, such as a warm-up.
        with without_gpus() if options.gpus_per_worker == 0 else nullcontext():
            return run(options)
    except ValueError as error:
        print(terminal_text(f"error: {error}"), file=sys.stderr)
        return USER_MISTAKE
    except KeyboardInterrupt:
        print(f"Interrupted before any work started. {same_command()}", file=sys.stderr)
        return INTERRUPTED


def same_command() -> str:
    """Return the sentence that tells the user how to continue."""
    typed = sys.argv if _is_console_command() else ["python", *sys.argv]
    return f"The same command continues: {shlex.join(typed)}"


def typed_options() -> list[str]:
    """Return what was typed behind the script's name, or behind `attrib-sweeps COMMAND`."""
    return sys.argv[2:] if _is_console_command() else sys.argv[1:]


def _is_console_command() -> bool:
    return sys.argv[0] == CONSOLE


def program() -> str | None:
    """Return the name in the help of a console command, `attrib-sweeps COMMAND`; None for a script's own."""
    return " ".join(sys.argv[:2]) if _is_console_command() else None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """Treat SIGTERM, by which a scheduler ends a job, as Ctrl-C."""
    raise KeyboardInterrupt


def _config_file(arguments: Sequence[str]) -> Path | None:
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    finder.add_argument("--config", type=Path)
    try:
        file: Path | None = finder.parse_known_args(list(arguments))[0].config
    except argparse.ArgumentError:  # no value: tyro says so
        return None
    return file


def _read_yaml(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(file.read_text())
    except OSError as error:
        raise ValueError(f"--config: cannot read {file}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"--config: {file} is not YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise ValueError(
            f"--config: {file} holds a {type(content).__name__}; accepted: `option: value` lines"
        )
    return {str(name).replace("-", "_"): value for name, value in content.items()}


def _describe(problem: Any) -> str:
    field = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        return f"unknown option {field!r} in the YAML file"
    if problem["type"] == "missing":
        return f"{field}: a value is required"
    return f"{field}: {problem['input']!r} is not accepted: {problem['msg']}"
