"""What a map-style data set gives for an index: an image in one of several forms, and a label."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from attrib_core.datasets.encoded_images import DAMAGED
from attrib_core.datasets.parquet_columns import CHANNELS, IMAGE_NAMES, LABEL_NAMES, only_one
from attrib_core.errors import in_one_line

IMAGE_FORMS = "PIL images, uint8 arrays [H, W], [H, W, C] or [C, H, W] with C 1 or 3, and floats in [0, 1]"
ITEM_FORMS = "(image, label), or a dict such as {'image': image, 'label': label}"
# Of floats: what arithmetic in float32 may add to 1, and to a step of 8-bit images.
OVERSHOOT = 1e-5
ON_THE_GRID = 1e-3
RGBA = 4


class ItemError(ValueError):
    """An item that is not of a form that is read here: the data set's mistake, not a damaged file."""


@dataclass(frozen=True)
class ItemColumns:
    """The keys of image and label in items that are dicts; None finds them by their usual names."""

    image: str | None = None
    label: str | None = None


USUAL_COLUMNS = ItemColumns()


def image_and_label(item: Any, columns: ItemColumns) -> tuple[Any, Any]:
    """Return image and label of an item; of a longer tuple the first two. Raises ItemError for other forms."""
    if isinstance(item, Mapping):
        keys = [key for key in item if isinstance(key, str)]
        image = _key(keys, columns.image, IMAGE_NAMES, "image", "--image-column")
        return item[image], item[_key(keys, columns.label, LABEL_NAMES, "label", "--label-column")]
    if columns != USUAL_COLUMNS:
        raise ItemError(
            f"image_column, label_column: its items are no dicts but of type {type(item).__name__}; leave these "
            "options out"
        )
    if isinstance(item, Sequence) and not isinstance(item, str | bytes) and len(item) > 1:
        return item[0], item[1]
    kind = f"a {type(item).__name__} of {len(item)}" if isinstance(item, Sequence) else type(item).__name__
    raise ItemError(f"the data set returns {kind}; accepted are {ITEM_FORMS}")


def as_image(value: Any) -> tuple[Image.Image, float]:
    """Return an image as PIL's, and the largest change of a value in [0, 1] by rounding it to 8 bits.

    Raises ItemError for values whose meaning is not clear, and OSError for a damaged file.
    """
    if isinstance(value, Image.Image):
        try:
            value.load()
        except DAMAGED as error:
            raise OSError(in_one_line(error)) from error
        if value.mode != "F":
            return value, 0.0
        value = np.asarray(value)
    if isinstance(value, Tensor):
        value = _array_of(value)
    if not isinstance(value, np.ndarray):
        raise ItemError(f"its image is of type {type(value).__name__}; accepted are {IMAGE_FORMS}")
    pixels, change = _eight_bits(_channels_last(value))
    return Image.fromarray(np.ascontiguousarray(pixels)), change


def image_digest(image: Image.Image) -> bytes:
    """Return the SHA-256 of an image's pixels, size and mode."""
    pixels = image.convert("RGBA") if image.mode == "P" else image  # the palette is part of the image
    return hashlib.sha256(f"{pixels.mode} {pixels.size} ".encode() + pixels.tobytes()).digest()


def _key(keys: Sequence[str], wanted: str | None, usual: Sequence[str], what: str, option: str) -> str:
    listed = ", ".join(keys)
    if wanted is not None:
        if wanted in keys:
            return wanted
        raise ItemError(f"{option} {wanted}: no such key; its items have {listed}")
    found = [key for key in keys if key in usual]
    if what in found:
        return what
    try:
        key = only_one(found, f"{what}s", option)
    except ValueError as error:
        raise ItemError(str(error)) from None
    if key is None:
        raise ItemError(
            f"its items have {listed or 'no keys'}, none of {', '.join(usual)}; say which is the {what} by "
            f"{option}"
        )
    return key


def _array_of(tensor: Tensor) -> NDArray[Any]:
    tensor = tensor.detach().cpu()
    array: NDArray[Any] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return array


def _channels_last(array: NDArray[Any]) -> NDArray[Any]:
    """Return `[H, W]` or `[H, W, C]`. Raises ItemError for a shape that can be read in two ways, or none."""
    shape = array.shape
    if array.ndim == 2 and array.size:
        return array
    if array.ndim == 3 and array.size:
        first, last = shape[0] in CHANNELS, shape[2] in (*CHANNELS, RGBA)
        if first and not last:
            array = array.transpose(1, 2, 0)
        if first != last:
            return array[..., 0] if array.shape[2] == 1 else array
    raise ItemError(f"its image has the shape {list(shape)}; accepted are {IMAGE_FORMS}")


def _eight_bits(array: NDArray[Any]) -> tuple[NDArray[np.uint8], float]:
    if array.dtype == np.uint8:
        return array, 0.0
    if array.dtype != bool and not np.issubdtype(array.dtype, np.floating):
        raise ItemError(f"its image has values of {array.dtype}; accepted are {IMAGE_FORMS}")
    values = array.astype(np.float64 if array.dtype == np.float64 else np.float32)
    low, high = float(values.min()), float(values.max())
    if not np.isfinite((low, high)).all():
        raise ItemError("its image has values that are no numbers; accepted are floats in [0, 1]")
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        remedy = "the model normalises, so leave Normalize out" if low < 0 else "divide by 255, or give uint8"
        raise ItemError(
            f"its image has values from {low:.4g} to {high:.4g}; accepted are floats in [0, 1]: {remedy}"
        )
    steps = values * 255
    levels = np.rint(steps)
    change = float(np.abs(steps - levels).max())
    return levels.clip(0, 255).astype(np.uint8), change / 255 if change > ON_THE_GRID else 0.0
