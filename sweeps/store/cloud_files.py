"""A folder in S3, GCS or Azure: puts are atomic, and conditional where writers may meet; never a rename."""

from __future__ import annotations  # obstore's types exist for type checkers alone

import random
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import AlreadyExistsError, GenericError, PreconditionError
from obstore.store import from_url

from sweeps.store.files import STAGING, Content, Files

if TYPE_CHECKING:
    from obstore import UpdateVersion
    from obstore.store import ObjectStore, RetryConfig

# A commit outlasts an outage of minutes; credentials and the request itself last five.
PATIENT: RetryConfig = {
    "max_retries": 10,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=20), "base": 2},
    "retry_timeout": timedelta(minutes=4),
}
# Someone waits at the terminal for the answer.
QUICK: RetryConfig = {
    "max_retries": 3,
    "backoff": {"init_backoff": timedelta(milliseconds=200), "max_backoff": timedelta(seconds=2), "base": 2},
    "retry_timeout": timedelta(seconds=15),
}

_NUM_UPDATES = 100
_CONNECTION_BROKE = "error sending request"  # in obstore's words


class CloudFiles(Files):
    """A folder below a URL. Endpoint and credentials come from the environment, as obstore reads it."""

    def __init__(self, url: str, retry: RetryConfig) -> None:
        self.url = url
        self._retry = retry

    @cached_property
    def store(self) -> ObjectStore:
        # Client options given here would replace those of the environment: AWS_ALLOW_HTTP, AWS_TIMEOUT.
        return from_url(self.url, retry_config=self._retry)

    def put(self, path: str, content: Content) -> None:
        obstore.put(self.store, path, content)

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

    def delete(self, path: str) -> None:
        with suppress(FileNotFoundError):
            self._sent_again(lambda: obstore.delete(self.store, path))

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
            found = obstore.get(self.store, path)
        except FileNotFoundError:
            return None, None
        version: UpdateVersion = {}
        if found.meta["e_tag"] is not None:
            version["e_tag"] = found.meta["e_tag"]
        if found.meta["version"] is not None:
            version["version"] = found.meta["version"]
        return found.bytes().to_bytes(), version

    def _sent_again(self, request: Callable[[], object]) -> None:
        """Makes a request, and makes it again after its connection broke.

        obstore does so itself, but neither for puts with a condition nor for deletions. It is safe for these:
        callers who are told that the condition fails read whose content is there.
        """
        deadline = time.monotonic() + self._retry["retry_timeout"].total_seconds()
        for attempt in range(self._retry["max_retries"]):
            try:
                request()
                return
            except GenericError as error:
                pause = self._pause(attempt)
                if _CONNECTION_BROKE not in str(error) or time.monotonic() + pause > deadline:
                    raise
            time.sleep(pause)
        request()

    def _pause(self, attempt: int) -> float:
        """Seconds before the next attempt: doubled each time, and different for each of many writers."""
        backoff = self._retry["backoff"]
        first: float = backoff["init_backoff"].total_seconds()
        longest: float = backoff["max_backoff"].total_seconds()
        return min(longest, first * 2.0**attempt) * random.uniform(0.5, 1)

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
