"""Moves the four folders into the package `attrib_sweeps` when a wheel is built (a build hook of hatchling).

`analysis`, `cluster`, `sweeps` and `attrib_core` at the top of everybody's site-packages would hide a user's own
modules of these names, or be hidden by them. So the wheel holds `attrib_sweeps.analysis` and so on. Absolute
imports, names of modules in strings, and commands in messages are rewritten in a copy; an editable install uses
the checkout as it is.
"""

import re
import runpy
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PACKAGE = "attrib_sweeps"
FOLDERS = ("attrib_core", "sweeps", "cluster", "analysis")
FRONT = Path("sweeps", "package", PACKAGE)
LEFT_OUT = shutil.ignore_patterns("__pycache__", "package", "hatch_build.py")
_ANY = "|".join(FOLDERS)
_IMPORT = re.compile(rf"^(\s*)(from|import) ({_ANY})\b", re.MULTILINE)
_MODULE_IN_STRING = re.compile(rf"""(["'])((?:{_ANY})(?:\.\w+)+)(:\w+)?\1""")


class MoveFolders(BuildHookInterface):  # type: ignore[type-arg]  # of a build's configuration, which it does not use
    """Adds the moved copy of the code to the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Write the copy to a temporary folder, unless the install is editable."""
        if version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory()
        moved = Path(self._folder.name, PACKAGE)
        move_folders(Path(self.root), moved)
        build_data["force_include"][str(moved)] = PACKAGE

    def finalize(self, version: str, _build_data: dict[str, Any], _artifact: str) -> None:
        """Remove the copy."""
        if version != "editable":
            self._folder.cleanup()


def move_folders(root: Path, target: Path) -> None:
    """Copy package and folders from a checkout to `target`, and rewrite what names them."""
    shutil.copytree(root / FRONT, target, ignore=LEFT_OUT)
    commands = _commands(root)
    for file in target.rglob("*.py"):
        _rewrite(file, _with_moved_imports)
    for folder in FOLDERS:
        shutil.copytree(root / folder, target / folder, ignore=LEFT_OUT)
        for file in (target / folder).rglob("*.py"):
            _rewrite(file, lambda text: _with_commands(_moved(text, root), commands))
        for file in (target / folder).rglob("*.html"):
            _rewrite(file, lambda text: _with_commands(text, commands))


def _rewrite(file: Path, change: Any) -> None:
    file.write_text(change(file.read_text(encoding="utf-8")), encoding="utf-8")


def _with_moved_imports(text: str) -> str:
    return _IMPORT.sub(rf"\1\2 {PACKAGE}.\3", text)


def _moved(text: str, root: Path) -> str:
    """Rewrite imports, and strings that are the name of a module, with or without `:attribute`."""

    def longer(found: re.Match[str]) -> str:
        quote, module, attribute = found.group(1), found.group(2), found.group(3) or ""
        path = root.joinpath(*module.split("."))
        is_module = path.is_dir() or path.with_suffix(".py").is_file()
        return f"{quote}{PACKAGE}.{module}{attribute}{quote}" if is_module else found.group()

    return _MODULE_IN_STRING.sub(longer, _with_moved_imports(text))


def _commands(root: Path) -> dict[str, str]:
    """Return the console command by the script or module that it runs."""
    table = runpy.run_path(str(root / FRONT / "commands.py"))["COMMANDS"]
    return {
        command.module.removesuffix(".__main__"): f"attrib-sweeps {name}" for name, command in table.items()
    }


def _with_commands(text: str, commands: dict[str, str]) -> str:
    """Put the console command where a message or a docstring gives the one of a checkout."""
    for module, command in sorted(commands.items(), key=lambda item: -len(item[0])):
        if re.fullmatch(r"sweeps\.\w+", module):
            script = module.removeprefix("sweeps.")
            text = re.sub(rf"(python )?(sweeps/)?\b{script}\.py\b", command, text)
        text = re.sub(rf"python -m {re.escape(module)}\b(?!\.)", command, text)
        text = text.replace(f"<code>{module}</code>", f"<code>{command}</code>")
    return text
