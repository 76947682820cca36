"""`image_digests.parquet`: what each image of a sweep's data set was, so that only that image counts as changed.

`data_digest` in sweep.json is of the whole data set as it was when the directory was made. The digests by image
follow the data: an image that no row was computed from may be repaired, and its digest is replaced then.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

NAME = "image_digests.parquet"

_COLUMN = "sha256"
_REST = b"attrib_sweeps.keys_and_labels"


@dataclass(frozen=True, eq=False)
class ImageDigests:
    """SHA-256 `[N, 32]` of each image's bytes, and one digest of all else: class names, keys and labels."""

    sha256: NDArray[np.uint8]
    keys_and_labels: str

    def changed(self, other: "ImageDigests") -> list[int] | None:
        """Return the indices of images that differ; None for a data set of other keys, labels or classes."""
        if self.keys_and_labels != other.keys_and_labels:
            return None
        return [int(index) for index in np.flatnonzero((self.sha256 != other.sha256).any(axis=1))]

    def to_bytes(self) -> memoryview:
        """Return the content of the file."""
        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), len(self.sha256), [None, pa.py_buffer(self.sha256.tobytes())]
        )
        table = pa.table({_COLUMN: column}, metadata={_REST: self.keys_and_labels})
        sink = pa.BufferOutputStream()
        pq.write_table(table, sink, use_dictionary=False, write_statistics=False)
        return memoryview(sink.getvalue()).cast("B")

    @classmethod
    def from_bytes(cls, content: bytes) -> "ImageDigests":
        """Return what `to_bytes` has written."""
        table = pq.read_table(pa.BufferReader(content))
        joined = b"".join(table[_COLUMN].to_pylist())
        return cls(np.frombuffer(joined, np.uint8).reshape(-1, 32), table.schema.metadata[_REST].decode())


def digest_of_rest(class_names: Sequence[str], keys: Sequence[str], labels: Sequence[int]) -> str:
    """Return the SHA-256 of all that makes a data set besides its images."""
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for key, label in zip(keys, labels, strict=True):
        digest.update(json.dumps([key, label]).encode())
    return digest.hexdigest()
