"""The run directory: committing shards, and listing what is committed."""

import json
import logging
import re
import secrets
import socket
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
from obstore.exceptions import BaseError

from sweeps.store.cloud_files import PATIENT, QUICK, CloudFiles
from sweeps.store.crash_points import crash_point
from sweeps.store.errors import explained
from sweeps.store.files import Content, Entry, Files
from sweeps.store.image_digests import NAME as IMAGE_DIGESTS
from sweeps.store.image_digests import ImageDigests
from sweeps.store.image_failures import METADATA_KEY, ImageFailure, read_failures, write_failures
from sweeps.store.local_files import LocalFiles
from sweeps.store.tables import images_bytes, results_bytes

SCHEMES = ("s3", "gs", "az")

_SUFFIX = ".parquet"
_OF_IMAGES = ".images.json"
_REVISION = "revision"
_NUM_READERS = 16

_logger = logging.getLogger(__name__)


class RunDirectory:
    """A run directory, given by its path or a `file://`, `s3://`, `gs://` or `az://` URL. It is opened lazily.

    Shards are committed to its folder `rows`, and listed there. It can be pickled: each actor opens it anew.
    Raises ValueError for another kind of URL.
    """

    def __init__(self, url: str | Path, rows: str = "results") -> None:
        self.url, self.rows = resolve_url(str(url)), rows

    def __reduce__(self) -> tuple[type["RunDirectory"], tuple[str, str]]:
        return RunDirectory, (self.url, self.rows)

    def __repr__(self) -> str:
        return f"RunDirectory({self.url!r})"

    @cached_property
    def files(self) -> Files:
        """Files of the directory, in a store that retries for minutes."""
        return open_files(self.url)

    def beside(self, rows: str) -> "RunDirectory":
        """Return the same directory, whose shards are those of a table beside results/."""
        return RunDirectory(self.url, rows)

    @cached_property
    def _quick_files(self) -> Files:
        """The same files, in a store that gives up after seconds."""
        return open_files(self.url, quick=True)

    def check_writable(self) -> None:
        """Raise a ValueError with reason and advice if nothing can be committed here. Leaves nothing behind."""
        with explained(self.url, "written"):
            self._quick_files.probe()

    def read_sweep(self) -> dict[str, Any] | None:
        """Return the content of sweep.json, None if there is none. Raise ValueError if it cannot be read."""
        with explained(self.url, "read"):
            content = self._quick_files.read_if_present("sweep.json")
        return self._parse_sweep(content)

    def update_sweep(self, transform: Callable[[dict[str, Any] | None], dict[str, Any]]) -> dict[str, Any]:
        """Replace sweep.json by `transform(content)`, by compare and swap. Return the new content.

        `transform` may be called again when another driver was faster. Its ValueError ends the update unwritten.
        """

        def transform_bytes(content: bytes | None) -> bytes:
            # A random revision makes every version unique, so that a driver recognises its own.
            sweep = {_REVISION: secrets.token_hex(8)} | transform(self._parse_sweep(content))
            return (json.dumps(sweep, indent=1) + "\n").encode()

        with explained(self.url, "written"):
            content = self.files.update("sweep.json", transform_bytes)
        return self._parse_sweep(content) or {}

    def check_seen(self, invocation: dict[str, Any]) -> None:
        """Raise ValueError unless this machine sees the sweep.json that holds the driver's invocation.

        Unless the machines share a file system, the same path is a different folder on each of them.
        """
        sweep = self.read_sweep()
        if sweep is None or invocation not in sweep["invocations"]:
            raise ValueError(
                f"{self.url} on {socket.gethostname()} is not the run directory of this sweep: the machines do "
                "not share it, and rows written here would be lost; choose an --output that all of them see, a "
                "shared folder or s3://, gs://, az://"
            )

    def committed(self) -> Iterator[str]:
        """Yield the ids of the committed shards in no particular order."""
        return (entry.name.removesuffix(_SUFFIX) for entry in self.results())

    def results(self) -> Iterator[Entry]:
        """Yield the committed results files."""
        return (entry for entry in self.files.list(self.rows) if entry.name.endswith(_SUFFIX))

    def images(self) -> Iterator[Entry]:
        """Yield the image files, committed or not."""
        return (entry for entry in self.files.list("images") if entry.name.endswith(_SUFFIX))

    def put_images(self, shard_id: str, attempt: int, table: pa.Table) -> str:
        """Write an attempt's images and return the file's name in images/; the rows must name it.

        The name ends at random, because after a killed driver the next one counts attempts from 1 again.
        """
        name = f"{_safe(shard_id)}-{attempt:d}-{secrets.token_hex(6)}{_SUFFIX}"
        self.files.put(f"images/{name}", images_bytes(table))
        crash_point("after_images")
        return name

    def commit(
        self,
        shard_id: str,
        rows: pa.Table,
        image_file: str | None,
        failed_images: Sequence[ImageFailure] = (),
    ) -> bool:
        """Make the rows visible and return True. If another attempt was first, delete the images and return False.

        Two attempts may both get here: a worker that was given up for dead may still be alive. Only put-if-absent
        decides between them, and the file that it writes is the commit. So a shard is never partly visible, and
        never visible twice. After an exception it is unknown whether the shard is committed; another attempt
        finds out. Images that have no rows are committed with those that have: see `image_failures`. Raises
        ValueError for a null where the schema allows none.
        """
        assert image_file is None or image_file.startswith(f"{shard_id}-"), (shard_id, image_file)
        if failed_images:
            listed = write_failures(failed_images)
            rows = rows.replace_schema_metadata((rows.schema.metadata or {}) | {METADATA_KEY: listed})
            self.files.put(f"failures/{_safe(shard_id)}{_OF_IMAGES}", listed)
        content: Content = results_bytes(rows)
        crash_point("before_commit")
        won = self.files.put_if_absent(f"{self.rows}/{_safe(shard_id)}{_SUFFIX}", content)
        crash_point("after_commit")
        if not won and image_file is not None:
            self.files.delete(f"images/{image_file}")
        return won

    def quarantine(self, shard_id: str, record: dict[str, Any]) -> None:
        """Record why a shard was given up."""
        self.files.put(f"failures/{_safe(shard_id)}.json", _json_bytes(record))

    def failures(self) -> dict[str, dict[str, Any]]:
        """Return the records of the quarantined shards by shard id."""
        paths = sorted(
            entry.path
            for entry in self.files.list("failures")
            if entry.name.endswith(".json") and not entry.name.endswith(_OF_IMAGES)
        )
        with ThreadPoolExecutor(_NUM_READERS) as pool:
            contents = list(pool.map(self.files.read_if_present, paths))
        return {
            Path(path).stem: json.loads(content)
            for path, content in zip(paths, contents, strict=True)
            if content is not None
        }

    def clear_failure(self, shard_id: str) -> None:
        """Delete the record of a quarantined shard, if there is one."""
        self.files.delete(f"failures/{_safe(shard_id)}.json")

    def failed_images(self) -> dict[str, tuple[ImageFailure, ...]]:
        """Return the images without rows by committed shard, also those that a later shard has tried again."""
        names = (entry.name for entry in self.files.list("failures") if entry.name.endswith(_OF_IMAGES))
        shard_ids = sorted(name.removesuffix(_OF_IMAGES) for name in names)
        with ThreadPoolExecutor(_NUM_READERS) as pool:
            found = dict(zip(shard_ids, pool.map(self._committed_failures, shard_ids), strict=True))
        return {shard_id: failures for shard_id, failures in found.items() if failures}

    def _committed_failures(self, shard_id: str) -> tuple[ImageFailure, ...]:
        """Return what the shard's results file says; nothing if the shard is not committed or not readable."""
        try:
            metadata = pq.read_metadata(self.files.open(f"{self.rows}/{shard_id}{_SUFFIX}")).metadata or {}
        except (FileNotFoundError, pa.ArrowInvalid):  # `verify` reports a results file that is damaged
            return ()
        return read_failures(metadata.get(METADATA_KEY, b"[]"))

    def clear_failed_images(self) -> None:
        """Delete the lists for people, once all their images have rows."""
        for entry in list(self.files.list("failures")):
            if entry.name.endswith(_OF_IMAGES):
                self.files.delete(entry.path)

    def read_image_digests(self) -> ImageDigests | None:
        """Return the digests of the images of the sweep's data set, None if they are not recorded."""
        with explained(self.url, "read"):
            content = self._quick_files.read_if_present(IMAGE_DIGESTS)
        if content is None:
            return None
        try:
            return ImageDigests.from_bytes(content)
        except (pa.ArrowException, KeyError, TypeError) as error:
            raise ValueError(
                f"{self.url}/{IMAGE_DIGESTS} is damaged: {error}; restore it from a copy, or delete it"
            ) from error

    def write_image_digests(self, digests: ImageDigests) -> None:
        """Record the digests of all images of the sweep's data set, before rows are computed from them."""
        with explained(self.url, "written"):
            self.files.put(IMAGE_DIGESTS, digests.to_bytes())

    def write_progress(self, progress: dict[str, Any]) -> None:
        """Replace progress.json. No result depends on it, so a failure is only a warning, after seconds."""
        try:
            self._quick_files.put("progress.json", _json_bytes(progress))
        except (OSError, BaseError) as error:
            _logger.warning("progress.json could not be written: %s", error)

    def read_progress(self) -> dict[str, Any] | None:
        """Return the content of progress.json; None if there is none."""
        content = self.files.read_if_present("progress.json")
        return None if content is None else json.loads(content)

    def mark_success(self) -> None:
        """Write _SUCCESS: every shard of the plan is committed."""
        self.files.put("_SUCCESS", b"")

    def clear_success(self) -> bool:
        """Remove _SUCCESS; return whether it was there."""
        was_there = self.succeeded()
        self.files.delete("_SUCCESS")
        return was_there

    def succeeded(self) -> bool:
        """Return whether _SUCCESS is there."""
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
    """Return an absolute path, or an object store's URL without a closing slash. Raise ValueError otherwise.

    A relative path becomes absolute here, because an actor has a different working directory than its driver.
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
    """Return the files below a resolved URL. `quick` gives up after seconds; a commit waits for minutes."""
    if "://" in url:
        return CloudFiles(url, QUICK if quick else PATIENT)
    return LocalFiles(Path(url))


def _safe(shard_id: str) -> str:
    # Readers of a folder of Parquet files ignore names that begin with `_` or `.`.
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._=-]{0,179}", shard_id), f"unsafe shard id {shard_id!r}"
    return shard_id


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=1) + "\n").encode()
