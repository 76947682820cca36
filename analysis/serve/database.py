"""The database that holds the rows while the viewer runs: a DuckDB file in a temporary folder."""

import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb

# What a query can do beyond these tables: nothing. No file is opened, no extension fetched.
_SETTINGS = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "allow_community_extensions": "false",
}


class Database:
    """A database on disk, since ten million rows take gigabytes in memory but half of one compressed.

    It is a context manager; in the end nothing is left. OSError if no temporary folder can be made.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="attrib-sweeps-viewer-", ignore_cleanup_errors=True)
        self._connection = duckdb.connect(Path(self._folder.name) / "rows.duckdb", config=dict(_SETTINGS))
        self._connection.execute("SET enable_external_access = false")

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """Return a connection for one thread."""
        return self._connection.cursor()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A query of another thread would keep the file open.
        self._connection.interrupt()
        self._connection.close()
        self._folder.cleanup()


def quoted(name: str) -> str:
    """Return a name of a column as SQL takes it."""
    return '"' + name.replace('"', '""') + '"'
