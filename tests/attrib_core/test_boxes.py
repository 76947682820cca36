"""Boxes of Parquet files: how they are read, refused, and seen through a classifier's view."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attrib_core.datasets import Dataset, View, load_dataset, subset

NUMBERS = pa.list_(pa.list_(pa.float64()))
Load = Callable[..., Dataset]


def encoded(width: int, height: int, orientation: int | None = None) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    Image.new("RGB", (width, height)).save(file, "JPEG", exif=exif)
    return file.getvalue()


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Images of 40 × 20 with the rows' boxes."""

    def load(rows: list[Any], kind: Any = NUMBERS, column: str = "boxes", image: bytes = b"", **options: Any):
        columns = {
            "image": pa.array([image or encoded(40, 20)] * len(rows), pa.binary()),
            "label": pa.array([row % 2 for row in range(len(rows))]),
            column: pa.array(rows, kind),
        }
        pq.write_table(pa.table(columns), tmp_path / "some.parquet")
        options = {"boxes_column": column} | options
        return load_dataset(f"parquet:{tmp_path / 'some.parquet'}", **options)

    return load


def test_boxes_are_read_by_row(load: Load) -> None:
    found = load([[[1, 2, 3, 4], [5, 6, 7, 8]], None, [], [[0, 0, 40.4, 20]]])
    corners = [each.tolist() for each in found.boxes.corners]
    assert corners == [[[1, 2, 3, 4], [5, 6, 7, 8]], [], [], [[0, 0, 40, 20]]]  # cut to the image


def test_corner_and_size(load: Load) -> None:
    found = load([[[1, 2, 30, 4]]], boxes_format="xywh")
    assert found.boxes.corners[0].tolist() == [[1, 2, 31, 6]]


def test_one_box_an_image(load: Load) -> None:
    found = load([[1, 2, 3, 4]], kind=pa.list_(pa.int32(), 4))
    assert found.boxes.corners[0].tolist() == [[1, 2, 3, 4]]


@pytest.mark.parametrize(
    ("kind", "row"),
    [
        (pa.struct({"bbox": NUMBERS}), {"bbox": [[1.0, 2, 3, 4]]}),
        (pa.list_(pa.struct({"bbox": pa.list_(pa.float32())})), [{"bbox": [1, 2, 3, 4]}]),
    ],
)
def test_fields_of_structs(load: Load, kind: Any, row: Any) -> None:
    found = load([row, None], kind=kind, column="objects", boxes_column="objects.bbox")
    assert [each.tolist() for each in found.boxes.corners] == [[[1, 2, 3, 4]], []]
    with pytest.raises(ValueError, match="near matches are bbox"):
        load([row], kind=kind, column="objects", boxes_column="objects.box")


def test_boxes_belong_to_the_upright_image(load: Load) -> None:
    found = load([[[0, 30, 10, 39]]], image=encoded(40, 20, orientation=6))
    assert found.boxes.sizes.tolist() == [[20, 40]]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ([[1, 2, 42, 4]], r"some.parquet: row 1: boxes: a box from \(1, 2\) to \(42, 4\).*40 x 20"),
        ([[-3, 2, 4, 4]], "beyond its image"),
        ([[5, 2, 5, 4]], r"row 1: boxes: \[5.0, 2.0, 5.0, 4.0\] is no box of positive size"),
        ([[1, 2, 3, 4], [5, 4, 6, 2]], r"\[5.0, 4.0, 6.0, 2.0\] is no box"),
        ([[1, 2, 3, float("nan")]], "accepted are finite numbers, xyxy"),
        ([[1, 2, 3]], "accepted are lists of four numbers, xyxy"),
        ([[1, 2, 3, 4], [1]], "accepted are lists of four numbers"),
    ],
)
def test_values_that_are_no_boxes_are_refused(load: Load, row: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        load([[], row])


def test_columns_that_are_not_there_are_refused(load: Load) -> None:
    with pytest.raises(ValueError, match="boxes_column='boxs': no column 'boxs'; near matches are boxes"):
        load([[]], boxes_column="boxs")
    with pytest.raises(ValueError, match="boxes_format='xy': accepted are xyxy, xywh"):
        load([[]], boxes_format="xy")
    with pytest.raises(ValueError, match="accepted with parquet:URL"):
        load_dataset("fashion_mnist", boxes_column="boxes")


def test_texts_are_no_boxes(load: Load) -> None:
    with pytest.raises(ValueError, match="lists of four numbers"):
        load(["1,2,3,4"], kind=pa.string())


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # 40 × 20 becomes 20 × 10, of which the middle is seen: pixels 5 to 15 of the width.
        ({"image_size": 10}, [[1, 1, 7, 4]]),
        # 40 × 20 becomes 28 × 14: scale 0.7, margins 9 and 2.
        ({"image_size": 10, "resize_size": 14}, [[0, 0, 7.8, 3.6]]),
        ({"image_size": 10, "crop_mode": "squash"}, [[3, 1, 6, 4]]),
        # 40 × 20 becomes 10 × 5, with a border of 2 or 3 lines above.
        ({"image_size": 10, "crop_mode": "border"}, [[3, 2.5, 6, 4]]),
    ],
)
def test_boxes_follow_the_view(load: Load, options: dict[str, Any], expected: list[list[float]]) -> None:
    view = View(channels=3, **options)
    [found] = load([[[12, 2, 24, 8]]]).boxes.seen([0], view)
    if options.get("crop_mode") == "border":
        top = view._margin(5 - 10)
        expected = [[3, 0.5 - top, 6, 2 - top]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_marked_rectangle_stays_in_its_box(load: Load) -> None:
    """The view's own pixels say where a box goes."""
    picture = np.zeros((90, 130, 3), np.uint8)
    picture[20:50, 60:100] = 255
    for crop_mode in ("center", "squash", "border"):
        view = View(image_size=32, channels=3, crop_mode=crop_mode, resize_size=None)
        lit = view.apply(Image.fromarray(picture))[0] > 127
        [(left, top, right, bottom)] = view.boxes(np.array([[60.0, 20, 100, 50]]), (130, 90))
        rows, columns = np.flatnonzero(lit.any(1)), np.flatnonzero(lit.any(0))
        for found, edge in zip((columns[0], columns[-1] + 1), (left, right), strict=True):
            assert abs(found - edge) <= 1
        for found, edge in zip((rows[0], rows[-1] + 1), (top, bottom), strict=True):
            assert abs(found - edge) <= 1


def test_a_box_outside_the_crop_is_left_out(load: Load) -> None:
    view = View(image_size=10, channels=3)
    dataset = load([[[0, 0, 9, 20], [10, 0, 12, 2]], [[39, 0, 40, 1]], None])
    found = dataset.boxes.seen([0, 1, 2], view)
    np.testing.assert_allclose(found[0], [[0, 0, 1, 1]])
    assert found.shape == (3, 1, 4)
    assert np.isnan(found[1:]).all()
    some = subset(dataset, ["1"])
    np.testing.assert_array_equal(some.boxes.corners[0], dataset.boxes.corners[1])


def test_boxes_change_no_digest_of_the_data(load: Load) -> None:
    one, other = load([[[1, 2, 3, 4]]]), load([[[1, 2, 3, 5]]])
    assert one.digest == other.digest
    assert one.boxes.digest != other.boxes.digest
