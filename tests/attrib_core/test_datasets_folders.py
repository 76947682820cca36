"""Folders of images: class order, splits, keys, and what is refused before any work starts."""

import hashlib
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from attrib_core.classifiers import Classifier
from attrib_core.datasets import Dataset, View, labels_for, load_dataset, subset

VIEW = View(image_size=16, channels=3)
FLOWERS = ["daisy", "dandelion", "rose", "sunflower", "tulip"]


def save(path: Path, seed: int = 0, size: tuple[int, int] = (16, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def load_folder(path: Path, split: str | None = None) -> Dataset:
    return load_dataset(f"imagefolder:{path}", split=split)


@pytest.fixture
def birds(tmp_path: Path) -> Path:
    """Three classes with names that hurt, files in disorder, nested and with strange neighbours."""
    root = tmp_path / "my birds"
    for seed, name in enumerate(
        ["wren/b.png", "wren/a.JPG", "wren/deep/er/c.png", "öwl's nest/ü .png", "Auk;rm -rf/x.png"]
    ):
        save(root / name, seed)
    (root / "wren" / "notes.txt").write_text("no image, and its name says so")
    (root / "wren" / "._a.jpg").write_bytes(b"what macOS leaves behind")
    (root / ".git" / "objects").mkdir(parents=True)
    return root


def test_classes_and_files_are_sorted_and_other_files_are_passed_over(birds: Path) -> None:
    dataset = load_folder(birds)
    assert dataset.class_names == ("Auk;rm -rf", "wren", "öwl's nest")
    assert dataset.keys == (
        "Auk;rm -rf/x.png",
        "wren/a.JPG",
        "wren/b.png",
        "wren/deep/er/c.png",
        "öwl's nest/ü .png",
    )
    assert dataset.labels.tolist() == [0, 1, 1, 1, 2]
    assert dataset.split == "all"
    assert dataset.name == f"imagefolder:{birds}"


def test_pixels_are_those_that_torchvision_loads(tmp_path: Path) -> None:
    for seed, name in enumerate(["a/1.png", "a/2.jpg", "b/3.png"]):
        save(tmp_path / name, seed)
    theirs, ours = ImageFolder(str(tmp_path)), load_folder(tmp_path)
    assert ours.labels.tolist() == theirs.targets
    images = ours.images([2, 0, 1, 1], VIEW)
    expected = [np.asarray(theirs[index][0]).transpose(2, 0, 1) for index in (2, 0, 1, 1)]
    np.testing.assert_array_equal(images, np.stack(expected))


def test_a_set_is_small_when_pickled_and_reads_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path / "data" / "a" / "1.png")
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps(load_folder(Path("data")))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert len(content) < 2000
    assert pickle.loads(content).images([0], VIEW).shape == (1, 3, 16, 16)


def test_the_digest_is_of_the_content_and_not_of_the_place(tmp_path: Path) -> None:
    for copy in ("one", "two"):
        save(tmp_path / copy / "a" / "1.png", 1)
        save(tmp_path / copy / "b" / "2.png", 2)
    first, second = load_folder(tmp_path / "one"), load_folder(tmp_path / "two")
    assert first.digest == second.digest
    assert len(bytes.fromhex(first.digest)) == 32


def test_every_image_has_the_sha_256_of_its_file(tmp_path: Path) -> None:
    for seed in range(300):
        save(tmp_path / "a" / f"{seed:03d}.png", seed, size=(2, 2))
    dataset = load_folder(tmp_path)
    expected = [hashlib.sha256((tmp_path / key).read_bytes()).hexdigest() for key in dataset.keys]
    assert [digest.tobytes().hex() for digest in dataset.image_digests] == expected


@pytest.mark.parametrize("change", ["byte", "name", "class name", "class", "file"])
def test_any_change_of_the_content_changes_the_digest(change: str, tmp_path: Path) -> None:
    first, second = save(tmp_path / "a" / "1.png", 1), save(tmp_path / "b" / "2.png", 2)
    save(tmp_path / "b" / "3.png", 3)
    before = load_folder(tmp_path).digest
    if change == "byte":
        content = bytearray(first.read_bytes())
        content[-20] ^= 1  # in the pixels; the header is as it was
        first.write_bytes(content)
    elif change == "name":
        first.rename(tmp_path / "a" / "1 .png")
    elif change == "class name":
        (tmp_path / "b").rename(tmp_path / "c")
    elif change == "class":
        second.rename(tmp_path / "a" / "2.png")
    else:
        save(tmp_path / "a" / "4.png", 4)
    assert load_folder(tmp_path).digest != before


POSTSCRIPT = "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"
REFUSED = {
    "text called png": (
        lambda wren: (wren / "fake.png").write_text("not an image"),
        r"'wren/fake\.png': no image",
    ),
    "empty file": (lambda wren: (wren / "empty.jpg").touch(), r"'wren/empty\.jpg': no image"),
    "PostScript": (lambda wren: (wren / "run.jpg").write_text(POSTSCRIPT), r"'wren/run\.jpg': no image"),
    "link to nowhere": (
        lambda wren: (wren / "lost.png").symlink_to(wren.parent / "nowhere"),
        r"'wren/lost\.png': cannot be read",
    ),
    "empty class": (lambda wren: (wren.parent / "yeti").mkdir(), r"class folder .*yeti' has no images"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_image_is_refused_before_work_starts(kind: str, birds: Path) -> None:
    damage, message = REFUSED[kind]
    damage(birds / "wren")
    with pytest.raises(ValueError, match=message):
        load_folder(birds)


@pytest.mark.parametrize("name", ["photo.jpg", "drawing.png"])
def test_a_truncated_image_is_named_when_it_is_decoded(name: str, tmp_path: Path) -> None:
    save(tmp_path / "a" / "good.png")
    path = save(tmp_path / "a" / name, size=(64, 64))
    path.write_bytes(path.read_bytes()[:-2000])
    dataset = load_folder(tmp_path)
    index = dataset.keys.index(f"a/{name}")
    with pytest.raises(ValueError, match=rf"imagefolder:.*'a/{name}': damaged.*truncated"):
        dataset.images([1 - index, index], VIEW)


def test_a_file_that_vanished_is_named(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png")
    dataset = load_folder(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"'a/1\.png': cannot be read: .*No such file"):
        dataset.images([0], VIEW)


@pytest.mark.parametrize("path", ["missing", "empty", "file"])
def test_a_path_without_classes_is_an_error(path: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=rf"{path}.*no (such folder|class folders)|no class folders.*{path}"):
        load_folder(tmp_path / path)


def test_a_path_that_the_system_refuses_is_a_users_mistake() -> None:
    with pytest.raises(ValueError, match=r"dataset='imagefolder:xxx.*too long"):
        load_folder(Path("x" * 300))


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a" / "1.png")
    path.rename(path.with_name(os.fsdecode(b"\xff.png")))
    with pytest.raises(ValueError, match="not UTF-8"):
        load_folder(tmp_path)


def test_links_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "again").symlink_to(tmp_path / "elsewhere")
    assert load_folder(tmp_path / "root").keys == ("a/1.png",)


class TestSplits:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for split in ("train", "val", "test"):
            save(tmp_path / split / "a" / f"{split}.png")
        return tmp_path

    def test_the_test_split_is_the_default_and_each_can_be_asked_for(self, root: Path) -> None:
        assert load_folder(root).keys == ("a/test.png",)
        assert load_folder(root, "train").keys == ("a/train.png",)

    def test_validation_stands_in_for_a_test_split(self, root: Path) -> None:
        (root / "test").rename(root / ".hidden")
        assert load_folder(root).split == "val"

    def test_what_macos_adds_to_an_archive_is_no_class(self, root: Path) -> None:
        (root / "test" / "__MACOSX" / "a").mkdir(parents=True)
        (root / "test" / "__MACOSX" / "a" / "._test.png").write_bytes(b"")
        assert load_folder(root).class_names == ("a",)

    @pytest.mark.parametrize("split", ["all", "../train", "", "Train"])
    def test_another_split_is_refused_with_those_there_are(self, root: Path, split: str) -> None:
        with pytest.raises(ValueError, match="test, val, train"):
            load_folder(root, split)

    def test_a_class_of_trains_is_no_split(self, tmp_path: Path) -> None:
        save(tmp_path / "train" / "1.png")
        save(tmp_path / "bus" / "1.png")
        dataset = load_folder(tmp_path)
        assert (dataset.split, dataset.class_names) == ("all", ("bus", "train"))
        with pytest.raises(ValueError, match=r"split='test': .* has all"):
            load_folder(tmp_path, "test")


class TestFlowers:
    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        for seed, name in enumerate(FLOWERS):
            for number in range(8):
                save(tmp_path / name / f"{number}.jpg", 10 * seed + number)
        return tmp_path

    def test_paths_decide_the_split(self, root: Path) -> None:
        splits = {
            split: load_dataset("flowers", root=root, split=split) for split in ("train", "test", "all")
        }
        in_test = {
            key for key in splits["all"].keys if int(hashlib.sha256(key.encode()).hexdigest(), 16) % 5 == 0
        }
        assert set(splits["test"].keys) == in_test
        assert set(splits["train"].keys) == set(splits["all"].keys) - in_test
        assert len(splits["all"]) == 40
        assert load_dataset("flowers", root=root).split == "test"
        assert splits["test"].class_names == tuple(FLOWERS)

    def test_a_nested_copy_is_no_class_and_counts_nothing_twice(self, root: Path) -> None:
        before = load_dataset("flowers", root=root).digest
        for name in FLOWERS:
            save(root / "flowers" / name / "0.jpg")
        assert load_dataset("flowers", root=root).digest == before

    def test_only_a_nested_copy_is_the_same_set(self, root: Path) -> None:
        before = load_dataset("flowers", root=root).digest
        (root / "flowers").mkdir()
        for name in FLOWERS:
            (root / name).rename(root / "flowers" / name)
        assert load_dataset("flowers", root=root).digest == before

    def test_split_folders_win_over_the_fixed_split(self, tmp_path: Path) -> None:
        for split in ("train", "test"):
            for name in FLOWERS:
                save(tmp_path / split / name / f"{split}.jpg")
        assert load_dataset("flowers", root=tmp_path).keys[0] == "daisy/test.jpg"
        assert load_dataset("flowers", root=tmp_path, split="train").keys[0] == "daisy/train.jpg"

    @pytest.mark.parametrize("has_root", [True, False])
    def test_without_the_files_the_error_says_where_to_get_them(self, has_root: bool, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"kaggle\.com.*--data-root"):
            load_dataset("flowers", root=tmp_path if has_root else None)

    def test_a_pair_is_relabelled_in_sorted_order(self, root: Path) -> None:
        flowers = load_dataset("flowers", root=root, split="all")
        pair = subset(flowers, ["tulip", "daisy"])
        assert pair.class_names == ("daisy", "tulip")
        assert np.bincount(pair.labels).tolist() == [8, 8]
        assert pair.keys[8] == "tulip/0.jpg"
        assert pair.name == "flowers[daisy,tulip]"
        np.testing.assert_array_equal(pair.images([8, 0], VIEW), flowers.images([32, 0], VIEW))

    def test_the_digest_of_a_pair_is_of_its_own_images(self, root: Path) -> None:
        names = ["daisy", "tulip"]
        before = subset(load_dataset("flowers", root=root, split="all"), names).digest
        save(root / "rose" / "0.jpg", 99)
        assert subset(load_dataset("flowers", root=root, split="all"), names).digest == before
        save(root / "tulip" / "0.jpg", 99)
        assert subset(load_dataset("flowers", root=root, split="all"), names).digest != before

    def test_a_damaged_image_of_a_pair_is_named(self, root: Path) -> None:
        path = root / "tulip" / "3.jpg"
        path.write_bytes(path.read_bytes()[:-100])
        pair = subset(load_dataset("flowers", root=root, split="all"), ["tulip", "rose"])
        with pytest.raises(ValueError, match=r"flowers\[rose,tulip\].*'tulip/3\.jpg'"):
            pair.images([pair.keys.index("tulip/3.jpg")], VIEW)

    @pytest.mark.parametrize("names", [[], ["daisy", "thistle"]])
    def test_classes_of_a_subset_must_exist(self, root: Path, names: list[str]) -> None:
        with pytest.raises(ValueError, match=r"classes (none|thistle); accepted are some of daisy"):
            subset(load_dataset("flowers", root=root), names)


class TestImagenet:
    @pytest.fixture(params=["val", "."])
    def root(self, request: pytest.FixtureRequest, tmp_path: Path, lite0: Classifier) -> Path:
        content = save(tmp_path / "one.png").with_suffix(".JPEG")
        save(content)
        for wnid in lite0.wnids:
            (tmp_path / request.param / wnid).mkdir(parents=True)
            (tmp_path / request.param / wnid / f"{wnid}.JPEG").symlink_to(content)
        return tmp_path

    def test_labels_are_the_classifiers_indices(self, root: Path, lite0: Classifier) -> None:
        dataset = load_dataset("imagenet", root=root)
        assert (dataset.split, len(dataset)) == ("val", 1000)
        assert labels_for(dataset, lite0).tolist() == list(range(1000))
        assert dataset.class_names == lite0.wnids

    def test_missing_classes_are_named(self, root: Path) -> None:
        for folder in root.rglob("n01440764"):
            folder.rename(folder.parent / "n99999999")
        with pytest.raises(ValueError, match="lacks 1 of 1000 class folders, such as n01440764"):
            load_dataset("imagenet", root=root)

    def test_other_splits_and_roots_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="split='train': imagenet has val"):
            load_dataset("imagenet", root=tmp_path, split="train")
        with pytest.raises(ValueError, match="needs a data root"):
            load_dataset("imagenet")
        with pytest.raises(ValueError, match=r"lacks 1000 of 1000 class folders, such as n01440764"):
            load_dataset("imagenet", root=tmp_path)
