"""Which files of other people's folders belong to which split, held against Hugging Face's own reading."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets.data_files import DataFilesDict, get_data_patterns
from PIL import Image

from attrib_core.datasets import load_dataset
from attrib_core.datasets.splits import KEYWORDS, choose_files, choose_split, keyword_of

HUB_NAMES = {keyword: kind for kind, keywords in KEYWORDS.items() for keyword in keywords}

SHARD = "00000-of-00001.parquet"

# Names of files, and the splits they make.
LAYOUTS = [
    (["train.parquet", "test.parquet"], {"test": [1], "train": [0]}),
    (["mnist-train.parquet", "mnist-test.parquet"], {"test": [1], "train": [0]}),
    (["train_0.parquet", "test_0.parquet"], {"test": [1], "train": [0]}),
    (["train0.parquet", "test0.parquet"], {"test": [1], "train": [0]}),
    (["eval.parquet", "train.parquet"], {"test": [0], "train": [1]}),
    (["evaluation.parquet", "training.parquet"], {"test": [0], "train": [1]}),
    (["testing.parquet", "training.parquet"], {"test": [0], "train": [1]}),
    (["train/a.parquet", "dev/a.parquet"], {"validation": [1], "train": [0]}),
    (["train/a.parquet", "train/b.parquet", "val/a.parquet"], {"val": [2], "train": [0, 1]}),
    (["valid/a.parquet", "test/a.parquet"], {"test": [1], "valid": [0]}),
    (["a_train.parquet", "a_dev.parquet", "a_test.parquet"], {"test": [2], "validation": [1], "train": [0]}),
    (["my.set.dev.parquet", "my.set.train.parquet"], {"validation": [0], "train": [1]}),
    (["mnist train.parquet", "mnist test.parquet"], {"test": [1], "train": [0]}),
    (["1train2.parquet", "1test2.parquet"], {"test": [1], "train": [0]}),
    (["my-train/0.parquet", "my-test/0.parquet"], {"test": [1], "train": [0]}),
    (["train_set/0.parquet", "test_set/0.parquet"], {"test": [1], "train": [0]}),
    (["default/train/0.parquet", "default/test/0.parquet"], {"test": [1], "train": [0]}),
    (
        [f"data/test-{SHARD}", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"],
        {"test": [0], "train": [1, 2]},
    ),
    ([f"data/test-{SHARD}", f"data/extra-{SHARD}"], {"test": [0], "extra": [1]}),
    ([f"plain_text/test-{SHARD}", f"plain_text/train-{SHARD}"], {"test": [0], "train": [1]}),
    (["train-00000-of-00001-a4.parquet", f"validation-{SHARD}"], {"validation": [1], "train": [0]}),
    (["a.parquet", "b.parquet"], {"all": [0, 1]}),
    (["trainer.parquet", "contest.parquet"], {"all": [0, 1]}),
    (["0000.parquet", "0001.parquet"], {"all": [0, 1]}),
    (["pretrain/0.parquet", "latest/0.parquet"], {"all": [0, 1]}),
    (["train.parquet"], {"train": [0]}),
]  # fmt: skip


def parts_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    return [PurePosixPath(name).parts for name in names]


@pytest.mark.parametrize(("names", "expected"), LAYOUTS)
def test_files_belong_to_splits(names: list[str], expected: dict[str, list[int]]) -> None:
    split, files = choose_files("set", parts_of(names), None)
    assert files == expected
    assert split == next(iter(expected))


@pytest.mark.parametrize(("names", "expected"), LAYOUTS)
def test_hugging_face_finds_the_same(
    names: list[str], expected: dict[str, list[int]], tmp_path: Path
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = get_data_patterns(str(tmp_path))
    found = DataFilesDict.from_patterns(patterns, base_path=str(tmp_path))
    theirs = {
        str(split): {Path(file).relative_to(tmp_path).as_posix() for file in files}
        for split, files in found.items()
    }
    # What is in no split is "train" there.
    ours = {
        HUB_NAMES.get(split, "train" if split == "all" else split): rows for split, rows in expected.items()
    }
    assert theirs == {split: {names[row] for row in rows} for split, rows in ours.items()}


# Beyond Hugging Face's reading: capitals, splits of one kind kept apart, and mixtures.
@pytest.mark.parametrize(
    ("names", "wanted", "split", "rows"),
    [
        (["Train.parquet", "TEST.parquet"], None, "test", [1]),
        (["test.parquet", "eval.parquet"], None, "test", [0]),
        (["test.parquet", "eval.parquet"], "eval", "eval", [1]),
        (["val.parquet", "dev.parquet", "train.parquet"], None, "val", [0]),
        (["eval.parquet", "train.parquet"], "test", "test", [0]),
        (["eval.parquet", "train.parquet"], "eval", "test", [0]),
        (["val.parquet", "train.parquet"], "validation", "val", [0]),
        (["train/a.parquet", "dev/a.parquet"], "dev", "validation", [1]),
        (["train.parquet", "other.parquet"], "train", "train", [0]),
        (["train.parquet", "other.parquet"], "all", "all", [0, 1]),
        (["train.parquet"], "all", "all", [0]),
        (["train-test.parquet"], None, "train", [0]),
        (["x-train-test.parquet"], None, "all", [0]),
    ],
)
def test_the_choice_among_splits(names: list[str], wanted: str | None, split: str, rows: list[int]) -> None:
    found, files = choose_files("set", parts_of(names), wanted)
    assert (found, files[found]) == (split, rows)


@pytest.mark.parametrize(
    ("names", "wanted", "message"),
    [
        (["train.parquet", "other.parquet"], None, r"splits train, and 'other.parquet' to none; .* train, all$"),
        (["data/train-00000-of-00001.parquet", *(f"{n}.parquet" for n in range(5))], None, "and 2 more to none"),
        (["train.parquet", "test.parquet"], "all", "split='all': set has test, train"),
        (["train.parquet", "test.parquet"], "val", "split='val': set has test, train"),
        (["val.parquet", "dev.parquet", "train.parquet"], "validation", "set has val, dev, train"),
        (["a.parquet"], "test", "split='test': set has all"),
    ],
)  # fmt: skip
def test_mixtures_and_missing_splits_are_one_line(names: list[str], wanted: str | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_files("set", parts_of(names), wanted)


def test_a_keyword_stands_between_separators() -> None:
    found = {
        name: keyword_of(name) for name in ("test tube", "contest", "latest", "Dev", "my_eval_1", "constrain")
    }
    assert found == {
        "test tube": "test",
        "contest": None,
        "latest": None,
        "Dev": "dev",
        "my_eval_1": "eval",
        "constrain": None,
    }


def test_a_fixed_set_takes_other_names_of_its_split() -> None:
    assert choose_split("imagenet", ("val",), "validation") == "val"


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)


class TestFolders:
    @pytest.mark.parametrize(
        ("files", "wanted", "split", "class_names", "num_images"),
        [
            (["train/a/1", "test/a/1"], None, "test", ("a",), 1),
            (["training/a/1", "testing/a/1"], None, "test", ("a",), 1),
            (["train/a/1", "dev/a/1", "dev/a/2"], None, "validation", ("a",), 2),
            (["Train/a/1", "Test/a/1"], None, "test", ("a",), 1),
            (["train_images/a/1", "test_images/a/1"], None, "test", ("a",), 1),
            (["train/a/1", "eval/a/1"], "test", "test", ("a",), 1),
            (["test tube/x/1", "beaker/x/1"], None, "all", ("beaker", "test tube"), 2),  # classes
            (["train/1", "bus/1"], None, "all", ("bus", "train"), 2),
            (["train/a/1", "val/a/1", "samples/1"], None, "val", ("a",), 1),
            (["test/a/1", "test_hard/a/1"], "test_hard", "test_hard", ("a",), 1),
            (["a/train/1", "a/test/1", "b/train/1"], "train", "train", ("a", "b"), 2),
            (["a/train/1", "a/test/1"], "all", "all", ("a",), 2),
            (["a/train_1", "a/test_1", "b/train_2"], "train", "train", ("a", "b"), 2),
            (["a/train_station", "a/2"], None, "all", ("a",), 2),
            (["a/train/1", "a/bus/1"], None, "all", ("a",), 2),
            (
                ["train/a/1", "train/b/1", "train/c/1", "test/a/1", "test/c/1"],
                None,
                "test",
                ("a", "b", "c"),
                2,
            ),
            (["train/b/1", "train/c/1", "test/a/1", "test/c/1"], None, "test", ("b", "c", "a"), 2),
            (["train/a/1", "train/b/1", "test/c/1"], None, "test", ("c",), 1),  # few-shot learning's splits
            (["train/a/1", "test/a/1", "test/b/1"], "train", "train", ("a",), 1),
        ],
    )
    def test_splits_are_folders_above_or_inside_of_classes(
        self,
        files: list[str],
        wanted: str | None,
        split: str,
        class_names: tuple[str, ...],
        num_images: int,
        tmp_path: Path,
    ) -> None:
        for file in files:
            save(tmp_path / f"{file}.png")
        dataset = load_dataset(f"imagefolder:{tmp_path}", split=wanted)
        assert (dataset.split, dataset.class_names, len(dataset)) == (split, class_names, num_images)

    def test_a_class_that_the_test_split_lacks_keeps_its_number(self, tmp_path: Path) -> None:
        for file in ("train/a/1", "train/b/1", "train/c/1", "test/a/1", "test/c/1"):
            save(tmp_path / f"{file}.png")
        dataset = load_dataset(f"imagefolder:{tmp_path}")
        assert dataset.labels.tolist() == [0, 2]
        assert dataset.notes[1:] == ("classes are numbered as in train",)

    @pytest.mark.parametrize("files", [["a/train/1", "a/test/1"], ["a/train_1", "a/test_1", "b/train_2"]])
    def test_splits_inside_of_classes_are_not_mixed(self, files: list[str], tmp_path: Path) -> None:
        for file in files:
            save(tmp_path / f"{file}.png")
        with pytest.raises(
            ValueError, match="of the splits test, train; accepted as --split are test, train, all"
        ):
            load_dataset(f"imagefolder:{tmp_path}")

    def test_the_splits_are_listed_with_their_sizes(self, tmp_path: Path) -> None:
        for file in ("train/a/1", "train/a/2", "test/a/1"):
            save(tmp_path / f"{file}.png")
        assert load_dataset(f"imagefolder:{tmp_path}").notes == (
            "splits: test (1 images), train (2 images); taken: test",
        )


@pytest.mark.parametrize("source", ["parquet", "hf"])
def test_names_in_rows_of_the_test_split_are_numbered_as_in_the_training_split(
    source: str, tmp_path: Path
) -> None:
    save(tmp_path / "1.png")
    content = (tmp_path / "1.png").read_bytes()
    for name, labels in (
        ("train", ["cat", "dog", "cafe\u0301"]),
        ("test", ["dog", "caf\u00e9", "dog\u00a0"]),
    ):
        rows = [{"image": {"bytes": content, "path": f"{each}.png"}, "label": each} for each in labels]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    (tmp_path / "1.png").unlink()
    dataset = load_dataset(f"{source}:{tmp_path}")
    assert dataset.class_names == ("caf\u00e9", "cat", "dog")
    assert dataset.labels.tolist() == [2, 0, 2]


def test_a_training_split_that_says_nothing_of_names_is_passed_over_and_a_damaged_one_named(
    tmp_path: Path,
) -> None:
    save(tmp_path / "1.png")
    rows = [{"image": (tmp_path / "1.png").read_bytes(), "label": each} for each in ("dog", "cat")]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "test.parquet")
    pq.write_table(pa.table({"text": ["no labels"]}), tmp_path / "train.parquet")
    assert load_dataset(f"parquet:{tmp_path}").class_names == ("cat", "dog")
    (tmp_path / "train.parquet").write_bytes(b"PAR1 is how it begins")
    with pytest.raises(ValueError, match=r"train\.parquet, whose labels say how classes are numbered: "):
        load_dataset(f"parquet:{tmp_path}")


def test_the_splits_of_parquet_files_are_listed_with_their_sizes(tmp_path: Path) -> None:
    save(tmp_path / "1.png")
    content = (tmp_path / "1.png").read_bytes()
    for name, count in (("x_train", 3), ("x_test", 2)):
        rows = [{"image": {"bytes": content, "path": f"{row}.png"}, "label": 0} for row in range(count)]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
    (tmp_path / "x_dev.parquet").write_bytes(b"not asked for")
    assert load_dataset(f"parquet:{tmp_path}").notes == (
        "splits: test (2 images), validation (1 file), train (3 images); taken: test",
    )
