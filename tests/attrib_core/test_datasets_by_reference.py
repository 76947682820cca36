"""Data sets of a user's function, in every form that people's training scripts have, against files."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from attrib_core.datasets import Dataset, UnreadableImagesError, View, load_dataset

VIEW = View(image_size=12, channels=3, resize_size=14)
NUM_IMAGES = 6
CODE = """
import numpy as np
import torch
from PIL import Image
from pathlib import Path
from torch.utils.data import ConcatDataset, Dataset, Subset, TensorDataset

FOLDER = Path({folder!r})
FILES = sorted(FOLDER.rglob("*.png"))


def pil(file): return Image.open(file)
def hwc(file): return np.asarray(pil(file))
def chw(file): return hwc(file).transpose(2, 0, 1)
def tensor(file): return torch.from_numpy(chw(file).copy())
def floats(file): return tensor(file) / 255
def doubles(file): return chw(file) / 255
def floats_hwc(file): return (hwc(file) / 255).astype(np.float32)
def overshooting(file): return floats(file) * (1 + 1e-6)


class Items(Dataset):
    def __init__(self, image, label=lambda row: row % 2, wrap=lambda image, label: (image, label), **more):
        self.image, self.label, self.wrap = image, label, wrap
        vars(self).update(more)

    def __len__(self):
        return len(FILES)

    def __getitem__(self, row):
        if row >= len(FILES):
            raise IndexError(row)
        return self.wrap(self.image(FILES[row]), self.label(row))


def images(form): return Items(globals()[form])
def a_list(): return [(pil(file), row % 2) for row, file in enumerate(FILES)]
def three(): return Items(pil, wrap=lambda image, label: (image, label, "more"))
def pairs(): return Items(pil, wrap=lambda image, label: [image, label])
def dicts(): return Items(pil, wrap=lambda image, label: {{"img": image, "fine_label": label, "n": 3}})
def unusual(): return Items(pil, wrap=lambda image, label: {{"picture": image, "kind": label}})
def in_a_subset(): return Subset(Items(pil), range(len(FILES)))
def joined(): return ConcatDataset([Subset(Items(pil), [0, 1]), Subset(Items(pil), range(2, len(FILES)))])
def tensors(): return TensorDataset(torch.stack([floats(file) for file in FILES]), torch.arange(len(FILES)) % 2)
DATA = Items(pil)


def labelled(form, classes=None):
    forms = {{
        "numpy": lambda row: np.int32(row % 3),
        "tensor": lambda row: torch.tensor(row % 3),
        "one_value": lambda row: torch.tensor([row % 3]),
        "float": lambda row: float(row % 3),
        "unsorted": lambda row: (row * 2) % 3,
        "one_hot": lambda row: torch.eye(3)[row % 3],
        "one_hot_list": lambda row: [int(row % 3 == place) for place in range(3)],
        "names": lambda row: "zebra ant bee".split()[row % 3],
        "one_based": lambda row: row % 3 + 1,
        "bool": lambda row: row % 2 == 1,
    }}
    more = {{}} if classes is None else {{"classes": classes.split("-")}}
    return Items(pil, forms[form], **more)


def as_mapping(): return Items(pil, class_to_idx={{"b": 1, "a": 0}})
def with_split(split="test"): return Subset(Items(pil), [0, 1] if split == "train" else [2, 3, 4])
def with_train(train: bool): return Subset(Items(pil), [0, 1] if train else [2, 3, 4])
def with_root(root): return Items(lambda file: Image.open(Path(root) / file.relative_to(FOLDER)))
def rounded(): return Items(lambda file: floats(file) * 0.999)


class Stored(Dataset):
    classes = ["a", "b"]

    def __init__(self, path): self.images = np.load(path)["images"]
    def __len__(self): return len(self.images)
    def __getitem__(self, row): return self.images[row], row % 2


def damaged(): return Items(lambda file: Image.open(FOLDER / "no image") if file == FILES[1] else pil(file),
                            targets=[row % 2 for row in range(len(FILES))])


def ours(split="test"):
    from attrib_core.datasets import load_dataset
    return load_dataset(f"imagefolder:{{FOLDER}}")


def ours_of_another_source():
    import dataclasses
    from attrib_core.datasets.dataset import ImageSource
    class Wrapped(ImageSource):
        def __init__(self, source): self.source = source
        def read(self, indices, view): return self.source.read(indices, view)
    dataset = ours()
    return dataclasses.replace(dataset, source=Wrapped(dataset.source))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Colour images of two classes and of another size than the view, as `imagefolder:` reads them."""
    folder = tmp_path_factory.mktemp("images")
    random = np.random.default_rng(0)
    for row in range(NUM_IMAGES):
        file = folder / "ab"[row // 3] / f"{row}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (20, 16, 3), dtype=np.uint8)).save(file)
    return folder


@pytest.fixture
def code(folder: Path, tmp_path: Path) -> str:
    file = tmp_path / "mine.py"
    file.write_text(CODE.format(folder=str(folder)))
    return str(file)


def pixels(dataset: Dataset) -> NDArray[np.uint8]:
    return dataset.images(range(len(dataset)), VIEW)


FORMS = (
    *(f"images:form={form}" for form in ("pil", "hwc", "chw", "tensor", "floats", "doubles", "floats_hwc")),
    "images:form=overshooting",
    *(
        "a_list",
        "three",
        "pairs",
        "dicts",
        "in_a_subset",
        "joined",
        "tensors",
        "DATA",
        "with_split:split=all",
    ),
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_image_is_the_image_of_the_file(code: str, folder: Path, form: str) -> None:
    dataset = load_dataset(f"{code}:{form}")
    expected = pixels(load_dataset(f"imagefolder:{folder}"))
    found = pixels(dataset)
    assert np.array_equal(found, expected[2:5] if form.startswith("with_split") else expected)
    assert dataset.name == f"mine.py:{form}"
    assert dataset.labels.tolist() == [row % 2 for row in range(len(dataset))]
    assert dataset.notes == ()
    assert dataset.definition is not None
    assert dataset.definition.startswith("SHA-256")


def test_another_process_gets_a_reference_and_no_code(code: str, folder: Path) -> None:
    dataset = load_dataset(f"{code}:images:form=floats")
    content = pickle.dumps(dataset)
    assert b"attrib_user" not in content
    assert b"mine.py:images:form=floats" in content
    assert np.array_equal(pixels(pickle.loads(content)), pixels(dataset))


@pytest.mark.parametrize("name", ["ours", "ours_of_another_source"])
def test_our_own_dataset_goes_to_other_processes_without_code(code: str, folder: Path, name: str) -> None:
    dataset, expected = load_dataset(f"{code}:{name}"), load_dataset(f"imagefolder:{folder}")
    content = pickle.dumps(dataset)
    assert b"attrib_user" not in content
    assert np.array_equal(pixels(pickle.loads(content)), pixels(expected))
    assert (dataset.name, dataset.digest, dataset.keys) == (f"mine.py:{name}", expected.digest, expected.keys)


ABC = ("0", "1", "2")
LABELS = {
    "numpy": ("labelled:form=numpy", ABC, [0, 1, 2, 0, 1, 2], ()),
    "0-dim tensor": ("labelled:form=tensor", ABC, [0, 1, 2, 0, 1, 2], ()),
    "tensor of one value": ("labelled:form=one_value", ABC, [0, 1, 2, 0, 1, 2], ()),
    "whole floats": ("labelled:form=float", ABC, [0, 1, 2, 0, 1, 2], ("floats, all of them integers",)),
    "unsorted": ("labelled:form=unsorted", ABC, [0, 2, 1, 0, 2, 1], ()),
    "one-hot": ("labelled:form=one_hot", ABC, [0, 1, 2, 0, 1, 2], ("one-hot vectors",)),
    "one-hot list": ("labelled:form=one_hot_list", ABC, [0, 1, 2, 0, 1, 2], ("one-hot vectors",)),
    "names": ("labelled:form=names", ("ant", "bee", "zebra"), [2, 0, 1, 2, 0, 1], ("class names",)),
    "names in order": (
        "labelled:form=names:classes=zebra-ant-bee-cat",
        ("zebra", "ant", "bee", "cat"),
        [0, 1, 2, 0, 1, 2],
        ("class names",),
    ),
    "one-based": ("labelled:form=one_based", ("1", "2", "3"), [0, 1, 2, 0, 1, 2], ()),
    "one-based with names": (
        "labelled:form=one_based:classes=a-b-c",
        ("a", "b", "c"),
        [0, 1, 2, 0, 1, 2],
        ("labels count from 1 to 3; read as 0 to 2",),
    ),
    "booleans": ("labelled:form=bool", ("0", "1"), [0, 1, 0, 1, 0, 1], ()),
    "a mapping": ("as_mapping", ("a", "b"), [0, 1, 0, 1, 0, 1], ()),
}


@pytest.mark.parametrize("case", LABELS)
def test_labels_are_read_in_every_form(code: str, case: str) -> None:
    name, class_names, labels, notes = LABELS[case]
    dataset = load_dataset(f"{code}:{name}")
    assert (dataset.class_names, dataset.labels.tolist()) == (class_names, labels)
    assert len(dataset.notes) == len(notes)
    assert all(expected in note for expected, note in zip(notes, dataset.notes, strict=True))


@pytest.mark.parametrize(
    ("name", "split", "expected", "count"),
    [
        ("with_split", None, "test", 3),
        ("with_split", "train", "train", 2),
        ("with_split:split=train", None, "train", 2),
        ("with_train", None, "test", 3),
        ("with_train", "train", "train", 2),
        ("with_train:train=true", None, "train", 2),
    ],
)
def test_the_split_is_an_argument_of_the_function(
    code: str, name: str, split: str | None, expected: str, count: int
) -> None:
    dataset = load_dataset(f"{code}:{name}", split=split)
    assert (dataset.split, len(dataset)) == (expected, count)


def test_the_data_root_is_an_argument_of_the_function(code: str, folder: Path) -> None:
    dataset = load_dataset(f"{code}:with_root", root=folder)
    assert np.array_equal(pixels(dataset), pixels(load_dataset(f"imagefolder:{folder}")))


def test_keys_of_items_may_be_named(code: str, folder: Path) -> None:
    dataset = load_dataset(f"{code}:unusual", image_column="picture", label_column="kind")
    assert np.array_equal(pixels(dataset), pixels(load_dataset(f"imagefolder:{folder}")))


def test_floats_between_8_bit_values_are_rounded_and_that_is_said(code: str) -> None:
    dataset = load_dataset(f"{code}:rounded")
    [note] = dataset.notes
    assert note.startswith("6 images are floats that are no multiples of 1/255; rounded to 8 bits")
    assert note.endswith("changes a value by up to 0.0010 of 1")  # 255 * 0.999 is 254.745


def test_a_damaged_image_is_its_own_failure(code: str, folder: Path) -> None:
    dataset = load_dataset(f"{code}:damaged", refuse_unreadable=False)
    assert list(dataset.unreadable) == [1]
    assert dataset.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert np.array_equal(dataset.images([0, 2], VIEW), pixels(load_dataset(f"imagefolder:{folder}"))[[0, 2]])
    with pytest.raises(UnreadableImagesError, match="'00001': damaged or not readable: FileNotFoundError"):
        dataset.images([0, 1], VIEW)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda images: images[:-1], "'mine.py:Stored:path=.*': 3 images here, 4 when the sweep was started"),
        (lambda images: images[::-1], "image '00000': it is another image than when the sweep was started"),
    ],
)
def test_another_machine_with_other_images_is_refused(
    code: str, tmp_path: Path, change: object, message: str
) -> None:
    file = tmp_path / "images.npz"
    images = np.random.default_rng(0).integers(0, 256, (4, 12, 12), dtype=np.uint8)
    np.savez(file, images=images)
    content = pickle.dumps(load_dataset(f"{code}:Stored:path={file}"))
    assert callable(change)
    np.savez(file, images=change(images))
    with pytest.raises(ValueError, match=message):
        pickle.loads(content).images([0], VIEW)


def test_the_user_is_told_how_long_reading_takes(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from attrib_core.datasets import scanning

    monkeypatch.setattr(scanning, "PATIENCE", -1.0)
    lines: list[str] = []
    load_dataset(f"{code}:images:form=pil", log=lines.append)
    assert len(lines) == 1
    assert lines[0].startswith("mine.py:images:form=pil: reads all 6 images once, for labels and digests")
