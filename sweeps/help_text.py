"""What `--help` prints: the options of a command in groups, at most 100 columns wide.

tyro puts all options of a model into one box: it groups only what is nested, which would change the names in YAML.
So an argparse parser describes the same fields. It reads nothing: tyro alone reads arguments.
"""

import argparse
import shutil
import sys
import types
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

MAX_WIDTH = 100
# What no group names belongs to the command itself, and stands first.
OWN = "this command"
GROUPS = {
    "the model": "model weights ensemble class_names mean std channels image_size input_scaling",
    "the images": "dataset data_root split train_split test_split panel_split images labels label_order "
    "image_column label_column boxes_column boxes_format",
    "the training": "epochs learning_rates learning_rate optimizer momentum weight_decay schedule warmup_steps "
    "loss horizontal_flip max_shift",
    "what is written, and how it runs": "output overwrite config plan num_workers gpus_per_worker "
    "threads_per_worker threads device precision address shard_size batch_size code seed max_attempts "
    "shard_timeout",
}
METAVARS = {str: "TEXT", int: "N", float: "X", Path: "PATH", bool: "{True,False}"}


def print_help_if_asked(
    kind: type[BaseModel], arguments: Sequence[str], *, program: str | None, default: BaseModel | None = None
) -> None:
    """End the process with status 0 after the help, if `-h` or `--help` is among the arguments.

    `program` is the name in the help, the script's own if it is None.
    """
    if {"-h", "--help"} & set(arguments):
        help_parser(kind, default=default, program=program or sys.argv[0]).print_help()
        raise SystemExit(0)


def help_parser(
    kind: type[BaseModel], *, program: str, default: BaseModel | None = None
) -> argparse.ArgumentParser:
    """Return a parser that describes the options of a model; `default` holds values that `--config` gave."""
    width = min(MAX_WIDTH, shutil.get_terminal_size().columns)
    parser = argparse.ArgumentParser(
        prog=program,
        usage="%(prog)s [OPTIONS]",
        description=(kind.__doc__ or "").replace("%", "%%"),
        formatter_class=partial(argparse.HelpFormatter, width=width, max_help_position=28),
        add_help=False,
    )
    for title, names in grouped(list(kind.model_fields)).items():
        group = parser.add_argument_group(title)
        for name in names:
            field = kind.model_fields[name]
            given = (
                field.get_default(call_default_factory=True) if default is None else getattr(default, name)
            )
            _describe(group, name, field, given)
    group.add_argument("-h", "--help", action="help", help="Print this and end.")
    return parser


def grouped(options: Sequence[str]) -> dict[str, list[str]]:
    """Return the options by the titles of their groups, without groups that would be empty."""
    named = {title: [name for name in names.split() if name in options] for title, names in GROUPS.items()}
    elsewhere = {name for names in named.values() for name in names}
    groups = {OWN: [name for name in options if name not in elsewhere], **named}
    return {title: names for title, names in groups.items() if names}


def _describe(group: Any, name: str, field: FieldInfo, value: Any) -> None:
    flag, text = f"--{name.replace('_', '-')}", (field.description or "").replace("%", "%%")
    if field.annotation is bool:
        is_on = " (default: on)" if value else ""
        action = "store_true" if flag.startswith("--no-") else argparse.BooleanOptionalAction
        group.add_argument(flag, action=action, default=argparse.SUPPRESS, help=text + is_on)
        return
    given = "" if value is None else f" (default: {f'{value:g}' if isinstance(value, float) else value})"
    group.add_argument(flag, metavar=_metavar(field.annotation), help=text + given.replace("%", "%%"))


def _metavar(kind: Any) -> str:
    """Return what stands for a value: `N` of `int | None`, `{a,b}` of `Literal["a", "b"]`."""
    if get_origin(kind) is Literal:
        return "{" + ",".join(map(str, get_args(kind))) + "}"
    if get_origin(kind) in (Union, types.UnionType):
        return "|".join(_metavar(each) for each in get_args(kind) if each is not type(None))
    return METAVARS[kind]
