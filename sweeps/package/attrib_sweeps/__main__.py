"""`attrib-sweeps COMMAND ...`: the commands of the scripts and of the analysis, by one name each.

Exit status: that of the command, 0 for help, 2 for a user's mistake, 130 after Ctrl-C.
"""

import difflib
import importlib
import os
import sys
from collections.abc import Sequence

from attrib_sweeps import __version__
from attrib_sweeps.commands import COMMANDS, GROUPS, Command
from attrib_sweeps.place import full_name

PROGRAM = "attrib-sweeps"
USER_MISTAKE = 2
INTERRUPTED = 130
# Commands that do something useful when they are given nothing.
WITHOUT_ARGUMENTS = {"doctor"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status."""
    try:
        status = _dispatch(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # such as `| head`, which has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _dispatch(arguments: Sequence[str] | None) -> int:
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ("--help",)
    if name in ("-h", "--help", "help"):
        print(overview())
    elif name == "--version":
        print(f"{PROGRAM} {__version__}")
    elif name == "completion":
        return _completion(rest)
    elif name not in COMMANDS:
        return _unknown(name)
    elif not rest and name not in WITHOUT_ARGUMENTS:
        print(usage(name, COMMANDS[name]), file=sys.stderr)
        return USER_MISTAKE
    else:
        return run(name, rest)
    return 0


def run(name: str, arguments: Sequence[str]) -> int:
    """Run the module of a command, whose messages name the command as it was typed."""
    sys.argv = [PROGRAM, name, *arguments]
    command = COMMANDS[name]
    try:
        module = importlib.import_module(full_name(command.module))
        if command.module.startswith("analysis."):
            exit_status = importlib.import_module(full_name("analysis.command_line")).exit_status
            return int(exit_status(lambda: module.main(arguments)))
        return int(module.main(arguments))
    except KeyboardInterrupt:  # while torch or Ray were being imported
        print("Interrupted before any work started", file=sys.stderr)
        return INTERRUPTED


def overview() -> str:
    """Return the commands by group, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"usage: {PROGRAM} COMMAND ...", "", "Batch sweeps over image classifiers, on Ray."]
    for group, commands in GROUPS.items():
        lines += ["", f"{group}:"]
        lines += [f"  {name:<{width}}  {command.summary}" for name, command in commands.items()]
    return "\n".join(
        [
            *lines,
            "",
            f"{PROGRAM} COMMAND          two examples of a command",
            f"{PROGRAM} COMMAND --help   its options",
            f"{PROGRAM} completion bash  a script for the shell: bash or zsh",
        ]
    )


def usage(name: str, command: Command) -> str:
    """Return what a command is for, two examples of it, and where its options are listed."""
    return "\n".join(
        [
            command.summary,
            "",
            *(f"  {PROGRAM} {name} {example}" for example in command.examples),
            "",
            f"All options: {PROGRAM} {name} --help",
        ]
    )


def _completion(arguments: Sequence[str]) -> int:
    from attrib_sweeps.completion import SHELLS, script

    if len(arguments) != 1 or arguments[0] not in SHELLS:
        given = " ".join(arguments) or "nothing"
        print(f"error: completion: {given!r} is not accepted; accepted: {', '.join(SHELLS)}", file=sys.stderr)
        return USER_MISTAKE
    print(script(arguments[0]))
    return 0


def _unknown(name: str) -> int:
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"accepted: {', '.join(COMMANDS)}"
    print(f"error: unknown command {name!r}; {hint}", file=sys.stderr)
    return USER_MISTAKE


if __name__ == "__main__":
    sys.exit(main())
