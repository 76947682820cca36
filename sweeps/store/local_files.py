"""A folder on a local disk. Files are written under a temporary name, then a link or a rename shows them whole."""

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import LocalStore

from sweeps.store.crash_points import crash_point
from sweeps.store.files import STAGING, Content, Entry, Files

# Enough bytes to find out that a disk is almost full.
_PROBE_BYTES = 1 << 20


class LocalFiles(Files):
    """A folder below `root`; the first write creates it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def store(self) -> LocalStore:
        """The folder as an obstore object; FileNotFoundError if it is missing, because reading creates none."""
        if not self.root.is_dir():
            raise FileNotFoundError(f"{self.root} is not a folder")
        return LocalStore(self.root)

    def put(self, path: str, content: Content) -> None:
        staged = self._stage(path, content)
        obstore.rename(self.store, staged, path, overwrite=True)
        _sync((self.root / path).parent)

    def put_if_absent(self, path: str, content: Content) -> bool:
        staged = self._stage(path, content)
        crash_point("staged")
        try:
            obstore.rename(self.store, staged, path, overwrite=False)  # a hard link; fails if the file exists
        except AlreadyExistsError:
            self.delete(staged)
            # A network disk may have made our link and lost the answer. Then the file has our content.
            return self.read_if_present(path) == bytes(content)
        _sync((self.root / path).parent)
        return True

    def update(self, path: str, transform: Callable[[bytes | None], bytes]) -> bytes:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "_lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # the kernel releases it when the process dies
            content = transform(self.read_if_present(path))
            self.put(path, content)
        return content

    def probe(self) -> None:
        name = f"check-{secrets.token_hex(8)}"
        path = f"{STAGING}/{name}"
        missing = self._missing_folders()
        try:
            assert self.put_if_absent(path, os.urandom(_PROBE_BYTES))
            if self.put_if_absent(path, b"second"):
                raise ValueError(f"{self.root} replaces files by hard links, so commits are not safe there")
        finally:
            for leftover in (self.root / STAGING).glob(f"*{name}*"):
                leftover.unlink(missing_ok=True)
            self._remove_empty(missing)

    def staged(self) -> Iterator[Entry]:
        # obstore's listing hides the temporary names of its own unfinished writes.
        for file in (self.root / STAGING).glob("*"):
            try:
                status = file.stat()
            except FileNotFoundError:  # renamed or deleted meanwhile
                continue
            yield Entry(
                f"{STAGING}/{file.name}", status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)
            )

    def tidy(self) -> None:
        self._remove_empty([self.root / STAGING])

    def delete(self, path: str) -> None:
        # For all other operations obstore itself refuses such a path.
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError(f"path {path!r} leaves {self.root}")
        (self.root / path).unlink(missing_ok=True)

    def _stage(self, path: str, content: Content) -> str:
        """Write the content under a unique name in the staging folder, and return its path."""
        self.root.mkdir(parents=True, exist_ok=True)
        staged = f"{STAGING}/{secrets.token_hex(8)}-{Path(path).name}"
        obstore.put(self.store, staged, content, use_multipart=False)
        # After a power cut there must be no name without its bytes.
        _sync(self.root / staged)
        return staged

    def _missing_folders(self) -> list[Path]:
        """Return the folders that a write would create, innermost first."""
        folders = [self.root / STAGING, self.root, *self.root.parents]
        return [folder for folder in folders if not folder.exists()]

    def _remove_empty(self, folders: list[Path]) -> None:
        for folder in folders:
            try:
                folder.rmdir()
            except OSError:  # it was never made, or another process uses it
                return


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
