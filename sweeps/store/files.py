"""One interface to the files of a folder, on a local disk or in an object store.

`LocalFiles` and `CloudFiles` differ only in how a file becomes visible. A disk has renames and hard links, but
readers see half-written files. A store has neither, but its puts are atomic and can be conditional.
"""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import obstore
from obstore.store import ObjectStore

STAGING = "_staging"

Content = bytes | memoryview


@dataclass(frozen=True)
class Entry:
    """A file: path below the folder, size in bytes, time of its last change (UTC)."""

    path: str
    size: int
    modified: datetime

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition("/")[2]


class Files(ABC):
    """A folder. A missing file raises FileNotFoundError; a missing folder counts as empty."""

    @property
    @abstractmethod
    def store(self) -> ObjectStore:
        """The obstore object; it is opened when first used."""

    @abstractmethod
    def put(self, path: str, content: Content) -> None:
        """Write or replace a file. Readers see the old or the new one, never a part."""

    @abstractmethod
    def put_if_absent(self, path: str, content: Content) -> bool:
        """Write a file unless it exists. Of several writers exactly one gets True.

        Each writer's content must be unique. A request that was sent twice may be answered with 'exists
        already', and only the content then shows whose file it is.
        """

    @abstractmethod
    def update(self, path: str, transform: Callable[[bytes | None], bytes]) -> bytes:
        """Replace a file by `transform(content)`, `transform(None)` if it is missing. No writer's change is lost.

        `transform` may be called again when another writer was faster. Each result must be unique, for example by
        a random revision in it. Otherwise a writer whose answer was lost could not recognise its own content.
        """

    @abstractmethod
    def probe(self) -> None:
        """Write, protect and delete a file as a commit does, and leave nothing behind.

        OSErrors and obstore's errors pass through. Raises ValueError if the rules of a commit do not hold.
        """

    def read(self, path: str) -> bytes:
        """Return the whole content of a file."""
        return obstore.get(self.store, path).bytes().to_bytes()

    def open(self, path: str, size: int | None = None) -> io.RawIOBase:
        """Return a seekable file that fetches only what is read. A `size` from a listing saves a request."""
        store = self.store
        return _RangeFile(store, path, obstore.head(store, path)["size"] if size is None else size)

    def list(self, folder: str) -> Iterator[Entry]:
        """Yield the files below a folder in no particular order."""
        try:
            for page in obstore.list(self.store, folder, chunk_size=1000):
                for meta in page:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"])
        except FileNotFoundError:
            return

    def staged(self) -> Iterator[Entry]:
        """Yield the files of the staging folder: unfinished writes, some of them by dead processes."""
        yield from self.list(STAGING)

    @abstractmethod
    def tidy(self) -> None:
        """Remove the staging folder if no write is under way."""

    def exists(self, path: str) -> bool:
        """Return whether there is a file of this path."""
        try:
            obstore.head(self.store, path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, path: str) -> None:
        """Delete a file if there is one."""
        with suppress(FileNotFoundError):
            obstore.delete(self.store, path)

    def read_if_present(self, path: str) -> bytes | None:
        """Return the content, or None if there is no such file."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None


class _RangeFile(io.RawIOBase):
    """A stored file with the file protocol that pyarrow needs."""

    def __init__(self, store: ObjectStore, path: str, size: int) -> None:
        self._store, self._path, self._size = store, path, size
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer).cast("B")
        length = min(len(target), self._size - self._position)
        if length <= 0:
            return 0
        target[:length] = obstore.get_range(self._store, self._path, start=self._position, length=length)
        self._position += length
        return length
