"""The run directory: who commits what, and what is committed."""

import json
import logging
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from obstore.exceptions import BaseError

from sweeps.store.cloud_files import PATIENT, QUICK, CloudFiles
from sweeps.store.crash_points import crash_point
from sweeps.store.errors import explained
from sweeps.store.files import Content, Entry, Files
from sweeps.store.local_files import LocalFiles
from sweeps.store.tables import images_bytes, results_bytes

SCHEMES = ("s3", "gs", "az")

_SUFFIX = ".parquet"
_REVISION = "revision"
_NUM_READERS = 16

_logger = logging.getLogger(__name__)


class RunDirectory:
    """A run directory by its path, `file://`, `s3://`, `gs://` or `az://` URL; nothing is opened or made yet.

    Picklable: an actor opens it anew. ValueError for another kind of URL.
    """

    def __init__(self, url: str | Path) -> None:
        self.url = resolve_url(str(url))

    def __reduce__(self) -> tuple[type["RunDirectory"], tuple[str]]:
        return RunDirectory, (self.url,)

    def __repr__(self) -> str:
        return f"RunDirectory({self.url!r})"

    @cached_property
    def files(self) -> Files:
        """The files of the directory, by a store that retries for minutes."""
        return open_files(self.url)

    @cached_property
    def _quick_files(self) -> Files:
        """The same files, by a store that gives up after seconds."""
        return open_files(self.url, quick=True)

    def check_writable(self) -> None:
        """ValueError that says why nothing can be committed here and what to do; leaves nothing behind."""
        with explained(self.url, "written"):
            self._quick_files.probe()

    def read_sweep(self) -> dict[str, Any] | None:
        """What sweep.json holds; None where there is none. ValueError where it cannot be read."""
        with explained(self.url, "read"):
            content = self._quick_files.read_if_present("sweep.json")
        return self._parse_sweep(content)

    def update_sweep(self, transform: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """Replaces sweep.json by what `transform` makes of it, by compare and swap; returns the new content.

        `transform` may be called again when another driver was faster; its own ValueError ends the update.
        """

        def transform_bytes(content: bytes | None) -> bytes:
            # The revision makes every version unique, so that a driver can tell its own from an equal one.
            sweep = {_REVISION: secrets.token_hex(8)} | transform(self._parse_sweep(content))
            return (json.dumps(sweep, indent=1) + "\n").encode()

        with explained(self.url, "written"):
            content = self.files.update("sweep.json", transform_bytes)
        return self._parse_sweep(content) or {}

    def check_seen(self, invocation: dict[str, Any]) -> None:
        """ValueError unless this machine sees the sweep.json into which the driver has written its invocation.

        A path means another folder on each machine unless a file system is shared.
        """
        sweep = self.read_sweep()
        if sweep is None or invocation not in sweep["invocations"]:
            raise ValueError(
                f"{self.url} on {socket.gethostname()} is not the run directory of this sweep: the machines do "
                "not share it, and rows written here would be lost; choose an --output that all of them see, a "
                "shared folder or s3://, gs://, az://"
            )

    def committed(self) -> Iterator[str]:
        """The ids of the committed shards in no particular order, streaming."""
        return (entry.name.removesuffix(_SUFFIX) for entry in self.results())

    def results(self) -> Iterator[Entry]:
        """The committed results files, streaming."""
        return (entry for entry in self.files.list("results") if entry.name.endswith(_SUFFIX))

    def images(self) -> Iterator[Entry]:
        """The image files, committed or not, streaming."""
        return (entry for entry in self.files.list("images") if entry.name.endswith(_SUFFIX))

    def put_images(self, shard_id: str, attempt: int, table: pa.Table) -> str:
        """Writes an attempt's images and returns the file's name in images/; its rows must name it.

        The name is random at its end: the attempts of a killed driver count from one as well.
        """
        name = f"{_safe(shard_id)}-{attempt:d}-{secrets.token_hex(6)}{_SUFFIX}"
        self.files.put(f"images/{name}", images_bytes(table))
        crash_point("after_images")
        return name

    def commit(self, shard_id: str, rows: pa.Table, image_file: str | None) -> bool:
        """Makes the rows visible, unless another attempt was first: then its images are deleted, and False.

        An exception leaves it open whether the shard is committed; another attempt finds out. ValueError
        for a null where the schema allows none.
        """
        assert image_file is None or image_file.startswith(f"{shard_id}-"), (shard_id, image_file)
        content: Content = results_bytes(rows)
        crash_point("before_commit")
        won = self.files.put_if_absent(f"results/{_safe(shard_id)}{_SUFFIX}", content)
        crash_point("after_commit")
        if not won and image_file is not None:
            self.files.delete(f"images/{image_file}")
        return won

    def quarantine(self, shard_id: str, record: dict[str, Any]) -> None:
        """Records why a shard was given up."""
        self.files.put(f"failures/{_safe(shard_id)}.json", _json_bytes(record))

    def failures(self) -> dict[str, dict[str, Any]]:
        """The records of the quarantined shards by shard id."""
        paths = sorted(entry.path for entry in self.files.list("failures") if entry.name.endswith(".json"))
        with ThreadPoolExecutor(_NUM_READERS) as pool:
            contents = list(pool.map(self.files.read_if_present, paths))
        return {
            Path(path).stem: json.loads(content)
            for path, content in zip(paths, contents, strict=True)
            if content is not None
        }

    def clear_failure(self, shard_id: str) -> None:
        """Forgets that a shard was given up, if it was."""
        self.files.delete(f"failures/{_safe(shard_id)}.json")

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Replaces progress.json. Nothing depends on it: a failure is a warning, and none waits."""
        try:
            self._quick_files.put("progress.json", _json_bytes(progress))
        except (OSError, BaseError) as error:
            _logger.warning("progress.json could not be written: %s", error)

    def read_progress(self) -> dict[str, Any] | None:
        """What progress.json holds; None where there is none."""
        content = self.files.read_if_present("progress.json")
        return None if content is None else json.loads(content)

    def mark_success(self) -> None:
        """Writes _SUCCESS: every shard of the plan is committed."""
        self.files.put("_SUCCESS", b"")

    def clear_success(self) -> bool:
        """Removes _SUCCESS; whether it was there."""
        was_there = self.succeeded()
        self.files.delete("_SUCCESS")
        return was_there

    def succeeded(self) -> bool:
        """Whether _SUCCESS is there."""
        return self.files.exists("_SUCCESS")

    def _parse_sweep(self, content: bytes | None) -> dict[str, Any] | None:
        if content is None:
            return None
        try:
            sweep: dict[str, Any] = json.loads(content)
            sweep.pop(_REVISION, None)
        except (ValueError, AttributeError) as error:
            raise ValueError(
                f"{self.url}/sweep.json is no JSON object: {error}; restore or delete it"
            ) from None
        return sweep


def resolve_url(url: str) -> str:
    """An absolute path, or an object store's URL without a closing slash. ValueError for anything else.

    An actor has another working directory than its driver, so a relative path is made absolute at once.
    """
    accepted = f"accepted: a path or {', '.join(f'{scheme}://bucket/path' for scheme in SCHEMES)}"
    if not url.strip():
        raise ValueError(f"run directory: {url!r} is empty; {accepted}")
    scheme, separator, _ = url.partition("://")
    if not separator or scheme == "file":
        path = unquote(urlsplit(url).path) if separator else url
        return str(Path(path).expanduser().absolute())
    if scheme not in SCHEMES or not urlsplit(url).netloc:
        raise ValueError(f"run directory: {url!r} is not accepted; {accepted}")
    return url.rstrip("/")


def open_files(url: str, *, quick: bool = False) -> Files:
    """The files below a resolved URL; `quick` gives up after seconds where a commit waits for minutes."""
    if "://" in url:
        return CloudFiles(url, QUICK if quick else PATIENT)
    return LocalFiles(Path(url))


def _safe(shard_id: str) -> str:
    # Readers of a folder of Parquet files pass over names that begin with `_` or `.`.
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,179}", shard_id), f"unsafe shard id {shard_id!r}"
    return shard_id


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
