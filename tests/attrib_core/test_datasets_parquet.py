"""Parquet shards as Hugging Face writes them, on a disk and in a real S3 server."""

import io
import json
import pickle
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from PIL import Image

from attrib_core.datasets import Dataset, View, load_dataset
from attrib_core.datasets.parquet_images import ParquetImages

VIEW = View(image_size=8, channels=3)
NAMES = ["cat", "dog", "emu"]


def pixels_of(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def png(seed: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels_of(seed)).save(file, "PNG")
    return file.getvalue()


def table(
    seeds: Sequence[int], *, paths: Sequence[str | None] | None = None, names: list[str] | None = NAMES
) -> pa.Table:
    """Images of the seeds, labelled seed mod 3."""
    paths = [f"{seed}.png" for seed in seeds] if paths is None else paths
    images = [{"bytes": png(seed), "path": path} for seed, path in zip(seeds, paths, strict=True)]
    columns = {
        "image": pa.array(images, pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        "label": pa.array([seed % 3 for seed in seeds], pa.int64()),
    }
    if names is None:
        return pa.table(columns)
    label = {"names": names, "_type": "ClassLabel"}
    features = {"image": {"_type": "Image"}, "label": label}
    return pa.table(columns, metadata={"huggingface": json.dumps({"info": {"features": features}})})


def write(path: Path, content: pa.Table, row_group_size: int = 3) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(content, path, row_group_size=row_group_size)
    return path


def load(location: Path | str, split: str | None = None) -> Dataset:
    return load_dataset(f"parquet:{location}", split=split)


def assert_holds(dataset: Dataset, seeds: Sequence[int]) -> None:
    expected = np.stack([pixels_of(seed).transpose(2, 0, 1) for seed in seeds])
    np.testing.assert_array_equal(dataset.images(range(len(dataset)), VIEW), expected)
    assert dataset.labels.tolist() == [seed % 3 for seed in seeds]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twelve images in two shards that were not written in order, and what else lies in such folders."""
    folder = tmp_path / "pets"
    write(folder / "b.parquet", table(range(7, 12)))
    write(folder / "a.parquet", table(range(7)))
    (folder / "README.md").write_text("no shard")
    (folder / "_SUCCESS").touch()
    (folder / ".cache").mkdir()
    (folder / ".cache" / "part.parquet").write_bytes(b"no shard either")
    return folder


@pytest.fixture(scope="module")
def s3_endpoint() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_url(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    urllib.request.urlopen(urllib.request.Request(f"{s3_endpoint}/a-bucket", method="PUT")).close()
    return "s3://a-bucket/pets"


def test_shards_are_read_in_the_order_of_their_names(shards: Path) -> None:
    dataset = load(shards)
    assert_holds(dataset, range(12))
    assert dataset.class_names == tuple(NAMES)
    assert dataset.keys == tuple(f"{seed}.png" for seed in range(12))
    assert (dataset.name, dataset.split) == (f"parquet:{shards}", "all")


def test_any_order_of_indices_gives_the_same_images(shards: Path) -> None:
    dataset = load(shards)
    order = [11, 0, 6, 7, 6, 2]
    expected = [pixels_of(index).transpose(2, 0, 1) for index in order]
    np.testing.assert_array_equal(dataset.images(order, VIEW), np.stack(expected))


def test_one_file_is_a_data_set_too(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dataset = load("pets/a.parquet")
    monkeypatch.chdir("/")
    assert_holds(pickle.loads(pickle.dumps(dataset)), range(7))


def test_only_the_row_groups_asked_for_are_read(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, read = load(shards), []
    read_group = pq.ParquetFile.read_row_group

    def record(file: pq.ParquetFile, number: int, **options: Any) -> pa.Table:
        read.append((number, options["columns"]))
        return read_group(file, number, **options)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", record)
    dataset.images([4, 3], VIEW)  # rows of a.parquet are in groups 0-2, 3-5, 6
    dataset.images([5], VIEW)
    assert read == [(1, ["image.bytes"])]


def test_a_pickled_set_carries_no_images(shards: Path) -> None:
    dataset = load(shards)
    before = len(pickle.dumps(dataset))
    dataset.images([0], VIEW)
    assert isinstance(dataset.source, ParquetImages)
    assert len(pickle.dumps(dataset)) == before
    assert_holds(pickle.loads(pickle.dumps(dataset)), range(12))


def test_a_store_serves_the_same_set_as_a_disk(shards: Path, s3_url: str) -> None:
    filesystem, path = pafs.FileSystem.from_uri(s3_url)
    pafs.copy_files(str(shards), path, destination_filesystem=filesystem)
    dataset = load(s3_url)
    assert dataset.digest == load(shards).digest
    assert_holds(pickle.loads(pickle.dumps(dataset)), range(12))


def test_nothing_in_a_store_is_an_error(s3_url: str) -> None:
    with pytest.raises(ValueError, match="no Parquet file"):
        load(f"{s3_url}/nothing")


class TestSplits:
    @pytest.mark.parametrize(
        "names", ["test-0-of-1, train-0-of-1", "test/0, train/0", "data/test.0, data/train.0"]
    )
    def test_names_of_files_and_folders_are_splits(self, names: str, tmp_path: Path) -> None:
        test, train = names.split(", ")
        write(tmp_path / f"{test}.parquet", table([1, 2]))
        write(tmp_path / f"{train}.parquet", table([3]))
        assert_holds(load(tmp_path), [1, 2])
        assert_holds(load(tmp_path, "train"), [3])
        with pytest.raises(ValueError, match=r"split='all': .* has test, train"):
            load(tmp_path, "all")

    def test_the_only_split_needs_no_name(self, tmp_path: Path) -> None:
        dataset = load(write(tmp_path / "train-00000-of-00001.parquet", table([3])))
        assert dataset.split == "train"


class TestDigest:
    def test_it_does_not_depend_on_how_rows_are_sharded(self, shards: Path, tmp_path: Path) -> None:
        assert load(write(tmp_path / "one.parquet", table(range(12)), 5)).digest == load(shards).digest

    @pytest.mark.parametrize("change", ["image", "path", "label", "class name"])
    def test_any_change_of_the_content_changes_it(self, change: str, tmp_path: Path) -> None:
        other = {
            "image": table([0, 4], paths=["0.png", "1.png"]),
            "path": table([0, 1], paths=["0.png", "2.png"]),
            "label": table([0, 1]).set_column(1, "label", pa.array([0, 2])),
            "class name": table([0, 1], names=["cat", "dog", "gnu"]),
        }[change]
        before = load(write(tmp_path / "a.parquet", table([0, 1]))).digest
        assert load(write(tmp_path / "b.parquet", other)).digest != before


class TestKeys:
    @pytest.mark.parametrize(
        "paths",
        [
            [None, None],
            ["same.png", "same.png"],
            ["../../etc/passwd", "b.png"],
            ["/etc/passwd", "b.png"],
            ["..\\a.png", "b.png"],
            ["a\n.png", "b.png"],
            ["", "b.png"],
        ],
    )
    def test_paths_that_are_no_good_names_are_replaced_by_numbers(
        self, paths: list[str | None], tmp_path: Path
    ) -> None:
        dataset = load(write(tmp_path / "a.parquet", table([1, 2], paths=paths)))
        assert dataset.keys == ("00000", "00001")

    def test_other_paths_are_kept_whatever_their_letters(self, tmp_path: Path) -> None:
        paths = ["n01/größe 1.png", "n02/..b.png"]
        assert load(write(tmp_path / "a.parquet", table([1, 2], paths=paths))).keys == tuple(paths)


class TestMistakes:
    def test_without_names_classes_are_numbers(self, tmp_path: Path) -> None:
        assert load(write(tmp_path / "a.parquet", table([0, 2], names=None))).class_names == ("0", "1", "2")

    def test_shards_must_agree_on_their_classes(self, shards: Path) -> None:
        write(shards / "c.parquet", table([1], names=["dog", "cat", "emu"]))
        with pytest.raises(ValueError, match=r"a\.parquet and .*c\.parquet name different classes"):
            load(shards)

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"image": [b"x"], "label": [1]}, "'00000': no image"),
            ({"image": [{"path": "a"}], "label": [1]}, "needed are an `image` column"),
            (
                {"image": [{"bytes": b"x"}], "label": [["cat"]]},
                "label: list.*holds lists of labels.*needed are",
            ),
            ({"image": [{"bytes": b"x"}]}, "needed are"),
            ({"image": [{"bytes": b"x"}], "label": pa.array([None], pa.int64())}, "1 rows without a label"),
            ({"image": [{"bytes": png(0)}], "label": pa.array([2**63], pa.uint64())}, "beyond 64 bits"),
            ({"image": [{"bytes": png(0)}], "label": [10**9]}, "label 1000000000, accepted are less"),
            ({"image": [{"bytes": b"text"}], "label": [1]}, "'00000': no image"),
            (
                {"image": pa.array([{"bytes": None}], pa.struct({"bytes": pa.binary()})), "label": [1]},
                "no bytes",
            ),
        ],
    )
    def test_a_shard_that_is_not_of_images_is_refused(
        self, columns: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        write(tmp_path / "a.parquet", pa.table(columns))
        with pytest.raises(ValueError, match=message):
            load(tmp_path)

    def test_an_empty_shard_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no rows"):
            load(write(tmp_path / "a.parquet", table([])))

    def test_a_truncated_shard_is_named(self, shards: Path) -> None:
        path = shards / "b.parquet"
        path.write_bytes(path.read_bytes()[:-100])
        with pytest.raises(ValueError, match=r"b\.parquet: "):
            load(shards)

    def test_a_shard_that_vanished_is_named_with_the_key(self, shards: Path) -> None:
        dataset = pickle.loads(pickle.dumps(load(shards)))
        (shards / "b.parquet").unlink()
        with pytest.raises(ValueError, match=r"image '8\.png': .*b\.parquet"):
            dataset.images([0, 8], VIEW)

    def test_a_truncated_image_is_named_when_it_is_decoded(self, tmp_path: Path) -> None:
        column = pa.array([{"bytes": png(1)[:-60], "path": "1.png"}])
        dataset = load(write(tmp_path / "a.parquet", table([1]).set_column(0, "image", column)))
        with pytest.raises(ValueError, match=r"parquet:.*'1\.png': damaged"):
            dataset.images([0], VIEW)

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("/nonexistent/x.parquet", "/nonexistent/x.parquet: no Parquet file"),
            ("ftp://host/x", "ftp://host/x: accepted are paths, s3:// and gs://"),
            ("s3://key:secret@bucket/x", "credentials belong in the environment"),
        ],
    )
    def test_a_url_that_leads_nowhere_is_named(self, url: str, message: str) -> None:
        with pytest.raises(ValueError, match=message) as raised:
            load(url)
        assert "secret" not in str(raised.value)
