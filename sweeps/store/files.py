"""Files of a folder by one interface, whether it is on a local disk or in an object store.

`LocalFiles` and `CloudFiles` differ only in how a file becomes visible: a disk has rename and hard links but
shows half-written files; a store has neither, but its puts are atomic and can be conditional.
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
        """The last part of the path."""
        return self.path.rpartition("/")[2]


class Files(ABC):
    """A folder. What is not there raises FileNotFoundError; a folder that is not there is empty."""

    @property
    @abstractmethod
    def store(self) -> ObjectStore:
        """The obstore object, opened when first used."""

    @abstractmethod
    def put(self, path: str, content: Content) -> None:
        """Writes or replaces a file: readers see the old or the new one, never a part."""

    @abstractmethod
    def put_if_absent(self, path: str, content: Content) -> bool:
        """Writes a file unless there is one; of several writers exactly one gets True.

        The content must be unique to its writer: a request may be answered by 'exists already' because it was
        sent twice, and only the content tells whose file it is.
        """

    @abstractmethod
    def update(self, path: str, transform: Callable[[bytes | None], bytes]) -> bytes:
        """Replaces a file by what `transform` makes of it (None: there is none); no writer's change is lost.

        `transform` may be called again when another writer was faster. What it returns must be unique to the
        call, as by a random revision in it: only so does a writer whose answer was lost know its own content.
        """

    @abstractmethod
    def probe(self) -> None:
        """Writes, protects and deletes a file as a commit does; leaves nothing behind. OSError and obstore's
        errors as they come, ValueError where the rules of a commit do not hold."""

    def read(self, path: str) -> bytes:
        """The whole content of a file."""
        return obstore.get(self.store, path).bytes().to_bytes()

    def open(self, path: str, size: int | None = None) -> io.RawIOBase:
        """A seekable file that fetches only what is read; `size` (from a listing) spares a request."""
        store = self.store
        return _RangeFile(store, path, obstore.head(store, path)["size"] if size is None else size)

    def list(self, folder: str) -> Iterator[Entry]:
        """The files below a folder in no particular order, streaming."""
        try:
            for page in obstore.list(self.store, folder, chunk_size=1000):
                for meta in page:
                    yield Entry(meta["path"], meta["size"], meta["last_modified"])
        except FileNotFoundError:
            return

    def staged(self) -> Iterator[Entry]:
        """What is in the staging folder: writes that are under way, or that died on theirs."""
        yield from self.list(STAGING)

    @abstractmethod
    def tidy(self) -> None:
        """Removes what writing needed and readers do not, if no write is under way."""

    def exists(self, path: str) -> bool:
        """Whether there is a file of this path."""
        try:
            obstore.head(self.store, path)
        except FileNotFoundError:
            return False
        return True

    def delete(self, path: str) -> None:
        """Deletes a file if there is one."""
        with suppress(FileNotFoundError):
            obstore.delete(self.store, path)

    def read_if_present(self, path: str) -> bytes | None:
        """The content, or None where there is no such file."""
        try:
            return self.read(path)
        except FileNotFoundError:
            return None


class _RangeFile(io.RawIOBase):
    """A stored file through the file protocol that pyarrow asks for."""

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
