"""A folder in S3, GCS or Azure: puts are atomic, and conditional where writers may meet; never a rename."""

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
    from obstore import UpdateVersion
    from obstore.store import ObjectStore, RetryConfig

T = TypeVar("T")

# A commit outlasts an outage of minutes; credentials and the request itself last five. The time alone ends it:
# obstore draws each pause between the first one and `base` times the last one, so that with base 2 ten of them
# are over in five seconds as a rule.
PATIENT: RetryConfig = {
    "max_retries": 1000,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=20), "base": 4},
    "retry_timeout": timedelta(minutes=4),
}
# Someone waits at the terminal for the answer.
QUICK: RetryConfig = {
    "max_retries": 4,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2), "base": 2},
    "retry_timeout": timedelta(seconds=15),
}

_NUM_UPDATES = 100
# A connection that broke before the answer or amid it, in obstore's words; and what it then says of an upload
# in parts, which it gives up although it is complete.
_BROKEN = ("error sending request", "response body error", "NoSuchUpload")
# Where obstore looks for a store's address, by the URL's scheme. It aborts where that is no URL.
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
            # Ours, if the answer to our first request was lost and the request was sent again.
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
        return self._sent_again(lambda: obstore.get(self.store, path)).bytes().to_bytes()

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
        """A store has no folders that could be left empty."""

    def _read_version(self, path: str) -> tuple[bytes | None, UpdateVersion | None]:
        """The content and what identifies it; None and None where there is no such file."""
        try:
            found = self._sent_again(lambda: obstore.get(self.store, path))
        except FileNotFoundError:
            return None, None
        version: UpdateVersion = {}
        if found.meta["e_tag"] is not None:
            version["e_tag"] = found.meta["e_tag"]
        if found.meta["version"] is not None:
            version["version"] = found.meta["version"]
        return found.bytes().to_bytes(), version

    def _sent_again(self, request: Callable[[], T]) -> T:
        """Makes a request, and makes it again after its connection broke.

        obstore does so itself, but neither for puts with a condition nor for deletions, nor where an answer
        broke off, such as a 404. It is safe for all: callers who are told that a condition fails read whose
        content is there.
        """
        pauses = self._pauses()
        while True:
            try:
                return request()
            except (GenericError, FileNotFoundError) as error:
                self._wait_after(error, pauses)

    def _wait_after(self, error: Exception, pauses: Iterator[float]) -> None:
        """Waits for the next pause; raises the error if no pause is left, or if no pause would help."""
        text = str(error)
        if f"after {self._retry['max_retries']} retries" in text or not any(it in text for it in _BROKEN):
            raise error
        pause = next(pauses, None)
        if pause is None:
            raise error
        time.sleep(pause)

    def _pauses(self) -> Iterator[float]:
        """Seconds between attempts: doubled each time, and different for each of many writers."""
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
        """Replaces this version (None: no file); False if the file is another one by now."""
        if version is None:
            return self.put_if_absent(path, content)
        try:
            self._sent_again(lambda: obstore.put(self.store, path, content, mode=version))
        except (PreconditionError, FileNotFoundError):
            # Replaced or deleted meanwhile, or replaced by our own first request, whose answer was lost.
            return self.read_if_present(path) == content
        return True


def _check_endpoints(url: str) -> None:
    """ValueError for a variable of the environment that should hold a store's address and does not."""
    for name in _ENDPOINTS.get(urlsplit(url).scheme, ()):
        endpoint = os.environ.get(name)
        if endpoint is not None and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", endpoint):
            raise ValueError(
                f"{name}: {endpoint!r} is not accepted; accepted: https://HOST or http://HOST:PORT"
            )
