"""Labelled images by name, in the form that a classifier wants them."""

# Imported for what they register.
from attrib_core.datasets import fashion_mnist, flowers, image_folder, imagenet, parquet  # noqa: F401
from attrib_core.datasets.dataset import Dataset, labels_for, subset
from attrib_core.datasets.registry import Request, load_dataset, register
from attrib_core.datasets.view import View

__all__ = ["Dataset", "Request", "View", "labels_for", "load_dataset", "register", "subset"]
