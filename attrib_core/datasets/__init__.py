"""Labelled images by name; `load_dataset(name)` returns a `Dataset`, whose images suit a classifier's `View`."""

# Imported because they register data sets.
from attrib_core.datasets import fashion_mnist, flowers, image_folder, imagenet, parquet  # noqa: F401
from attrib_core.datasets.boxes import Boxes, BoxesFormat
from attrib_core.datasets.dataset import Dataset, subset
from attrib_core.datasets.label_files import read_label_file
from attrib_core.datasets.label_match import LabelMatch
from attrib_core.datasets.label_matching import labels_for, match_labels
from attrib_core.datasets.label_readings import LabelOrder
from attrib_core.datasets.registry import Request, load_dataset, register
from attrib_core.datasets.unreadable import UnreadableImagesError
from attrib_core.datasets.view import View

__all__ = [
    "Boxes",
    "BoxesFormat",
    "Dataset",
    "LabelMatch",
    "LabelOrder",
    "Request",
    "UnreadableImagesError",
    "View",
    "labels_for",
    "load_dataset",
    "match_labels",
    "read_label_file",
    "register",
    "subset",
]
