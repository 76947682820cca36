"""Fashion-MNIST as a user gets it, and every way in which its files can be missing or wrong."""

import gzip
import hashlib
import os
import pickle
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets import FashionMNIST

from attrib_core.datasets import Dataset, View, fashion_mnist_files, load_dataset
from attrib_core.datasets.idx_files import find_file, read_bytes

VIEW = View(image_size=28, channels=1)
IMAGES, LABELS = "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"


@pytest.fixture(scope="session")
def real_folder(test_split: Dataset) -> Path:
    return fashion_mnist_files.find_folder(None, (IMAGES, LABELS))


def real_bytes(folder: Path, name: str) -> bytes:
    path = find_file(folder, name)
    assert path is not None
    return read_bytes(path)


@pytest.fixture
def root(real_folder: Path, tmp_path: Path) -> Path:
    """A user's own copy, to be damaged."""
    for name in (IMAGES, LABELS):
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(real_bytes(real_folder, name), compresslevel=1))
    return tmp_path


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes()


def write_set(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / IMAGES).write_bytes(idx(images.astype(np.uint8)))
    (folder / LABELS).write_bytes(idx(labels.astype(np.uint8)))
    return folder


def test_the_test_split_is_the_default_and_whole(test_split: Dataset) -> None:
    assert (test_split.name, test_split.split, len(test_split)) == ("fashion_mnist", "test", 10_000)
    assert np.bincount(test_split.labels).tolist() == [1000] * 10
    assert test_split.class_names[0] == "T-shirt/top"
    assert test_split.class_names[9] == "Ankle boot"
    assert test_split.keys[42] == "00042"


def test_images_and_labels_are_those_that_torchvision_reads(
    test_split: Dataset, real_folder: Path, tmp_path: Path
) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name in fashion_mnist_files.SHA256:
        (raw / name).write_bytes(real_bytes(real_folder, name))
    theirs = FashionMNIST(str(tmp_path), train=False)
    np.testing.assert_array_equal(test_split.labels, theirs.targets.numpy())
    ours = test_split.images(range(len(test_split)), VIEW)
    np.testing.assert_array_equal(ours, theirs.data.numpy()[:, None])
    assert load_dataset("fashion_mnist", root=tmp_path).digest == test_split.digest
    assert len(load_dataset("fashion_mnist", root=tmp_path, split="train")) == 60_000


def test_three_channels_and_other_sizes_are_made_from_grey(test_split: Dataset) -> None:
    colour = test_split.images([3, 1], View(image_size=28, channels=3))
    np.testing.assert_array_equal(colour, np.repeat(test_split.images([3, 1], VIEW), 3, axis=1))
    assert test_split.images([3, 1], View(image_size=224, channels=3)).shape == (2, 3, 224, 224)
    assert test_split.images([], View(image_size=224, channels=3)).shape == (0, 3, 224, 224)


def test_a_pickled_set_works_on_memory_that_cannot_be_written(test_split: Dataset) -> None:
    buffers: list[pickle.PickleBuffer] = []
    content = pickle.dumps(test_split, protocol=5, buffer_callback=buffers.append)
    assert len(content) < 200_000  # the arrays travel beside it
    shared = [memoryview(buffer.raw()).toreadonly() for buffer in buffers]
    copy = pickle.loads(content, buffers=shared)
    assert copy.digest == test_split.digest
    np.testing.assert_array_equal(copy.images([7], VIEW), test_split.images([7], VIEW))
    copy.images([7], VIEW)[:] = 0  # what a reader gets is its own


@pytest.mark.parametrize("index", [-1, 10_000])
def test_an_index_outside_is_named(test_split: Dataset, index: int) -> None:
    with pytest.raises(ValueError, match=f"index {index}, accepted are 0 to 9999"):
        test_split.images([0, index], VIEW)


@pytest.mark.parametrize("layout", fashion_mnist_files.LAYOUTS)
def test_a_root_may_have_any_of_three_layouts(layout: str, tmp_path: Path) -> None:
    images = np.arange(2 * 28 * 28).reshape(2, 28, 28) % 256
    write_set(tmp_path / layout, images, np.array([9, 0]))
    dataset = load_dataset("fashion_mnist", root=tmp_path)
    assert dataset.labels.tolist() == [9, 0]
    np.testing.assert_array_equal(dataset.images([1, 0], VIEW), images[[1, 0], None])


def test_one_changed_pixel_or_label_changes_the_digest(tmp_path: Path) -> None:
    images, labels = np.zeros((3, 28, 28)), np.array([1, 2, 3])
    other_image, other_label = images.copy(), np.array([1, 2, 4])
    other_image[2, 27, 27] = 1
    sets = [(images, labels), (other_image, labels), (images, other_label), (images, labels)]
    digests = [
        load_dataset("fashion_mnist", root=write_set(tmp_path / str(number), *each)).digest
        for number, each in enumerate(sets)
    ]
    assert digests[0] == digests[3]
    assert len(set(digests)) == 3


def test_an_explicit_root_without_the_files_is_an_error_not_a_reason_to_look_elsewhere(
    test_split: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(
        ValueError, match=r"data_root=.*lacks t10k-images.*apt-get install dataset-fashion-mnist"
    ):
        load_dataset("fashion_mnist", root=tmp_path)


@pytest.mark.parametrize("split", ["val", "", "TEST"])
def test_an_unknown_split_is_named(split: str) -> None:
    with pytest.raises(ValueError, match="train, test"):
        load_dataset("fashion_mnist", split=split)


def test_a_truncated_file_is_named_with_what_to_do(root: Path) -> None:
    path = root / f"{IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ValueError, match=rf"{IMAGES}\.gz: truncated or damaged .*delete it"):
        load_dataset("fashion_mnist", root=root)


def test_a_flipped_byte_in_a_compressed_file_is_noticed(root: Path) -> None:
    path = root / f"{IMAGES}.gz"
    content = bytearray(path.read_bytes())
    content[1_000_000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{IMAGES}\.gz"):
        load_dataset("fashion_mnist", root=root)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGES, b"", "begins with"),
        (IMAGES, idx(np.zeros(4, np.uint8)), "begins with 00000801.*00000803"),
        (IMAGES, idx(np.zeros((2, 28, 28), np.uint8))[:-1], "1583 bytes where its header promises 1584"),
        (IMAGES, struct.pack(">HBB3I", 0, 8, 3, *[2**32 - 1] * 3), "header promises"),
        (IMAGES, idx(np.zeros((2, 32, 32), np.uint8)), "28×28"),
        (IMAGES, idx(np.zeros((3, 28, 28), np.uint8)), "3 images and 2 labels"),
        (LABELS, idx(np.array([0, 10], np.uint8)), "label 10 of image 1, accepted are 0 to 9"),
    ],
)
def test_what_is_not_right_in_a_file_is_named(
    name: str, content: bytes, message: str, tmp_path: Path
) -> None:
    write_set(tmp_path, np.zeros((2, 28, 28)), np.zeros(2))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_dataset("fashion_mnist", root=tmp_path)


def test_a_file_in_the_cache_that_is_not_fashion_mnist_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist_files, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    write_set(fashion_mnist_files.cache_folder(), np.zeros((2, 28, 28)), np.zeros(2))
    with pytest.raises(ValueError, match=r"SHA-256; delete it"):
        load_dataset("fashion_mnist")


# Not even root can write to these, as nobody else can to a read-only folder.
@pytest.mark.parametrize("cache", ["a file", "/proc"])
def test_a_cache_that_cannot_be_written_is_one_error_that_says_what_to_run(
    cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist_files, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / cache))
    (tmp_path / "a file").write_text("no cache can be made here")
    with pytest.raises(ValueError, match=r"apt-get: .*torchvision: .*apt-get install dataset-fashion-mnist"):
        load_dataset("fashion_mnist")


FETCH = """
import sys
from pathlib import Path
from attrib_core.datasets import fashion_mnist_files, load_dataset

fashion_mnist_files.SYSTEM_FOLDER = Path("/nonexistent") / fashion_mnist_files.SYSTEM_FOLDER.relative_to("/")
source = Path(sys.argv[1])

def from_elsewhere(scratch):
    for path in source.iterdir():
        (scratch / path.name).write_bytes(path.read_bytes())
    return scratch

fashion_mnist_files._from_debian = fashion_mnist_files._from_torchvision = from_elsewhere
print(load_dataset("fashion_mnist").digest)
"""


def start_fetching(source: Path, cache: Path) -> subprocess.Popen[str]:
    """A process with an empty cache; the network is left out, so that the test is about the cache."""
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, str(source)],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_that_fetch_at_once_both_get_the_set(
    real_folder: Path, test_split: Dataset, tmp_path: Path
) -> None:
    processes = [start_fetching(real_folder, tmp_path) for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [output.strip() for output, _ in outputs] == [test_split.digest] * 2, outputs
    cache = tmp_path / "attrib-sweeps"
    assert [path.name for path in cache.iterdir()] == ["fashion-mnist"], "a scratch folder is left"
    for name, digest in fashion_mnist_files.SHA256.items():
        assert hashlib.sha256(real_bytes(cache / "fashion-mnist", name)).hexdigest() == digest


def test_a_download_that_is_not_the_set_is_kept_out_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong_files(scratch: Path) -> Path:
        for name in fashion_mnist_files.SHA256:
            (scratch / name).write_bytes(idx(np.zeros((2, 28, 28), np.uint8)))
        return scratch

    monkeypatch.setattr(fashion_mnist_files, "SYSTEM_FOLDER", tmp_path / "none")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for way in ("_from_debian", "_from_torchvision"):
        monkeypatch.setattr(fashion_mnist_files, way, wrong_files)
    with pytest.raises(ValueError, match="is missing or not what it should be") as caught:
        load_dataset("fashion_mnist")
    assert str(caught.value).count("is missing or not what it should be") == 2  # by either way
    kept = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept == []
