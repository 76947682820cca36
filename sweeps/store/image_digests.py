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

_COLUMN, _KEYS = "sha256", "key"
_REST = b"attrib_sweeps.keys_and_labels"


@dataclass(frozen=True, eq=False)
class ImageDigests:
    """SHA-256 `[N, 32]` of each image's bytes, one digest of all else (class names, keys, labels), and the keys.

    Directories of earlier versions have no keys.
    """

    sha256: NDArray[np.uint8]
    keys_and_labels: str
    keys: Sequence[str] | None = None

    def changed(self, other: "ImageDigests") -> list[int] | None:
        """Return the indices of images that differ; None for a data set of other keys, labels or classes."""
        if self.keys_and_labels != other.keys_and_labels:
            return None
        return [int(index) for index in np.flatnonzero((self.sha256 != other.sha256).any(axis=1))]

    def gone(self, other: "ImageDigests") -> list[str]:
        """Return the images that the other data set lacks: their keys, or their numbers if no key is known."""
        if self.keys is not None and other.keys is not None:
            present = set(other.keys)
            return [repr(key) for key in self.keys if key not in present]
        contents = {each.tobytes() for each in other.sha256}
        return [str(row) for row, each in enumerate(self.sha256) if each.tobytes() not in contents]

    def to_bytes(self) -> memoryview:
        """Return the content of the file."""
        column = pa.FixedSizeBinaryArray.from_buffers(
            pa.binary(32), len(self.sha256), [None, pa.py_buffer(self.sha256.tobytes())]
        )
        keys = {} if self.keys is None else {_KEYS: pa.array(list(self.keys), pa.string())}
        table = pa.table({_COLUMN: column, **keys}, metadata={_REST: self.keys_and_labels})
        sink = pa.BufferOutputStream()
        compression = {_COLUMN: "none", _KEYS: "zstd"}  # digests are as good as random
        pq.write_table(table, sink, use_dictionary=False, write_statistics=False, compression=compression)
        return memoryview(sink.getvalue()).cast("B")

    @classmethod
    def from_bytes(cls, content: bytes) -> "ImageDigests":
        """Return what `to_bytes` has written."""
        table = pq.read_table(pa.BufferReader(content))
        joined = b"".join(table[_COLUMN].to_pylist())
        keys = table[_KEYS].to_pylist() if _KEYS in table.column_names else None
        rest = table.schema.metadata[_REST].decode()
        return cls(np.frombuffer(joined, np.uint8).reshape(-1, 32), rest, keys)


def digest_of_rest(class_names: Sequence[str], keys: Sequence[str], labels: Sequence[int]) -> str:
    """Return the SHA-256 of all that makes a data set besides its images."""
    digest = hashlib.sha256(json.dumps(list(class_names)).encode())
    for key, label in zip(keys, labels, strict=True):
        digest.update(json.dumps([key, label]).encode())
    return digest.hexdigest()
