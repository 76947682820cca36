"""A folder in S3, GCS or Azure. Puts are atomic, and conditional where writers may meet; there are no renames."""

from __future__ import annotations  # obstore's types exist for type checkers alone

import os
import random
import re
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import from_url

from sweeps.store.errors import NO_BUCKET
from sweeps.store.files import STAGING, Content, Entry, Files

if TYPE_CHECKING:
    from obstore import GetResult, ObjectMeta, UpdateVersion
    from obstore.store import ObjectStore, RetryConfig

T = TypeVar("T")

# A commit survives an outage of minutes. (Credentials and the request itself are valid for five.) Only the time
# ends the retries, so `max_retries` is out of reach. obstore draws each pause at random between the first pause
# and `base` times the last one. With base 2 the pauses hardly grow: ten of them usually take five seconds.
PATIENT: RetryConfig = {
    "max_retries": 1000,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=20), "base": 4},
    "retry_timeout": timedelta(minutes=4),
}
# For requests whose answer a user awaits at the terminal.
QUICK: RetryConfig = {
    "max_retries": 4,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2), "base": 2},
    "retry_timeout": timedelta(seconds=15),
}

_NUM_UPDATES = 100
# obstore's words for a connection that broke before or during the answer. `NoSuchUpload` appears when the answer
# to the end of a multipart upload was lost: the upload is complete, and obstore's own repetition finds none open.
_BROKEN = ("error sending request", "response body error", "NoSuchUpload")
# The variables in which obstore looks for a store's address, by the URL's scheme. It aborts if one is no URL.
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


class CloudFiles(Files):
    """A folder below a URL. Endpoint and credentials come from the environment, as obstore reads it."""

    def __init__(self, url: str, retry: RetryConfig) -> None:
        self.url = url
        self._retry = retry

    @cached_property
    def store(self) -> ObjectStore:
        _check_endpoints(self.url)
        # Client options given here would replace those of the environment: AWS_ALLOW_HTTP, AWS_TIMEOUT.
        return from_url(self.url, retry_config=self._retry)

    def put(self, path: str, content: Content) -> None:
        self._sent_again(lambda: obstore.put(self.store, path, content))

    def put_if_absent(self, path: str, content: Content) -> bool:
        try:
            self._sent_again(lambda: obstore.put(self.store, path, content, mode="create"))
        except AlreadyExistsError:
            # It is our own file if the answer to our first request was lost and the request was sent again.
            return self.read_if_present(path) == bytes(content)
        return True

    def update(self, path: str, transform: Callable[[bytes | None], bytes]) -> bytes:
        for attempt in range(_NUM_UPDATES):
            existing, version = self._read_version(path)
            content = transform(existing)
            if self._put_version(path, content, version):
                return content
            time.sleep(random.uniform(0, min(2.0, 0.02 * 2**attempt)))
        raise OSError(f"{path} changed during each of {_NUM_UPDATES} attempts to update it")

    def list(self, folder: str) -> Iterator[Entry]:
        last, pauses = None, self._pauses()
        while True:
            try:
                for page in obstore.list(self.store, folder, offset=last, chunk_size=1000):
                    for meta in page:
                        yield Entry(meta["path"], meta["size"], meta["last_modified"])
                    last, pauses = max(meta["path"] for meta in page), self._pauses()
                return
            except GenericError as error:
                self._wait_after(error, pauses)

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._sent_again(lambda: obstore.delete(self.store, path))

    def read(self, path: str) -> bytes:
        return self._sent_again(lambda: obstore.get(self.store, path).bytes().to_bytes())

    def read_if_present(self, path: str) -> bytes | None:
        try:
            return self.read(path)
        except FileNotFoundError as error:
            if re.search(NO_BUCKET, str(error)):
                raise
            return None

    def probe(self) -> None:
        path = f"{STAGING}/check-{secrets.token_hex(8)}"
        assert self.put_if_absent(path, b"first")
        try:
            _, version = self._read_version(path)
            if self.put_if_absent(path, b"second"):
                raise ValueError(
                    f"{self.url}: the store ignores `put if absent`, so commits are not safe there"
                )
            if not self._put_version(path, b"third", version) or self._put_version(path, b"fourth", version):
                raise ValueError(
                    f"{self.url}: the store ignores conditional puts, so updates are not safe there"
                )
        finally:
            self.delete(path)

    def tidy(self) -> None:
        """Do nothing: a store has no folders that could be left empty."""

    def _read_version(self, path: str) -> tuple[bytes | None, UpdateVersion | None]:
        """Return the content and its version; None and None if there is no such file."""
        try:
            # The content is read within: its connection may break behind an answer that has begun.
            content, meta = self._sent_again(lambda: _content_of(obstore.get(self.store, path)))
        except FileNotFoundError:
            return None, None
        version: UpdateVersion = {}
        if meta["e_tag"] is not None:
            version["e_tag"] = meta["e_tag"]
        if meta["version"] is not None:
            version["version"] = meta["version"]
        return content, version

    def _sent_again(self, request: Callable[[], T]) -> T:
        """Make a request, and repeat it after its connection broke.

        obstore repeats requests itself, except conditional puts, deletions, and requests whose answer broke off
        in the middle, such as a 404. Repeating is safe for these too: if the first request did take effect, the
        second one's condition fails, and the caller then reads whose content is there.
        """
        pauses = self._pauses()
        while True:
            try:
                return request()
            except (GenericError, FileNotFoundError) as error:
                self._wait_after(error, pauses)

    def _wait_after(self, error: Exception, pauses: Iterator[float]) -> None:
        """Sleep for the next pause. Raise the error if no pause is left, or if a repetition cannot help."""
        text = str(error)
        if f"after {self._retry['max_retries']} retries" in text or not any(it in text for it in _BROKEN):
            raise error
        pause = next(pauses, None)
        if pause is None:
            raise error
        time.sleep(pause)

    def _pauses(self) -> Iterator[float]:
        """Yield the seconds between attempts: doubled each time, and random so that writers spread out."""
        backoff = self._retry["backoff"]
        pause, longest = (backoff[name].total_seconds() for name in ("init_backoff", "max_backoff"))
        deadline = time.monotonic() + self._retry["retry_timeout"].total_seconds()
        for _ in range(self._retry["max_retries"]):
            seconds = pause * random.uniform(0.5, 1)
            if time.monotonic() + seconds > deadline:
                return
            yield seconds
            pause = min(longest, 2 * pause)

    def _put_version(self, path: str, content: bytes, version: UpdateVersion | None) -> bool:
        """Replace this version (None: no file). Return False if the file has changed since."""
        if version is None:
            return self.put_if_absent(path, content)
        try:
            self._sent_again(lambda: obstore.put(self.store, path, content, mode=version))
        except (PreconditionError, FileNotFoundError):
            # Another writer replaced or deleted it, or our own first request did and its answer was lost.
            return self.read_if_present(path) == content
        return True


def _content_of(found: GetResult) -> tuple[bytes, ObjectMeta]:
    return found.bytes().to_bytes(), found.meta


def _check_endpoints(url: str) -> None:
    """Raise ValueError if an environment variable for a store's address holds something else."""
    for name in _ENDPOINTS.get(urlsplit(url).scheme, ()):
        endpoint = os.environ.get(name)
        if endpoint is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", endpoint):
            raise ValueError(
                f"{name}: {endpoint!r} is not accepted; accepted: https://HOST or http://HOST:PORT"
            )
