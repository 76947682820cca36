"""From a reference of a user's own code to the object that it names, and which code that is."""

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from modulefinder import ModuleFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from attrib_core.errors import in_one_line
from attrib_core.references import Reference, unknown
from attrib_core.user_code.snapshots import (
    Code,
    digest_of,
    extracted,
    is_from_elsewhere,
    take_file,
    taken_file,
    taken_folder,
)

_INSTALLED = ("site-packages", "dist-packages")
_NEIGHBOURS = "; a file travels alone, with --code its whole folder does"


@dataclass(frozen=True)
class Target:
    """What a reference names; `definition` says which code it is, in words that change with it."""

    value: Any
    definition: str


def is_code(reference: Reference) -> bool:
    """Return True for `FILE.py…`, `package.module:NAME`, and `module:NAME` of a module that can be found.

    Look up families such as `timm` first: their libraries are modules too.
    """
    name = reference.name
    if name.endswith(".py"):
        return True
    if not reference.rest or not all(word.isidentifier() for word in name.split(".")):
        return False
    folder = taken_folder()
    return (
        "." in name or (folder is not None and folder.path_of_module(name) is not None) or is_installed(name)
    )


def find_target(field: str, reference: Reference) -> Target:
    """Import what a reference names. Raises ValueError that names the field, the reference and what is wrong."""
    where = f"{field}={str(reference)!r}"
    if len(reference.rest) != 1:
        raise ValueError(f"{where}: accepted is {reference.name}:NAME, with a NAME in it")
    name, folder = reference.name, taken_folder()
    path = None
    if folder is not None:
        path = folder.path_of(name) if name.endswith(".py") else folder.path_of_module(name)
    if folder is not None and path is not None:
        module, definition = _folder_module(where, folder, path)
    elif name.endswith(".py"):
        module, definition = _file_module(where, _code_of_file(where, name))
    else:
        module, definition = _installed_module(where, name), package_version(name)
    return Target(_attribute(where, module, reference), definition)


def is_installed(module: str) -> bool:
    """Return True if a module can be found; it is not imported, its parents are."""
    return _spec(module) is not None


def package_version(module: str) -> str:
    """Return name and version of a module's package, or a digest of its files that the module needs."""
    top = module.partition(".")[0]
    words = []
    for package in _packages().get(top, ())[:1]:
        try:
            words.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            continue
    file = getattr(sys.modules.get(top), "__file__", None)
    if file is not None:
        root = Path(file).parents[1] if Path(file).name == "__init__.py" else Path(file).parent
        # A version stands for what pip has put in place, which is large; other modules are edited where they lie.
        needed = () if words and root.name in _INSTALLED else _imports(module, root, top)
        files = {each.relative_to(root).as_posix(): each.read_bytes() for each in needed}
        if files:
            words.append(f"SHA-256 {digest_of(files)[:16]}")
    return ", ".join(words) or module


def code_file(reference: Reference) -> str:
    """Return the name of the file that the code of a reference is in."""
    name = reference.name
    return Path(name).name if name.endswith(".py") else f"{name.rpartition('.')[2]}.py"


def failure(error: BaseException, file: str | None) -> str:
    """Return an error in a line, with the user's file and the line in it where it went through it."""
    line = None if file is None else failed_line(error, file)
    return f"{file}, line {line}: {in_one_line(error)}" if line else in_one_line(error)


def failed_line(error: BaseException, file: str) -> int | None:
    """Return the last line of a file of that name through which an error went."""
    if isinstance(error, SyntaxError):
        return error.lineno
    line, traceback = None, error.__traceback__
    while traceback is not None:
        if Path(traceback.tb_frame.f_code.co_filename).name == file:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def canonical(reference: Reference) -> Reference:
    """Return the reference as rows and other processes know it: a file by its name, without the path to it.

    A file of the folder keeps its path there. A file that is there is taken, so that the name alone finds it.
    """
    name, folder = reference.name, taken_folder()
    if not name.endswith(".py"):
        return reference
    if folder is not None and (inside := folder.path_of(name)) is not None:
        return Reference((inside, *reference.rest), reference.settings)
    path = Path(name).expanduser()
    if path.is_file() and not is_from_elsewhere(path.name):
        take_file(path)
    return Reference((path.name, *reference.rest), reference.settings)


def _code_of_file(where: str, name: str) -> Code:
    path = Path(name).expanduser()
    known = taken_file(path.name)
    if known is not None and is_from_elsewhere(path.name):  # a worker's folder may hold another of that name
        return known
    if path.is_file():
        return take_file(path)
    if known is not None:
        return known
    near = [each.name for each in path.parent.glob("*.py")] if path.parent.is_dir() else []
    raise ValueError(f"{where}: {unknown('file', path.name, near)}")


def _file_module(where: str, code: Code) -> tuple[ModuleType, str]:
    """Return the module of a single file under a name of its own, imported once in this process."""
    name = f"attrib_user_{Path(code.name).stem}_{code.digest[:16]}"
    definition = f"SHA-256 {code.digest[:16]}"
    if name in sys.modules:
        return sys.modules[name], definition
    spec = importlib.util.spec_from_file_location(name, extracted(code) / code.name)
    assert spec is not None, code.name
    assert spec.loader is not None, code.name
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _failure(where, code.name, error, _NEIGHBOURS) from error
    return module, definition


def _folder_module(where: str, code: Code, path: str) -> tuple[ModuleType, str]:
    """Return a module of the folder under its plain name, by which the folder's others import it."""
    folder = extracted(code)
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
        importlib.invalidate_caches()
    name = path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failure(where, path, error) from error
    file = str(getattr(module, "__file__", None))
    if not file.startswith(str(folder)):
        raise ValueError(
            f"{where}: the name {name} is already that of {file}; accepted is a file with a name of its own"
        )
    return module, f"SHA-256 {digest_of(_needed(code, name))[:16]}"


def _needed(code: Code, module: str) -> dict[str, bytes]:
    """Return the folder's files that a module can import, and all that are no Python: any may read those."""
    folder = extracted(code)
    used = {file.relative_to(folder).as_posix() for file in _imports_in_snapshot(module, folder)}
    return {name: data for name, data in code.files.items() if name in used or not name.endswith(".py")}


def _imports(module: str, folder: Path, package: str | None = None) -> set[Path]:
    """Return the files below a folder, or of one package there, that a module can import, its own among them.

    They are found by reading the code. Where one of them imports by a name that is computed, it may be any file.
    """
    finder = _Finder(folder, package)
    finder.import_hook(module)
    named = [getattr(each, "__file__", None) for each in finder.modules.values()]
    files = {Path(name) for name in named if name is not None and Path(name).is_relative_to(folder)}
    if any(word in file.read_bytes() for file in files for word in (b"import_module", b"__import__")):
        return set((folder / (package or "")).rglob("*.py"))
    return files


@cache  # a snapshot does not change
def _imports_in_snapshot(module: str, folder: Path) -> set[Path]:
    return _imports(module, folder)


class _Finder(ModuleFinder):
    """Follows imports within a folder, or within one package there; it reads Python files and runs none."""

    def __init__(self, folder: Path, package: str | None) -> None:
        super().__init__(path=[str(folder)])
        self._package = package

    def find_module(self, name: str, path: Any, parent: Any = None) -> Any:
        if self._package is not None and path is None and name != self._package:
            raise ImportError(name)
        return super().find_module(name, path, parent)


def _installed_module(where: str, name: str) -> ModuleType:
    if not is_installed(name):
        raise ValueError(
            f"{where}: no module {name!r} is installed; accepted are modules of installed packages and of the "
            "folder --code, and FILE.py"
        )
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise _failure(where, name, error) from error


def _failure(where: str, file: str, error: BaseException, advice: str = "") -> ValueError:
    line = failed_line(error, Path(file).name)
    place = f"{file}, line {line}," if line else file
    advice = advice if isinstance(error, ModuleNotFoundError) else ""
    return ValueError(f"{where}: {place} cannot be imported: {in_one_line(error)}{advice}")


def _attribute(where: str, module: ModuleType, reference: Reference) -> Any:
    found: Any = module
    for word in reference.rest[0].split("."):
        if not hasattr(found, word):
            public = [each for each in vars(found) if not each.startswith("_")]
            raise ValueError(f"{where}: {reference.name} has {unknown('name', word, public)}")
        found = getattr(found, word)
    return found


@cache  # it reads the metadata of every package: a second
def _packages() -> Mapping[str, list[str]]:
    return packages_distributions()


def _spec(name: str) -> ModuleSpec | None:
    try:
        return importlib.util.find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None
