"""The reference of the commands, from the parsers themselves, in place of `<!-- commands: sweeps -->`."""

import argparse
import importlib
import re
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

from attrib_sweeps.commands import COMMANDS
from pydantic import BaseModel
from sphinx.application import Sphinx

from sweeps.help_text import help_parser

PLACE = re.compile(r"<!-- commands: (\w+) -->")
COMMANDS_OF_COMMANDS = {"analysis.blind.__main__": [[], ["score"]]}


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _fill)
    return {"parallel_read_safe": True}


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    source[0] = PLACE.sub(lambda place: "\n\n".join(_sections(place[1])), source[0])


def _sections(folder: str) -> Iterator[str]:
    for module in modules(folder):
        for parser in parsers(module):
            yield section(module, parser)


def modules(folder: str) -> list[str]:
    """Return the modules of a folder that are commands."""
    return sorted(command.module for command in COMMANDS.values() if command.module.startswith(f"{folder}."))


def console_name(module: str) -> str:
    """Return the command of `attrib-sweeps` that runs a module."""
    return next(name for name, command in COMMANDS.items() if command.module == module)


def parsers(module: str) -> list[argparse.ArgumentParser]:
    """Return the parsers of a module's command, those of its own commands included."""
    command = importlib.import_module(module)
    program = f"attrib-sweeps {console_name(module)}"
    options = [
        each
        for each in vars(command).values()
        if isinstance(each, type) and issubclass(each, BaseModel) and each.__module__ == module
    ]
    if options:
        return [help_parser(options[0], program=program)]
    found = []
    for arguments in COMMANDS_OF_COMMANDS.get(module, [[]]):
        parser = _parser_of(command.main, arguments)
        parser.prog = " ".join([program, *arguments])
        found.append(parser)
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                for name, sub in action.choices.items():
                    sub.prog = f"{program} {name}"
                    found.append(sub)
    return found


class _FoundError(Exception):
    """Carries the parser out of a command that is about to read its arguments."""


def _parser_of(main: Callable[..., Any], arguments: list[str]) -> argparse.ArgumentParser:
    def stop(parser: argparse.ArgumentParser, *_given: Any) -> None:
        raise _FoundError(parser)

    with mock.patch.object(argparse.ArgumentParser, "parse_args", stop):
        try:
            main(arguments)
        except _FoundError as found:
            parser: argparse.ArgumentParser = found.args[0]
            return parser
    raise AssertionError(f"{main} has read no arguments")


def section(module: str, parser: argparse.ArgumentParser) -> str:
    """Return a command's part of the page, in Markdown."""
    lines = [f"### {parser.prog}", f"```{{program}} {parser.prog}\n```", f"Also: `{script(module, parser)}`."]
    lines.append(_escaped((parser.description or "").replace("%%", "%")))
    for group in parser._action_groups:
        actions = [each for each in group._group_actions if not _is_trivial(each)]
        if actions:
            lines += [f"**{(group.title or '').capitalize()}**", *(_option(parser, each) for each in actions)]
    return "\n\n".join(lines)


def script(module: str, parser: argparse.ArgumentParser) -> str:
    """Return the command in a copy of the repository."""
    name = module.removesuffix(".__main__")
    is_script = name.startswith("sweeps.") and name == module
    command = f"python {name.replace('.', '/')}.py" if is_script else f"python -m {name}"
    return " ".join([command, *parser.prog.split()[2:]])


def _is_trivial(action: argparse.Action) -> bool:
    return isinstance(action, argparse._HelpAction | argparse._SubParsersAction)


def _option(parser: argparse.ArgumentParser, action: argparse.Action) -> str:
    formatter = argparse.HelpFormatter(parser.prog)
    values = formatter._format_args(action, (action.dest or "").upper()) if action.nargs != 0 else ""
    flags = ", ".join(action.option_strings)
    text = formatter._expand_help(action) if action.help else ""
    return f":::{{option}} {' '.join(part for part in (flags, values) if part)}\n{_escaped(text)}\n:::"


def _escaped(text: str) -> str:
    """Return text in which Markdown finds nothing but code in backticks."""
    parts = text.split("`")
    return "`".join(
        re.sub(r"([*<\[\]])", r"\\\1", part) if i % 2 == 0 else part for i, part in enumerate(parts)
    )
