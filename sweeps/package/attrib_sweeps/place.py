"""Where the code lies: at the top of a checkout, or inside this package once a wheel is installed.

`attrib_sweeps.analysis.load` names the same module in both places, so that a program of the user's runs in both.
"""

import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import InspectLoader, Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType, ModuleType

PACKAGE = "attrib_sweeps"
_FOLDERS = ("attrib_core", "sweeps", "cluster", "analysis")


def full_name(module: str) -> str:
    """Return the name by which a module of the four folders is imported here, from its name in a checkout."""
    return f"{PACKAGE}.{module}" if _in_wheel() else module


def join_checkout() -> None:
    """Let the names that modules have in the wheel lead to the modules of a checkout, where this is one."""
    if not _in_wheel() and not any(isinstance(finder, _CheckoutFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _CheckoutFinder())


def _in_wheel() -> bool:
    return (Path(__file__).parent / "attrib_core").is_dir()


class _CheckoutFinder(MetaPathFinder):
    """Finds `attrib_sweeps.analysis.load`, which is the module `analysis.load`, and not a second copy of it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        package, _, module = fullname.partition(".")
        if package != PACKAGE or module.partition(".")[0] not in _FOLDERS:
            return None
        own = importlib.util.find_spec(module)
        if own is None:
            return None
        is_package = own.submodule_search_locations is not None
        return ModuleSpec(fullname, _SameModule(module), origin=own.origin, is_package=is_package)


class _SameModule(Loader):
    """Imports a module by its own name; the import system may not mark it as another."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._own_spec = module.__spec__
        return module

    def get_code(self, name: str) -> CodeType | None:
        """Return the code of a module that is run: `python -m attrib_sweeps.analysis.report`."""
        own = importlib.util.find_spec(self._name)
        return own.loader.get_code(self._name) if own and isinstance(own.loader, InspectLoader) else None

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._own_spec
