"""Completion for a shell: commands, and the options of each as its own `--help` lists them.

The script is written once and read by the shell, since importing torch at every press of Tab would take seconds.
"""

import contextlib
import io
import re

from attrib_sweeps.commands import COMMANDS

SHELLS = ("bash", "zsh")
# Words that come after a command and are no options.
SUBCOMMANDS = {"store": ("status", "verify", "gc", "export-webdataset"), "blind": ("score",)}
_OPTION = re.compile(r"(?<![\w-])--[a-z][\w-]*")
_BASH = """\
_attrib_sweeps() {{
    local words=""
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    else
        case "${{COMP_WORDS[1]}}" in
{cases}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _attrib_sweeps attrib-sweeps"""


def script(shell: str) -> str:
    """Return the script of a shell in `SHELLS`; zsh runs the one for bash."""
    words = {name: [*SUBCOMMANDS.get(name, ()), *options(name)] for name in COMMANDS} | {"completion": SHELLS}
    cases = "\n".join(f'            {name}) words="{" ".join(each)}" ;;' for name, each in words.items())
    bash = _BASH.format(commands=" ".join([*COMMANDS, "completion"]), cases=cases)
    return bash if shell == "bash" else f"autoload -U +X bashcompinit && bashcompinit\n{bash}"


def options(name: str) -> list[str]:
    """Return the options of a command in the order of its help."""
    from attrib_sweeps.__main__ import run

    text = io.StringIO()
    with contextlib.redirect_stdout(text), contextlib.suppress(SystemExit):
        run(name, ["--help"])
    usage = re.split(r"\n\s*\n", text.getvalue(), maxsplit=1)[-1]
    return list(dict.fromkeys(_OPTION.findall(usage)))
