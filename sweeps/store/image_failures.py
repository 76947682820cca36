"""Images that have no rows in a committed shard, because their bytes could not be used.

The shard's own results file says which: its Parquet metadata hold the list, so that it is committed with the rows
of the other images or not at all. `failures/<shard_id>.images.json` repeats the list for people. It is written
before the commit, so that whoever looks for failed images need not open every results file: it opens those that
such a file names, and believes the results file alone.

A shard whose images failed is followed by another one, which holds these images alone. It is planned once their
bytes have changed. It is committed like any shard, and may be followed by one in its turn. Its id follows from
that of the shard before it, so that both the plan and the store know which images still have no rows.
"""

import hashlib
import json
import re
from collections.abc import Container, Mapping, Sequence
from dataclasses import asdict, dataclass

METADATA_KEY = b"attrib_sweeps.failed_images"

_AGAIN = re.compile(r".*-again-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class ImageFailure:
    """An image without rows. `sha256` is of its bytes, zeros if there were none.

    `readable` says that it could be decoded, and something else was wrong, such as a gradient that is no number.
    """

    image_index: int
    key: str
    reason: str
    sha256: str
    readable: bool = False

    def describe(self) -> str:
        """Return which image it is and what is wrong with it, in one line."""
        return f"{self.key}: {self.reason}"


def write_failures(failures: Sequence[ImageFailure]) -> bytes:
    """Return failures as JSON."""
    return (json.dumps([asdict(failure) for failure in failures], indent=1) + "\n").encode()


def read_failures(content: bytes) -> tuple[ImageFailure, ...]:
    """Return the failures that `write_failures` has written."""
    return tuple(ImageFailure(**failure) for failure in json.loads(content))


def next_shard_id(shard_id: str) -> str:
    """Return the id of the shard that tries the failed images of this one again."""
    label = shard_id.rpartition("-")[0].removesuffix("-again")
    return f"{label}-again-{hashlib.sha256(shard_id.encode()).hexdigest()[:12]}"


def is_planned(shard_id: str) -> bool:
    """Return False for a shard that tries failed images again: the blocks of the plan do not count it."""
    return _AGAIN.fullmatch(shard_id) is None


def unresolved(
    failed: Mapping[str, tuple[ImageFailure, ...]], committed: Container[str]
) -> dict[str, tuple[ImageFailure, ...]]:
    """Return those of the failed images, by shard id, that no later shard has tried again."""
    return {
        shard_id: failures
        for shard_id, failures in failed.items()
        if next_shard_id(shard_id) not in committed
    }
