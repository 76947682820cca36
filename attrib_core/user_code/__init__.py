"""Code that users bring: files, a folder, installed packages; it travels to every process that runs it."""

from attrib_core.user_code.kept import kept_with_code
from attrib_core.user_code.snapshots import Code, forget, install, state_of_code, take_folder, taken
from attrib_core.user_code.targets import Target, canonical, code_file, failure, find_target, is_code

__all__ = [
    "Code",
    "Target",
    "canonical",
    "code_file",
    "failure",
    "find_target",
    "forget",
    "install",
    "is_code",
    "kept_with_code",
    "state_of_code",
    "take_folder",
    "taken",
]
