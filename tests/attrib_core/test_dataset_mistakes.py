"""Mistakes in data sets that users bring: each is one line that says what would be accepted."""

import re
from pathlib import Path

import pytest

from attrib_core.datasets import load_dataset

CODE = """
import numpy as np
import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, TensorDataset, random_split

IMAGE = np.full((8, 8, 3), 7, np.uint8)


class Items(Dataset):
    def __init__(self, item, length=5, **more):
        self.item, self.length = item, length
        vars(self).update(more)

    def __len__(self):
        return self.length

    def __getitem__(self, row):
        return self.item(row)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(IMAGE, 0)])


class Broken(Dataset):
    def __len__(self):
        raise KeyError("length")

    def __getitem__(self, row):
        return IMAGE, 0


def image(value): return Items(lambda row: (value if row == 3 else IMAGE, 0))
def label(value, **more): return Items(lambda row: (IMAGE, value if row == 3 else 0), **more)


NONE = None
def nothing(): return None
def empty(): return Items(lambda row: None, 0)
def stream(): return Stream()
def loader(): return DataLoader(label(0))
def both(): return {"train": label(0), "test": label(0)}
def length(): return Broken()
def fails(): return open("/no/such/file")
def raises(): raise KeyError("root")
def exits(): raise SystemExit("usage: ...")


def item_raises():
    def item(row):
        if row == 3:
            return {}["missing"]
        return IMAGE, 0
    return Items(item)


def shorter(): return Items(lambda row: [(IMAGE, 0)] * 4 + [][row] if row > 3 else (IMAGE, 0))
def item_none(): return Items(lambda row: None)
def item_image(): return Items(lambda row: IMAGE)
def item_one(): return Items(lambda row: (IMAGE,))
def item_no_image(): return Items(lambda row: {"pixels": IMAGE, "label": 0})
def item_two_images(): return Items(lambda row: {"img": IMAGE, "jpg": IMAGE, "label": 0})
def item_no_label(): return Items(lambda row: {"image": IMAGE})
def text(): return image("cat.png")
def normalised(): return image(torch.full((3, 8, 8), -2.1))
def to_255(): return image(np.full((8, 8, 3), 255.0))
def nan(): return image(torch.full((3, 8, 8), torch.nan))
def int64(): return image(IMAGE.astype(np.int64))
def batch(): return image(IMAGE[None])
def five_channels(): return image(np.zeros((5, 8, 8), np.uint8))
def unclear(): return image(np.zeros((3, 8, 3), np.uint8))
def flat(): return image(np.zeros(64, np.uint8))
def of_no_pixels(): return image(np.zeros((0, 8), np.uint8))
def random(): return Items(lambda row: (torch.rand(3, 8, 8), 0))
def random_labels(): return Items(lambda row: (IMAGE, torch.rand(())))
def randomly_split(): return random_split(TensorDataset(torch.rand(64, 3, 8, 8), torch.zeros(64)), [32, 32])[0]
def label_none(): return label(None)
def label_nan(): return label(float("nan"))
def unlabelled(): return label(-1)
def negative(): return label(-3)
def half(): return label(0.5)
def soft(): return label([0.5, 0.5])
def several(): return label([1, 0, 1])
def mixed(): return label("cat")
def empty_name(): return Items(lambda row: (IMAGE, " " if row == 3 else "cat"))
def of_a_kind(): return label({})
def beyond(): return label(5, classes=["a", "b"])
def unknown_name(): return Items(lambda row: (IMAGE, "cat"), classes=["dog", "bee"])
def widths(): return Items(lambda row: (IMAGE, [1] + [0] * (1 + row)))
def width(): return Items(lambda row: (IMAGE, [0, 1, 0]), classes=["dog", "bee"])
def huge(): return label(10**6)
def gaps(): return label(0, class_to_idx={"a": 0, "b": 2})
def two_vocabularies(): return ConcatDataset([label(0, classes=["a"]), label(0, classes=["b"])])
def all_damaged(): return Items(lambda row: open("/no/such/file"))
def needs(path): return label(0)
def takes(n: int = 3): return label(0)
"""


def line_of(text: str) -> int:
    """Return the line of the code above that holds the text."""
    return CODE[: CODE.index(text)].count("\n") + 1


AN_IMAGE = (
    "accepted are PIL images, uint8 arrays [H, W], [H, W, C] or [C, H, W] with C 1 or 3, and floats in [0, 1]"
)
A_LABEL = "accepted is an integer from 0, a class name, or a one-hot vector"
RANGE = "accepted are floats in [0, 1]"

# What is asked for, and what stands in the one line of the error.
MISTAKES = {
    "nothing": "it is of type NoneType, without a length and items by index; accepted are our Dataset",
    "NONE": "it is of type NoneType",
    "empty": "it has no images",
    "stream": "it is of type Stream, without a length and items by index",
    "loader": "it is a DataLoader; accepted is the data set in it, `loader.dataset`",
    "both": "it is a dict of train, test; accepted is one of them",
    "length": "its length fails: KeyError: 'length'",
    "fails": f"mine.py, line {line_of('def fails')}: FileNotFoundError: [Errno 2] No such file or",
    "raises": f"mine.py, line {line_of('def raises')}: KeyError: 'root'",
    "exits": f"mine.py, line {line_of('def exits')}: SystemExit: usage: ...",
    "item_raises": f"image 3 of 5: mine.py, line {line_of('return {}')}: KeyError: 'missing'",
    "shorter": f"image 4 of 5: mine.py, line {line_of('def shorter')}: IndexError",
    "item_none": "image 0: the data set returns NoneType; accepted are (image, label), or a dict such as",
    "item_image": "image 0: the data set returns ndarray; accepted are (image, label)",
    "item_one": "image 0: the data set returns a tuple of 1; accepted are (image, label)",
    "item_no_image": "image 0: its items have pixels, label, none of image, img,",
    "item_two_images": "its images may be in `img`, `jpg`: say which by --image-column",
    "item_no_label": "image 0: its items have image, none of label, labels,",
    "text": f"image 3: its image is of type str; {AN_IMAGE}",
    "normalised": f"image 3: its image has values from -2.1 to -2.1; {RANGE}: the model normalises",
    "to_255": f"image 3: its image has values from 255 to 255; {RANGE}: divide by 255, or give uint8",
    "nan": f"image 3: its image has values that are no numbers; {RANGE}",
    "int64": f"image 3: its image has values of int64; {AN_IMAGE}",
    "batch": f"image 3: its image has the shape [1, 8, 8, 3]; {AN_IMAGE}",
    "five_channels": "image 3: its image has the shape [5, 8, 8]",
    "unclear": "image 3: its image has the shape [3, 8, 3]",
    "flat": "image 3: its image has the shape [64]",
    "of_no_pixels": "image 3: its image has the shape [0, 8]",
    "random": "image 0: its image differs when it is read again: random augmentation or a random order; accepted",
    "random_labels": "image 0: its label, tensor(",
    "randomly_split": "its image differs when it is read again: random augmentation or a random order",
    "label_none": "image 3: it has no label (None); accepted are images with labels",
    "label_nan": "image 3: it has no label (nan)",
    "unlabelled": "image 3: its label is -1 (unlabelled); accepted are images with labels",
    "negative": f"image 3: its label is -3; {A_LABEL}",
    "half": f"image 3: its label is 0.5; {A_LABEL}",
    "soft": f"image 3: its label is a list of 2; {A_LABEL}",
    "several": f"image 3: its label is a list of 3; {A_LABEL}",
    "mixed": "image 3: its label is 'cat', an earlier one 0; accepted is one kind",
    "empty_name": f"image 3: its label is ' '; {A_LABEL}",
    "of_a_kind": f"image 3: its label is of type dict; {A_LABEL}",
    "beyond": "image 3: its label is 5; accepted are 0 to 1, since the data set names 2 classes",
    "unknown_name": "image 0: its label is 'cat'; the data set's classes are dog, bee",
    "widths": "one-hot labels of 2, 3, 4, 5, 6 classes; accepted is one length",
    "width": "one-hot labels of 3 classes, but the data set names 2",
    "huge": "image 3: its label is 1000000; accepted are less than 100000 where the data set names no classes",
    "gaps": "its class_to_idx has 2 names, but not the numbers from 0 on",
    "two_vocabularies": "the parts of its ConcatDataset name different classes",
    "needs": "it needs path; accepted is mine.py:needs:path=VALUE",
    "takes:n=three": "n=three: Input should be a valid integer",
    "takes:m=3": "no setting 'm'; accepted are n",
    "tak": "mine.py has no name 'tak'; near matches are takes",
    "takes:more": "mine.py:NAME, with a NAME in it",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(CODE)
    return path


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line(file: Path, name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(MISTAKES[name])) as caught:
        load_dataset(f"{file}:{name}")
    assert str(caught.value).startswith("dataset='")
    assert "\n" not in str(caught.value)


OPTIONS = {
    "split": ("takes", {"split": "test"}, "split='test': mine.py:takes has no parameter `split` or `train`"),
    "column": (
        "takes",
        {"image_column": "image"},
        "its items are no dicts but of type tuple; leave these options out",
    ),
    "no such key": (
        "item_no_image",
        {"image_column": "jpg"},
        "--image-column jpg: no such key; its items have pixels",
    ),
    "damaged": (
        "all_damaged",
        {},
        "5 of 5 images cannot be used, the first is image '00000': damaged or not readable",
    ),
    "damaged, all taken": ("all_damaged", {"refuse_unreadable": False}, "5 of 5 images cannot be used"),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_a_mistaken_option_is_one_line(file: Path, case: str) -> None:
    name, options, message = OPTIONS[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        load_dataset(f"{file}:{name}", **options)


NAMES = {
    "mine": "accepted are fashion_mnist, flowers, imagefolder:PATH, imagenet, parquet:URL, hf:NAME",
    "other.py:f": "dataset='other.py:f': no file 'other.py'",
    "torchvision": "accepted are fashion_mnist",
    "torchvision:": "it has an empty part; accepted: name[:part][:key=value]",
    "torchvision:CIFAR11": "no data set of torchvision 'CIFAR11'; near matches are CIFAR10",
    "torchvision:DataLoader": "no data set of torchvision 'DataLoader'",
    "torchvision:CIFAR10": "needs --data-root, the folder that has its files or gets them",
    "hf:a b": "' ' cannot be in it",
    "hf:./no_such_folder": "no such folder",
    "hf:someone/thing:version=1": "no setting 'version'",
    "no_such_package.module:f": "no module 'no_such_package.module' is installed",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_mistaken_name_is_one_line(name: str) -> None:
    with pytest.raises(ValueError, match=re.escape(NAMES[name])) as caught:
        load_dataset(name)
    assert "\n" not in str(caught.value)
