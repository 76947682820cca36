"""Parquet files as five writers make them: the right images and labels, or one line that says what is missing."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from attrib_core.datasets import Dataset, View, load_dataset

GRAY, COLOR = View(image_size=4, channels=1), View(image_size=4, channels=3)
ENCODED = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def pixels(seed: int, shape: tuple[int, ...] = (4, 4, 3)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels(seed)).save(file, "PNG")
    return file.getvalue()


PNGS = [png(0), png(1)]
STRUCTS = [{"bytes": content, "path": None} for content in PNGS]
IMAGES = np.stack([pixels(0), pixels(1)])
GRAY_IMAGES = np.stack([pixels(0, (4, 4)), pixels(1, (4, 4))])


def arrow(**columns: Any) -> Callable[[Path], None]:
    return lambda file: pq.write_table(pa.table(columns), file)


def described(features: dict[str, Any], **columns: Any) -> Callable[[Path], None]:
    """A table with Hugging Face's description of its columns."""
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return lambda file: pq.write_table(pa.table(columns, metadata=metadata), file)


def class_label(*names: str) -> dict[str, Any]:
    return {"names": list(names), "_type": "ClassLabel"}


def pandas(**columns: Any) -> Callable[[Path], None]:
    return lambda file: pd.DataFrame(columns).to_parquet(file)


def polars(**columns: Any) -> Callable[[Path], None]:
    return lambda file: pl.DataFrame(columns).write_parquet(file)


def duck(select: str) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        frame = pl.DataFrame({"content": PNGS, "number": [0, 1]})  # noqa: F841  # duckdb finds it by name
        duckdb.sql(f"copy (select {select} from frame) to '{file}' (format parquet)")

    return write


def hugging_face(features: dict[str, Any], **columns: Any) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        made = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
        made.to_parquet(file)

    return write


def nested(array: np.ndarray, dtype: Any = None, *, fixed: bool = True) -> pa.Array:
    """An array `[N, ...]` as lists of lists, fixed in size or not."""
    kind = dtype or pa.uint8()
    for length in reversed(array.shape[1:]):
        kind = pa.list_(kind, length) if fixed else pa.list_(kind)
    return pa.array(array.tolist(), kind)


HF_IMAGE = datasets.Image()
BINARY = pa.array(PNGS, pa.binary())
STRUCT = pa.array(STRUCTS, ENCODED)

# Images and labels are those of seeds 0 and 1, in all of these; class names are as given.
READ: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "CIFAR-10 on the hub": (
        hugging_face(
            {"img": HF_IMAGE, "label": datasets.ClassLabel(names=["cat", "dog"])}, img=PNGS, label=[0, 1]
        ),
        ("cat", "dog"),
    ),
    "fine labels alone": (
        described({"fine_label": class_label("b", "a")}, img=STRUCT, fine_label=[0, 1]),
        ("b", "a"),
    ),
    "labels": (arrow(image=STRUCT, labels=[0, 1]), ("0", "1")),
    "target": (arrow(image=STRUCT, target=[0, 1]), ("0", "1")),
    "y": (arrow(image=STRUCT, y=[0, 1]), ("0", "1")),
    "class": (arrow(image=STRUCT, **{"class": [0, 1]}), ("0", "1")),
    "a class label of any name": (
        described({"disease": class_label("ill", "well")}, image=STRUCT, disease=[0, 1]),
        ("ill", "well"),
    ),
    "label beside others": (arrow(image=STRUCT, label=[0, 1], target=[5, 6], y=[7, 8]), ("0", "1")),
    "WebDataset": (arrow(jpg=BINARY, cls=[0, 1], __key__=["a", "b"], json=["{}", "{}"]), ("0", "1")),
    "WebDataset, png": (arrow(png=STRUCT, cls=[0, 1]), ("0", "1")),
    "WebDataset, webp": (arrow(webp=BINARY, cls=[0, 1]), ("0", "1")),
    "plain bytes": (arrow(image=BINARY, label=[0, 1]), ("0", "1")),
    "bytes under any name": (arrow(content=BINARY, label=[0, 1]), ("0", "1")),
    "bytes beside other bytes": (arrow(image=BINARY, md5=pa.array([b"0", b"1"]), label=[0, 1]), ("0", "1")),
    "large bytes": (arrow(image=pa.array(PNGS, pa.large_binary()), label=[0, 1]), ("0", "1")),
    "a view of bytes": (arrow(image=pa.array(PNGS, pa.binary_view()), label=[0, 1]), ("0", "1")),
    "bytes in a dictionary": (arrow(image=BINARY.dictionary_encode(), label=[0, 1]), ("0", "1")),
    "views in a struct": (
        arrow(
            image=pa.array(STRUCTS, pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())])),
            label=[0, 1],
        ),
        ("0", "1"),
    ),
    "a struct without paths": (
        arrow(image=pa.array([{"bytes": each} for each in PNGS]), label=[0, 1]),
        ("0", "1"),
    ),
    "names": (arrow(image=STRUCT, label=["cat", "dog"]), ("cat", "dog")),
    "a view of names": (arrow(image=STRUCT, label=pa.array(["cat", "dog"], pa.string_view())), ("cat", "dog")),
    "names in a dictionary": (
        arrow(image=STRUCT, label=pa.array(["cat", "dog"]).dictionary_encode()),
        ("cat", "dog"),
    ),
    "8 bits": (arrow(image=STRUCT, label=pa.array([0, 1], pa.uint8())), ("0", "1")),
    "truth values": (arrow(image=STRUCT, label=[False, True]), ("0", "1")),
    "floats that are integers": (arrow(image=STRUCT, label=[0.0, 1.0]), ("0", "1")),
    "pandas": (pandas(img=STRUCTS, label=[0, 1]), ("0", "1")),
    "pandas, bytes and categories": (
        pandas(image=PNGS, label=pd.Categorical(["cat", "dog"])),
        ("cat", "dog"),
    ),
    "polars": (polars(image=STRUCTS, label=pl.Series([0, 1], dtype=pl.Int8)), ("0", "1")),
    "polars, bytes and categories": (
        polars(image=PNGS, label=pl.Series(["cat", "dog"], dtype=pl.Categorical)),
        ("cat", "dog"),
    ),
    "polars, an enumeration": (
        polars(image=PNGS, label=pl.Series(["cat", "dog"], dtype=pl.Enum(["dog", "cat"]))),
        ("cat", "dog"),
    ),
    "duckdb": (duck("content as image, number::utinyint as label"), ("0", "1")),
    "duckdb, a struct": (duck("{'bytes': content, 'path': 'a' || number} as image, number as label"), ("0", "1")),
    "duckdb, decimals": (duck("content as image, number::decimal(4, 1) as label"), ("0", "1")),
    "Hugging Face, 3D arrays": (
        hugging_face(
            {
                "pixel_values": datasets.Array3D((4, 4, 3), "uint8"),
                "labels": datasets.ClassLabel(names=["a", "b"]),
            },
            pixel_values=IMAGES.tolist(),
            labels=[0, 1],
        ),
        ("a", "b"),
    ),
    "fixed lists, channels last": (arrow(pixel_values=nested(IMAGES), label=[0, 1]), ("0", "1")),
    "fixed lists, channels first": (
        arrow(pixel_values=nested(IMAGES.transpose(0, 3, 1, 2)), label=[0, 1]),
        ("0", "1"),
    ),
    "polars, arrays": (
        lambda file: pl.DataFrame(
            {"image": pl.Series(IMAGES, dtype=pl.Array(pl.UInt8, (4, 4, 3))), "label": [0, 1]}
        ).write_parquet(file),
        ("0", "1"),
    ),
}  # fmt: skip


def load(file: Path, **options: Any) -> Dataset:
    return load_dataset(f"parquet:{file}", **options)


@pytest.mark.parametrize("case", READ)
def test_images_and_labels_are_found(case: str, tmp_path: Path) -> None:
    write, class_names = READ[case]
    write(tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    np.testing.assert_array_equal(dataset.images([0, 1, 0], COLOR), IMAGES[[0, 1, 0]].transpose(0, 3, 1, 2))
    assert [dataset.class_names[label] for label in dataset.labels] == [class_names[0], class_names[1]]
    assert dataset.class_names == class_names


@pytest.mark.parametrize(
    "column",
    [
        nested(GRAY_IMAGES),
        nested(GRAY_IMAGES[:, None]),
        nested(GRAY_IMAGES[..., None]),
    ],
    ids=["HW", "1HW", "HW1"],
)
def test_gray_arrays_are_found(column: pa.Array, tmp_path: Path) -> None:
    arrow(image=column, label=[0, 1])(tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet")
    np.testing.assert_array_equal(dataset.images([0, 1], GRAY)[:, 0], GRAY_IMAGES)


def test_columns_can_be_named(tmp_path: Path) -> None:
    wrong = pa.array([{"bytes": png(7), "path": None}] * 2, ENCODED)
    features = {"coarse_label": class_label("pet", "plant"), "fine_label": class_label("cat", "fir")}
    write = described(features, left=wrong, right=STRUCT, fine_label=[1, 1], coarse_label=[0, 1])
    write(tmp_path / "a.parquet")
    dataset = load(tmp_path / "a.parquet", image_column="right", label_column="coarse_label")
    np.testing.assert_array_equal(dataset.images([0, 1], COLOR), IMAGES.transpose(0, 3, 1, 2))
    assert (dataset.labels.tolist(), dataset.class_names) == ([0, 1], ("pet", "plant"))
    assert dataset.notes == ("images are in column right (encoded images), labels in coarse_label (numbers)",)


def test_generated_images_can_be_given_with_their_classes(tmp_path: Path) -> None:
    arrow(key=["0", "1"], image=STRUCT, class_index=[1, 0], seed=[0, 0])(tmp_path / "a.parquet")
    assert load(tmp_path, label_column="class_index").labels.tolist() == [1, 0]


def test_names_in_rows_are_classes_in_sorted_order_over_all_files(tmp_path: Path) -> None:
    arrow(image=STRUCT, label=["emu", "dog"])(tmp_path / "a.parquet")
    arrow(image=STRUCT, label=["cat", "dog"])(tmp_path / "b.parquet")
    dataset = load(tmp_path)
    assert dataset.class_names == ("cat", "dog", "emu")
    assert dataset.labels.tolist() == [2, 1, 0, 1]


def test_it_is_said_that_labels_are_floats(tmp_path: Path) -> None:
    arrow(image=STRUCT, label=[0.0, 1.0])(tmp_path / "a.parquet")
    assert load(tmp_path).notes == ("labels in column label are stored as floats, all of them integers",)


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "fine and coarse": (
        arrow(img=STRUCT, fine_label=[0, 1], coarse_label=[0, 0]),
        "its labels may be in `fine_label`, `coarse_label`: say which by --label-column",
    ),
    "two images": (
        arrow(image=STRUCT, img=STRUCT, label=[0, 1]),
        "its images may be in `image`, `img`: say which by --image-column",
    ),
    "rows of a sweep": (
        arrow(sweep=["attack"], model_digest=["0"], shard_id=["s"], label=[0], image_key=["0"]),
        "a.parquet: holds rows of a sweep, without images; accepted is a data set",
    ),
    "images that an attack made": (
        arrow(key=["0", "1"], image=STRUCT, image_index=[0, 1], target=[7, 7]),
        "holds images of a sweep, without labels; accepted with --label-column",
    ),
    "images that a sweep generated": (
        arrow(key=["0", "1"], image=STRUCT, class_index=[0, 1], seed=[0, 0]), "holds images of a sweep, without"
    ),
    "two structs": (arrow(left=STRUCT, right=STRUCT, label=[0, 1]), "its images may be in `left`, `right`"),
    "two columns of bytes": (arrow(a=BINARY, b=BINARY, label=[0, 1]), "its images may be in `a`, `b`"),
    "two class labels": (
        described({"a": class_label("x"), "b": class_label("y")}, image=STRUCT, a=[0, 0], b=[0, 0]),
        "its labels may be in `a`, `b`",
    ),
    "several labels an image": (
        arrow(image=STRUCT, label=[[0], [0, 1]]),
        "holds lists of labels; accepted is one label an image",
    ),
    "no label": (arrow(image=STRUCT, text=["a", "b"]), "text: string; needed are"),
    "no image": (arrow(label=[0, 1]), "needed are an `image` column"),
    "paths": (arrow(image=["a.png", "b.png"], label=[0, 1]), "string holds text, such as paths"),
    "null labels": (arrow(image=STRUCT, label=[0, None]), "1 rows without a label"),
    "empty names": (
        arrow(image=STRUCT, label=["cat", " "]),
        "a.parquet: row 1: its label is ' ', as in 1 of 2 rows; accepted is a class name in each row",
    ),
    "null names": (arrow(image=STRUCT, label=["cat", None]), "1 rows without a label"),
    "unlabelled": (arrow(image=STRUCT, label=[-1, 1]), "1 of 2 rows have label -1 (unlabelled)"),
    "an unlabelled test set": (
        described({"label": class_label("a", "b")}, image=STRUCT, label=[-1, -1]),
        "2 of 2 rows have label -1 (unlabelled); accepted is a split with labels (--split)",
    ),
    "negative": (arrow(image=STRUCT, label=[-5, 1]), "label -5, accepted are 0 and more"),
    "fractions": (arrow(image=STRUCT, label=[0.5, 1.0]), "labels that are no integers"),
    "not a number": (arrow(image=STRUCT, label=[float("nan"), 1.0]), "labels that are no integers"),
    "dates": (arrow(image=STRUCT, label=pa.array([0, 1], pa.timestamp("s"))), "timestamp[ms] holds no labels"),
    "floating pixels": (
        arrow(pixel_values=nested(IMAGES, pa.float32()), label=[0, 1]),
        "its pixels are float, of unknown range; accepted are uint8",
    ),
    "lists of any length": (
        arrow(pixel_values=nested(IMAGES, fixed=False), label=[0, 1]),
        "lists without a fixed shape",
    ),
    "flat lists": (
        arrow(pixel_values=nested(IMAGES.reshape(2, -1)), label=[0, 1]),
        "shape [48] is not clear: accepted are [H, W]",
    ),
    "channels on both ends": (
        arrow(image=nested(pixels(0, (2, 3, 4, 3))), label=[0, 1]),
        "shape [3, 4, 3] is not clear",
    ),
    "four channels": (arrow(image=nested(pixels(0, (2, 4, 4, 4))), label=[0, 1]), "shape [4, 4, 4] is not clear"),
    "polars, lists of integers": (
        polars(image=IMAGES.tolist(), label=[0, 1]),
        "its pixels are int64, of unknown range",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_without_doubt_is_refused_in_one_line(case: str, tmp_path: Path) -> None:
    write, message = REFUSED[case]
    write(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^.*$") as refused:
        load(tmp_path / "a.parquet")
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_column": "photo"}, "image_column='photo': no such column; it has image: struct"),
        ({"image_column": "label"}, "image_column='label': cannot be used: int64 holds no images"),
        ({"label_column": "cls"}, "label_column='cls': no such column"),
        ({"label_column": "image"}, "label_column='image': cannot be used: struct"),
    ],
)
def test_a_column_that_was_named_must_fit(options: dict[str, str], message: str, tmp_path: Path) -> None:
    arrow(image=STRUCT, label=[0, 1])(tmp_path / "a.parquet")
    with pytest.raises(ValueError, match=r"^.*$") as refused:
        load(tmp_path / "a.parquet", **options)
    assert message in str(refused.value)


def test_folders_have_no_columns(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"image_column='img': imagefolder:.* has no columns"):
        load_dataset(f"imagefolder:{tmp_path}", image_column="img")


@pytest.mark.parametrize(
    "other",
    [
        arrow(image=BINARY, label=[0, 1]),
        arrow(image=STRUCT, label=["a", "b"]),
        arrow(img=STRUCT, label=[0, 1]),
        arrow(image=STRUCT, labels=[0, 1]),
    ],
    ids=["bytes", "names", "other image column", "other label column"],
)
def test_files_with_other_columns_are_named(other: Callable[[Path], None], tmp_path: Path) -> None:
    arrow(image=STRUCT, label=[0, 1])(tmp_path / "a.parquet")
    other(tmp_path / "b.parquet")
    with pytest.raises(
        ValueError, match=r"its files differ: .*a\.parquet has .*, .*b\.parquet has .*one kind"
    ):
        load(tmp_path)


def test_a_null_image_is_an_unreadable_one(tmp_path: Path) -> None:
    arrow(image=pa.array([*PNGS, None], pa.binary()), label=[0, 1, 1])(tmp_path / "a.parquet")
    dataset = load(tmp_path, refuse_unreadable=False)
    assert dict(dataset.unreadable) == {2: "holds no bytes"}
    with pytest.raises(ValueError, match="image '00002': holds no bytes"):
        load(tmp_path)


class TestOrientation:
    """Hugging Face datasets turns an image as its EXIF orientation says; torchvision's ImageFolder does not."""

    @staticmethod
    def turned(kind: str = "JPEG") -> bytes:
        """A wide image that is to be seen upright."""
        file, exif = io.BytesIO(), Image.Exif()
        exif[274] = 6
        left = np.zeros((4, 8, 3), np.uint8)
        left[:, :4] = 255
        Image.fromarray(left).save(file, kind, exif=exif)
        return file.getvalue()

    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
    def test_parquet_images_are_turned_as_datasets_does(self, kind: str, tmp_path: Path) -> None:
        features = {"image": HF_IMAGE, "label": datasets.Value("int64")}
        hugging_face(features, image=[self.turned(kind), PNGS[0]], label=[0, 1])(tmp_path / "a.parquet")
        dataset = load(tmp_path / "a.parquet")
        theirs = datasets.Dataset.from_parquet(str(tmp_path / "a.parquet"), cache_dir=str(tmp_path / "cache"))
        view = View(image_size=4, channels=3)
        np.testing.assert_array_equal(dataset.images([0], view)[0], view.apply(theirs[0]["image"]))
        upper, lower = dataset.images([0], view)[0].reshape(3, 2, 8).mean(axis=(0, 2))
        assert (upper > 200, lower < 50) == (True, True)
        assert dataset.num_turned == 1

    def test_images_in_folders_are_not(self, tmp_path: Path) -> None:
        (tmp_path / "a").mkdir()
        (tmp_path / "a" / "0.jpg").write_bytes(self.turned())
        dataset = load_dataset(f"imagefolder:{tmp_path}")
        image = dataset.images([0], View(image_size=4, channels=1))[0, 0].astype(int)
        assert image[:, 0].mean() > image[:, 3].mean() + 100
        assert dataset.num_turned == 0


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("hf://datasets/nobody/nothing", "hf://datasets/nobody/nothing"),
        ("http://127.0.0.1:1/a.parquet", "accepted are paths, s3:// and gs://"),
        ("az://container/a", "accepted are paths, s3:// and gs://"),
        ("hdfs://127.0.0.1:1/a", "accepted are paths, s3:// and gs://"),
    ],
)
def test_a_scheme_that_cannot_be_read_is_refused_in_one_line(
    url: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(ValueError, match=r"^.*$") as refused:
        load_dataset(f"parquet:{url}")
    assert message in str(refused.value)
