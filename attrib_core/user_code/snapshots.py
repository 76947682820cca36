"""Snapshots of a user's own code: a file or a folder, taken as it is when a command starts.

The driver takes what its user named; `taken()` goes to the workers, which `install` it. Every process, the driver
too, imports the snapshot from a private folder of its own. Nothing else fills the table, so that no file of
results, tape or weights can make anybody import anything.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from attrib_core.user_code.private_folder import private_folder

LARGEST_FOLDER = 32 * 2**20  # bytes; it goes to every worker
SKIPPED = {"__pycache__", "node_modules", "venv"}  # and everything hidden


@dataclass(frozen=True)
class Code:
    """A snapshot of a file, or of a folder: its files' bytes by relative path."""

    name: str  # that of the file or the folder
    files: Mapping[str, bytes]
    is_folder: bool

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the paths and the bytes, as hexadecimal."""
        return digest_of(self.files)

    def path_of(self, file: str) -> str | None:
        """Return the path in the folder of a file named from there, or from the folder's parent."""
        path = PurePosixPath(file).as_posix()
        options = (path, path.removeprefix(f"{self.name}/"))
        return next((each for each in options if each in self.files), None)

    def path_of_module(self, module: str) -> str | None:
        """Return the path in the folder of a module's file."""
        path = module.replace(".", "/")
        return next((each for each in (f"{path}.py", f"{path}/__init__.py") if each in self.files), None)


_TAKEN: dict[str, Code] = {}
_READ_FROM: dict[str, Path] = {}  # the files that this process took itself, by name
_EXTRACTED: dict[str, Path] = {}


def take_folder(folder: Path) -> None:
    """Take a snapshot of a folder, whose modules references can name and import from each other.

    Raises ValueError for a folder that is not there, is larger than a worker should get, or has no Python.
    """
    folder = folder.expanduser()
    if not folder.is_dir():
        raise ValueError(f"code={str(folder)!r}: no such folder; accepted is a folder with Python files")
    paths = list(_files(folder))
    if (size := sum(path.stat().st_size for path in paths)) > LARGEST_FOLDER:
        largest = max(paths, key=lambda path: path.stat().st_size)
        raise ValueError(
            f"code={str(folder)!r}: {size / 2**20:.0f} MiB, the largest file is {largest}; accepted are up to "
            f"{LARGEST_FOLDER // 2**20} MiB, since every worker gets it"
        )
    if not any(path.suffix == ".py" for path in paths):
        raise ValueError(f"code={str(folder)!r}: no Python file in it; accepted is a folder with some")
    files = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
    _take(Code(folder.resolve().name, files, is_folder=True))


def take_file(path: Path) -> Code:
    """Take a snapshot of one file, and return it; a file that was taken before may have been edited since."""
    path = path.resolve()
    code = Code(path.name, {path.name: _read(path)}, is_folder=False)
    if _READ_FROM.get(path.name) == path:
        del _TAKEN[path.name]
    _take(code)
    _READ_FROM[path.name] = path
    return code


def taken() -> tuple[Code, ...]:
    """Return all that was taken, for other processes to `install`; it can be pickled."""
    return tuple(_TAKEN.values())


def taken_folder() -> Code | None:
    """Return the snapshot of the folder, if one was taken."""
    return next((code for code in taken() if code.is_folder), None)


def taken_file(name: str) -> Code | None:
    """Return the snapshot of a single file by its name."""
    code = _TAKEN.get(name)
    return None if code is None or code.is_folder else code


def is_from_elsewhere(name: str) -> bool:
    """Return True for a file that another process has taken."""
    return taken_file(name) is not None and name not in _READ_FROM


def install(codes: Iterable[Code]) -> None:
    """Make code that another process has taken available to references here."""
    for code in codes:
        _take(code)


def forget() -> None:
    """Forget all code that was taken; what is imported stays imported."""
    _TAKEN.clear()
    _READ_FROM.clear()


def state_of_code() -> tuple[tuple[str, str], ...]:
    """Return names and digests of all that was taken: what is kept by a reference's text is only true with them.

    Files that this process took itself are read again: in a notebook they are edited between two calls.
    """
    for path in list(_READ_FROM.values()):
        if path.is_file():
            take_file(path)
    return tuple((code.name, code.digest) for code in taken())


def extracted(code: Code) -> Path:
    """Return the folder to which this process has written a snapshot, once."""
    key = f"{code.name}-{code.digest[:16]}"
    if key not in _EXTRACTED:
        folder = private_folder() / key
        for path, data in code.files.items():
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
        _EXTRACTED[key] = folder
    return _EXTRACTED[key]


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return the SHA-256 over paths and bytes, as hexadecimal."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.encode() + b"\0" + hashlib.sha256(files[path]).digest())
    return digest.hexdigest()


def _take(code: Code) -> None:
    other = _TAKEN.get(code.name)
    if other is not None and other.digest != code.digest:
        raise ValueError(f"code={code.name!r}: two of this name have other contents; rename one of them")
    if code.is_folder and any(each.is_folder and each.name != code.name for each in taken()):
        raise ValueError(f"code={code.name!r}: another folder was taken already; accepted is one")
    _TAKEN[code.name] = code


def _files(folder: Path) -> Iterator[Path]:
    if (folder / "sweep.json").exists():  # a run directory, perhaps that of this very command
        return
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or path.name in SKIPPED:
            continue
        if path.is_dir():
            yield from _files(path)
        elif path.is_file():
            yield path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"code={str(path)!r}: it cannot be read: {error.strerror}") from error
