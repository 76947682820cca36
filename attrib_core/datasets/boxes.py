"""Boxes around what an image shows: read from a table's column, checked, and seen through a `View`."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray

from attrib_core.datasets.view import View
from attrib_core.references import unknown

BoxesFormat = Literal["xyxy", "xywh"]
FORMATS: tuple[BoxesFormat, ...] = get_args(BoxesFormat)
# Boxes that people draw end up to so many pixels beyond their image, by rounding. They are cut to it.
OVERSHOOT = 1.0


@dataclass(frozen=True, eq=False)
class Boxes:
    """The boxes of N images: `corners` `[n, 4]` of each, left, top, right, bottom in pixels of the stored image.

    The first pixel reaches from 0 to 1. `sizes` `[N, 2]` are the images' width and height, turned upright.
    """

    corners: Sequence[NDArray[np.float64]]
    sizes: NDArray[np.int64]

    def __post_init__(self) -> None:
        assert len(self.corners) == len(self.sizes)

    @property
    def digest(self) -> str:
        """SHA-256 over all boxes, as hexadecimal."""
        digest = hashlib.sha256()
        for corners in self.corners:
            digest.update(f"{len(corners)} ".encode() + corners.astype("<f8").tobytes())
        return digest.hexdigest()

    def seen(self, indices: Sequence[int], view: View) -> NDArray[np.float32]:
        """Return boxes `[B, n, 4]` in pixels of the classifier's images; rows of NaN where an image has fewer.

        They are cut to what the classifier sees. A box that is cropped away is left out.
        """
        found = [view.boxes(self.corners[index], tuple(self.sizes[index].tolist())) for index in indices]
        most = max((len(boxes) for boxes in found), default=0)
        padded = np.full((len(found), most, 4), np.nan, np.float32)
        for row, boxes in zip(padded, found, strict=True):
            row[: len(boxes)] = boxes
        return padded

    def selected(self, rows: NDArray[np.int64]) -> Self:
        """Return the boxes of the images at `rows`."""
        return type(self)([self.corners[row] for row in rows.tolist()], self.sizes[rows])


def read_boxes(name: str, rows: Sequence[Any], box_format: str, where: Sequence[str]) -> list[Any]:
    """Return the corners `[n, 4]` of each row of column `name`: of null, of one box, or of a list of boxes.

    `where` says which file and row each is. Raises ValueError naming it for values that are no boxes.
    """
    parts = name.split(".")
    return [
        _corners(f"{place}: {name}", _inside(value, parts[1:]), box_format)
        for place, value in zip(where, rows, strict=True)
    ]


def checked(
    corners: Sequence[NDArray[np.float64]], sizes: NDArray[np.int64], where: Sequence[str], name: str
) -> Boxes:
    """Return boxes, cut to their images. Raises ValueError naming the first that reaches beyond its image.

    An image without a size, because it cannot be read, is not asked for.
    """
    cut = []
    for each, size, place in zip(corners, sizes, where, strict=True):
        limits = np.array([*size, *size], np.float64)
        if size.any() and len(each) and ((each < -OVERSHOOT) | (each > limits + OVERSHOOT)).any():
            wrong = each[((each < -OVERSHOOT) | (each > limits + OVERSHOOT)).any(1)][0]
            raise ValueError(
                f"{place}: {name}: a box from ({wrong[0]:g}, {wrong[1]:g}) to ({wrong[2]:g}, {wrong[3]:g}) "
                f"reaches beyond its image of {size[0]} x {size[1]} pixels; accepted are boxes inside it"
            )
        cut.append(np.clip(each, 0, limits) if size.any() else each)
    return Boxes(cut, sizes)


def find_boxes_column(schema: Any, wanted: str) -> str:
    """Return the column that holds `wanted`, such as `objects.bbox`. Raises ValueError with near matches."""
    column, *fields = wanted.split(".")
    if column not in schema.names:
        raise ValueError(f"boxes_column={wanted!r}: {unknown('column', column, schema.names)}")
    kind = schema.field(column).type
    for field in fields:
        while hasattr(kind, "value_type"):
            kind = kind.value_type
        names = [kind.field(place).name for place in range(getattr(kind, "num_fields", 0))]
        if field not in names:
            raise ValueError(f"boxes_column={wanted!r}: {unknown('field', field, names)}")
        kind = kind.field(field).type
    return column


def check_format(box_format: str) -> None:
    """Raise ValueError for an unknown format."""
    if box_format not in FORMATS:
        raise ValueError(f"boxes_format={box_format!r}: accepted are {', '.join(FORMATS)}")


def _inside(value: Any, fields: Sequence[str]) -> Any:
    """Return what nested fields of a value hold; of a list those of each element."""
    for field in fields:
        if isinstance(value, list):
            value = [None if each is None else each.get(field) for each in value]
        elif value is not None:
            value = value.get(field)
    return value


def _corners(place: str, value: Any, box_format: str) -> NDArray[np.float64]:
    if value is None or len(value) == 0:
        return np.empty((0, 4))
    try:
        boxes = np.array(value, np.float64)
    except (TypeError, ValueError):
        boxes = np.empty(0)
    if boxes.shape == (4,):
        boxes = boxes[None]
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{place}: {value!r:.80}; accepted are lists of four numbers, {box_format}")
    if box_format == "xywh":
        boxes[:, 2:] += boxes[:, :2]
    # NaN fails every comparison.
    is_box = np.isfinite(boxes).all(1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    if not is_box.all():
        wrong = value if np.ndim(value) == 1 else value[int(np.flatnonzero(~is_box)[0])]
        raise ValueError(
            f"{place}: {wrong} is no box of positive size; accepted are finite numbers, {box_format}"
        )
    return boxes
