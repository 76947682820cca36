"""Which columns of a Parquet file hold the images and their labels, and in which form.

People's files differ: `image` of Hugging Face's struct, `img` or `jpg` of plain bytes, `pixel_values` as nested
lists; `label` as numbers, names or floats. A column is found by its type and its usual names where only one can be
meant. Otherwise the user names it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pyarrow as pa

IMAGE_NAMES = ("image", "img", "pixel_values", "jpg", "jpeg", "png", "webp")
LABEL_NAMES = ("label", "labels", "fine_label", "coarse_label", "cls", "class", "target", "y")
REQUIRED = (
    "an `image` column of struct<bytes: binary, path: string>, of binary, or of lists of uint8 of one shape, and "
    "a `label` column of integers or class names; --image-column and --label-column name columns of other names"
)
CHANNELS = (1, 3)
# Columns that only files of our run directories have together.
SWEEP_ROWS = {"sweep", "shard_id", "model_digest"}
SWEEP_IMAGES = ({"key", "image", "image_index"}, {"key", "image", "class_index"})

Features = Mapping[str, Any]  # Hugging Face's description of the columns, by name


@dataclass(frozen=True, kw_only=True)
class ImageColumn:
    """Images in a column: encoded, as plain bytes or in a struct's field `bytes`; or arrays of one `shape`."""

    name: str
    in_struct: bool = False
    has_paths: bool = False
    shape: tuple[int, ...] | None = None

    @property
    def path(self) -> str:
        """The column as Parquet names it."""
        return f"{self.name}.bytes" if self.in_struct else self.name

    def describe(self) -> str:
        """Return the column's name and form."""
        form = "encoded images" if self.shape is None else f"arrays {list(self.shape)}"
        return f"{self.name} ({form})"


@dataclass(frozen=True, kw_only=True)
class LabelColumn:
    """Labels in a column: class names if `is_text`, else numbers; `is_float` if stored as such."""

    name: str
    is_text: bool = False
    is_float: bool = False

    def describe(self) -> str:
        """Return the column's name and form."""
        return f"{self.name} ({'class names' if self.is_text else 'numbers'})"


Column = TypeVar("Column", ImageColumn, LabelColumn)


def refuse_files_of_sweeps(schema: Any, label_column: str | None) -> None:
    """Raise ValueError for results of a sweep, and for its images unless the user says what their labels are.

    The only number beside an image may be the class that an attack was to reach.
    """
    names = set(schema.names)
    if names >= SWEEP_ROWS:
        raise ValueError(
            "holds rows of a sweep, without images; accepted is a data set of images with labels"
        )
    if label_column is None and any(names >= columns for columns in SWEEP_IMAGES):
        raise ValueError(
            "holds images of a sweep, without labels; accepted with --label-column, such as class_index of "
            "generated ones"
        )


def find_image_column(schema: Any, features: Features, wanted: str | None) -> ImageColumn:
    """Return the column of images. Raises ValueError where none or several could be meant, or it is not usable."""
    found = {field.name: _image_column(field.name, field.type, features) for field in schema}
    if wanted is not None:
        return _usable(found, wanted, "image_column", schema)
    usable = {name: column for name, column in found.items() if isinstance(column, ImageColumn)}
    likely = [
        name
        for name, column in usable.items()
        if column.in_struct or name in IMAGE_NAMES or _feature(features, name).get("_type") == "Image"
    ]
    plain = [name for name, column in usable.items() if column.shape is None]
    if chosen := only_one(likely or plain, "images", "--image-column"):
        return usable[chosen]
    named = next((name for name in IMAGE_NAMES if name in found), None)
    reason = f"; `{named}` cannot be used: {found[named]}" if named else ""
    raise ValueError(f"has {_listed(schema)}; needed are {REQUIRED}{reason}")


def find_label_column(schema: Any, features: Features, wanted: str | None) -> LabelColumn:
    """Return the column of labels. Raises ValueError where none or several could be meant, or it is not usable.

    `label` is taken for it whatever stands beside it.
    """
    found = {field.name: _label_column(field.name, field.type) for field in schema}
    if wanted is not None:
        return _usable(found, wanted, "label_column", schema)
    likely = [
        name for name in found if name in LABEL_NAMES or _feature(features, name).get("_type") == "ClassLabel"
    ]
    chosen = "label" if "label" in likely else only_one(likely, "labels", "--label-column")
    if chosen is None:
        raise ValueError(f"has {_listed(schema)}; needed are {REQUIRED}")
    column = found[chosen]
    if isinstance(column, str):
        raise ValueError(f"has {_listed(schema)}: `{chosen}` cannot be used: {column}; needed are {REQUIRED}")
    return column


def storage_type(kind: Any) -> Any:
    """Return the type of the values behind an extension type or a dictionary."""
    if isinstance(kind, pa.BaseExtensionType):
        return storage_type(kind.storage_type)
    return storage_type(kind.value_type) if pa.types.is_dictionary(kind) else kind


def is_binary(kind: Any) -> bool:
    """Return whether values are bytes."""
    types = pa.types
    return any(
        check(kind)
        for check in (
            types.is_binary,
            types.is_large_binary,
            types.is_binary_view,
            types.is_fixed_size_binary,
        )
    )


def is_text(kind: Any) -> bool:
    """Return whether values are strings."""
    types = pa.types
    return any(check(kind) for check in (types.is_string, types.is_large_string, types.is_string_view))


def is_list(kind: Any) -> bool:
    """Return whether values are lists of some kind."""
    types = pa.types
    checks = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view)
    return any(check(kind) for check in checks)


def only_one(names: Sequence[str], what: str, option: str) -> str | None:
    """Return the only name, None if there is none. Raises ValueError naming the option if there are several."""
    if len(names) > 1:
        listed = ", ".join(f"`{name}`" for name in names)
        raise ValueError(f"its {what} may be in {listed}: say which by {option}")
    return names[0] if names else None


def _usable(found: Mapping[str, Column | str], wanted: str, option: str, schema: Any) -> Column:
    if wanted not in found:
        raise ValueError(f"{option}={wanted!r}: no such column; it has {_listed(schema)}")
    column = found[wanted]
    if isinstance(column, str):
        raise ValueError(f"{option}={wanted!r}: cannot be used: {column}")
    return column


def _image_column(name: str, kind: Any, features: Features) -> ImageColumn | str:
    """Return a column of images, or why it is none."""
    values = storage_type(kind)
    if pa.types.is_struct(values):
        fields = {field.name: field.type for field in values}
        if not is_binary(storage_type(fields.get("bytes", pa.null()))):
            return "a struct without a field `bytes` of binary"
        has_paths = is_text(storage_type(fields.get("path", pa.null())))
        return ImageColumn(name=name, in_struct=True, has_paths=has_paths)
    if is_binary(values):
        return ImageColumn(name=name)
    if is_list(values):
        return _array_column(name, values, _feature(features, name))
    if is_text(values):
        return f"{kind} holds text, such as paths; needed are the images' bytes"
    return f"{kind} holds no images"


def _array_column(name: str, kind: Any, feature: Features) -> ImageColumn | str:
    lengths: list[int | None] = []
    while is_list(kind):
        lengths.append(kind.list_size if pa.types.is_fixed_size_list(kind) else None)
        kind = kind.value_type
    if kind != pa.uint8():
        return f"its pixels are {kind}, of unknown range; accepted are uint8"
    known = feature.get("shape") or lengths
    shape = tuple(length for length in known if isinstance(length, int))
    if len(shape) != len(lengths) or not shape or math.prod(shape) == 0:
        return "lists without a fixed shape"
    if (len(shape) == 3 and (shape[0] in CHANNELS) != (shape[2] in CHANNELS)) or len(shape) == 2:
        return ImageColumn(name=name, shape=shape)
    return f"shape {list(shape)} is not clear: accepted are [H, W], [C, H, W] and [H, W, C] with C 1 or 3"


def _label_column(name: str, kind: Any) -> LabelColumn | str:
    """Return a column of labels, or why it is none."""
    values = storage_type(kind)
    if is_list(values):
        return f"{kind} holds lists of labels; accepted is one label an image"
    if is_text(values):
        return LabelColumn(name=name, is_text=True)
    if pa.types.is_integer(values) or pa.types.is_boolean(values):
        return LabelColumn(name=name)
    if pa.types.is_floating(values) or pa.types.is_decimal(values):
        return LabelColumn(name=name, is_float=True)
    return f"{kind} holds no labels"


def _feature(features: Features, name: str) -> Features:
    feature = features.get(name)
    return feature if isinstance(feature, Mapping) else {}


def _listed(schema: Any) -> str:
    return ", ".join(f"{field.name}: {field.type}" for field in schema)
