"""Data sets of torchvision and of Hugging Face, from local files that the tests write."""

import hashlib
import pickle
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision
from numpy.typing import NDArray
from PIL import Image

from attrib_core.datasets import UnreadableImagesError, View, load_dataset
from attrib_core.datasets.arrays import ArrayImages

datasets = pytest.importorskip("datasets")

GREY, COLOUR = View(image_size=28, channels=1), View(image_size=12, channels=3, resize_size=14)
GARMENTS = ("T-shirt/top", "Trouser")


def write_idx(file: Path, values: NDArray[np.uint8]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    header = bytes((0, 0, 8, values.ndim)) + struct.pack(f">{values.ndim}I", *values.shape)
    file.write_bytes(header + values.tobytes())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Some images in the files of FashionMNIST and GTSRB, and as a folder of classes."""
    random = np.random.default_rng(0)
    for prefix, count in (("train", 7), ("t10k", 5)):
        raw = tmp_path / "FashionMNIST" / "raw"
        write_idx(
            raw / f"{prefix}-images-idx3-ubyte", random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        )
        write_idx(raw / f"{prefix}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8))
    signs = tmp_path / "gtsrb" / "GTSRB" / "Final_Test" / "Images"
    signs.mkdir(parents=True)
    lines = ["Filename;ClassId"]
    for row in range(6):
        pixels = random.integers(0, 256, (16 + row, 20, 3), dtype=np.uint8)
        for file in (signs / f"{row}.ppm", tmp_path / "folder" / f"class{row % 2}" / f"{row}.png"):
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(file)
        lines.append(f"{row}.ppm;{row * 7}")
    (tmp_path / "gtsrb" / "GT-final_test.csv").write_text("\n".join(lines))
    return tmp_path


def test_arrays_of_torchvision_are_used_as_they_are(root: Path) -> None:
    ours = load_dataset("fashion_mnist", root=root)
    for split, count in ((None, 5), ("test", 5), ("train", 7)):
        dataset = load_dataset("torchvision:FashionMNIST", split=split, root=root)
        assert (len(dataset), dataset.split) == (count, split or "test")
    dataset = load_dataset("torchvision:FashionMNIST", root=root)
    assert isinstance(dataset.source, ArrayImages)
    assert (dataset.class_names, dataset.digest) == (ours.class_names, ours.digest)
    assert np.array_equal(dataset.images(range(5), GREY), ours.images(range(5), GREY))


@pytest.mark.parametrize(
    "view",
    [
        View(image_size=32, channels=3),
        View(image_size=32, channels=1),
        View(image_size=12, channels=3, resize_size=14),
    ],
)
def test_colour_arrays_are_seen_as_images(root: Path, monkeypatch: pytest.MonkeyPatch, view: View) -> None:
    kind = torchvision.datasets.CIFAR10
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)
    names = ["airplane", "automobile", "bird", "cat"]
    folder = root / kind.base_folder
    folder.mkdir()
    (folder / "test_batch").write_bytes(pickle.dumps({"data": pixels.reshape(4, -1), "labels": [3, 0, 1, 2]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": names}))
    sums = {file.name: hashlib.md5(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": sums["batches.meta"]})
    monkeypatch.setattr(kind, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(kind, "train_list", [])
    dataset = load_dataset("torchvision:CIFAR10", root=root)
    assert isinstance(dataset.source, ArrayImages)
    assert (dataset.class_names, dataset.labels.tolist()) == (tuple(names), [3, 0, 1, 2])
    expected = [view.apply(Image.fromarray(image.transpose(1, 2, 0))) for image in pixels]
    assert np.array_equal(dataset.images(range(4), view), expected)


def test_files_of_torchvision_are_read_as_those_of_a_folder(root: Path) -> None:
    expected = load_dataset(f"imagefolder:{root}/folder")
    dataset = load_dataset("torchvision:ImageFolder", root=root / "folder")
    assert (dataset.class_names, dataset.labels.tolist()) == (expected.class_names, expected.labels.tolist())
    for each in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert np.array_equal(each.images(range(6), COLOUR), expected.images(range(6), COLOUR))
    signs = load_dataset("torchvision:GTSRB", root=root)
    assert signs.labels.tolist() == [0, 7, 14, 21, 28, 35]
    assert signs.class_names == tuple(map(str, range(36)))
    by_class = [0, 2, 4, 1, 3, 5]
    assert np.array_equal(signs.images(by_class, COLOUR), expected.images(range(6), COLOUR))


def test_settings_go_to_the_constructor_and_a_download_is_not_part_of_the_name(root: Path) -> None:
    dataset = load_dataset("torchvision:FakeData:size=3:num_classes=4:random_offset=1")
    assert (len(dataset), dataset.split) == (3, "all")
    assert dataset.name == "torchvision:FakeData:num_classes=4:random_offset=1:size=3"
    # The files are there, so nothing is fetched.
    assert (
        load_dataset("torchvision:FashionMNIST:download=true", root=root).name == "torchvision:FashionMNIST"
    )


def test_a_damaged_file_of_torchvision_is_its_own_failure(root: Path) -> None:
    file = root / "folder" / "class1" / "3.png"
    file.write_bytes(file.read_bytes()[:300])
    dataset = load_dataset("torchvision:ImageFolder", root=root / "folder", refuse_unreadable=False)
    [index] = dataset.unreadable
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1, 1]
    with pytest.raises(UnreadableImagesError, match="damaged or not readable"):
        dataset.images([index], COLOUR)


TORCHVISION_MISTAKES = {
    "FashionMNIST": (
        {"root": "/nowhere"},
        "Dataset not found.*the folder in which torchvision has put its files, or",
    ),
    "FashionMNIST:train=true": ({"split": "test"}, "split='test': .* says it already"),
    "GTSRB": ({"split": "val"}, "split='val': torchvision:GTSRB has train, test"),
    "OxfordIIITPet": ({"split": "train"}, "split='train': torchvision:OxfordIIITPet has trainval, test"),
    "EMNIST": ({}, "it needs split; accepted is torchvision:EMNIST:split=VALUE"),
    "EMNIST:split=letter": ({}, "Unknown value 'letter' for argument split"),
    "ImageFolder": ({"split": "test"}, "split='test': torchvision:ImageFolder has all"),
    "ImageFolder:transform=x": ({}, "no setting 'transform'"),
    "FakeData:size=many": ({}, "size=many: Input should be a valid integer"),
    "FakeData:size=0": ({}, "it has no images"),
    "CIFAR10": ({"image_column": "img"}, "has no columns; accepted with parquet:URL, hf:NAME and functions"),
    "VOCDetection": ({"root": "/nowhere"}, "Dataset not found or corrupted"),
}


@pytest.mark.parametrize("name", TORCHVISION_MISTAKES)
def test_a_mistake_with_torchvision_is_one_line(root: Path, name: str) -> None:
    options, message = TORCHVISION_MISTAKES[name]
    arguments: dict[str, Any] = {"root": root / "folder", **options}
    with pytest.raises(ValueError, match=message) as caught:
        load_dataset(f"torchvision:{name}", **arguments)
    assert "\n" not in str(caught.value)


@pytest.fixture
def table(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The folder as a table of `datasets`, in which nothing is kept beyond the test."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", root / "cache")
    datasets.disable_progress_bars()
    files = sorted((root / "folder").rglob("*.png"))
    images = [{"bytes": file.read_bytes(), "path": file.name} for file in files]
    labels = datasets.ClassLabel(names=["class0", "class1"])
    features = datasets.Features({"image": datasets.Image(), "label": labels})
    rows = {"image": images, "label": [int(file.parent.name[-1]) for file in files]}
    return datasets.Dataset.from_dict(rows, features=features)


FOLDERS = ("saved", "saved with splits", "parquet", "images")


def write_folder(form: str, root: Path, table: Any) -> Path:
    place = root / form.replace(" ", "_")
    if form == "saved":
        table.save_to_disk(place)
    elif form == "saved with splits":
        datasets.DatasetDict({"train": table.select([0]), "test": table}).save_to_disk(place)
    elif form == "parquet":
        (place / "data").mkdir(parents=True)
        table.to_parquet(place / "data" / "test-00000-of-00001.parquet")
    else:
        (root / "folder").rename(place)
    return place


@pytest.mark.parametrize("form", FOLDERS)
def test_a_local_folder_of_hugging_face_is_read(root: Path, table: Any, form: str) -> None:
    expected = load_dataset(f"imagefolder:{root}/folder")
    images = expected.images(range(6), COLOUR)
    place = write_folder(form, root, table)
    dataset = load_dataset(f"hf:{place}")
    assert dataset.name == f"hf:{place}"
    assert (dataset.class_names, dataset.labels.tolist()) == (expected.class_names, expected.labels.tolist())
    assert np.array_equal(
        dataset.image_digests, expected.image_digests
    )  # of the files' bytes: nothing is decoded
    for each in (dataset, pickle.loads(pickle.dumps(dataset))):
        assert np.array_equal(each.images(range(6), COLOUR), images)
    if form == "saved with splits":
        assert dataset.notes == ("splits: train (1 images), test (6 images); taken: test",)
        assert len(load_dataset(f"hf:{place}", split="train")) == 1


def test_arrays_and_other_columns_of_hugging_face_are_read(root: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 12, 12, 3), dtype=np.uint8)
    features = {"pixels": datasets.Array3D((12, 12, 3), "uint8"), "kind": datasets.Value("string")}
    rows = {"pixels": list(pixels), "kind": ["b", "a", "b", "a"]}
    datasets.Dataset.from_dict(rows, features=datasets.Features(features)).save_to_disk(root / "arrays")
    dataset = load_dataset(f"hf:{root}/arrays", image_column="pixels", label_column="kind")
    assert (dataset.class_names, dataset.labels.tolist()) == (("a", "b"), [1, 0, 1, 0])
    assert np.array_equal(
        dataset.images(range(4), View(image_size=12, channels=3)), pixels.transpose(0, 3, 1, 2)
    )


def test_another_table_on_another_machine_is_refused(root: Path, table: Any) -> None:
    place = root / "saved"
    table.save_to_disk(place)
    content = pickle.dumps(load_dataset(f"hf:{place}"))
    for changed, message in (
        (table.select([0, 1]), "2 images here, 6 when the sweep was started"),
        (table.select([5, 4, 3, 2, 1, 0]), "it is another image than when the sweep was started"),
    ):
        place.rename(root / f"old{len(changed)}")
        changed.save_to_disk(place)
        with pytest.raises(ValueError, match=message):
            pickle.loads(content).images([0], COLOUR)


HF_MISTAKES = {
    "label": ([1, -1], "1 of 2 rows have label -1 (unlabelled)"),
    "none": ([1, None], "1 rows without a label"),
    "half": ([0.0, 0.5], "labels that are no integers"),
}


@pytest.mark.parametrize("case", HF_MISTAKES)
def test_a_mistake_in_a_table_is_one_line(root: Path, table: Any, case: str) -> None:
    labels, message = HF_MISTAKES[case]
    images = [{"bytes": b"", "path": "a.png"}] * 2
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("float32")})
    rows = datasets.Dataset.from_dict({"image": images, "label": labels}, features=features)
    rows.save_to_disk(root / "wrong")
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset(f"hf:{root}/wrong")


def test_a_folder_that_is_no_data_set_is_one_line(root: Path) -> None:
    (root / "empty").mkdir()
    with pytest.raises(ValueError, match="empty': cannot be read"):
        load_dataset(f"hf:{root}/empty")


def test_a_missing_library_is_named(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "datasets", None)
    with pytest.raises(ValueError, match=r"accepted after pip install 'attrib-sweeps\[hf\]'"):
        load_dataset(f"hf:{root}/folder")
