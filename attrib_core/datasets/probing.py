"""A quick look at a classifier on a few images of a data set, before any work starts."""

import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.view import View

MOST_IMAGES = 100
FIRST_IMAGES = 4  # whose time decides how many are looked at
SECONDS = 2.0  # that the rest of them may take
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """The classes that a classifier predicts for some images of a data set of `num_images`."""

    indices: NDArray[np.int64]  # [P]
    predictions: NDArray[np.int64]  # [P]
    num_images: int

    def num_right(self, labels: NDArray[np.int64]) -> int:
        """Return how many predictions are right; `labels` `[N]` are of the whole data set."""
        return int((labels[self.indices] == self.predictions).sum())

    def describe(self, labels: NDArray[np.int64]) -> str:
        """Return the share of images that are right, in words."""
        count = len(self.indices)
        share = f"{self.num_right(labels) / count:.1%}".replace("%", " %")
        return f"{share} of {count} images right"

    def is_no_better_than_chance(self, labels: NDArray[np.int64], num_classes: int) -> bool:
        """Return True if guessing would be right about as often; allows for the luck of a few images."""
        expected = len(self.indices) / num_classes
        luck = 2 * math.sqrt(expected * (1 - 1 / num_classes))
        return self.num_right(labels) < expected + min(luck, expected / 2)


def probe_dataset(dataset: Dataset, classifier: Classifier) -> Probe:
    """Return what the classifier predicts for up to a hundred images, fewer if it takes seconds."""
    indices, images = probe_images(dataset, View.of(classifier))
    return probe(classifier, indices, images, len(dataset))


def probe(classifier: Classifier, indices: NDArray[np.int64], images: Tensor, num_images: int) -> Probe:
    """Return what the classifier predicts for images `[P, C, H, W]` in [0, 1], or for the first few of them."""
    start = time.perf_counter()
    found = [_predictions(classifier, images[:FIRST_IMAGES])]
    seconds = (time.perf_counter() - start) / FIRST_IMAGES
    rest = images[FIRST_IMAGES : FIRST_IMAGES + int(SECONDS / max(seconds, 1e-9))]
    if len(rest):
        found.append(_predictions(classifier, rest))
    predictions = np.concatenate(found)
    return Probe(indices=indices[: len(predictions)], predictions=predictions, num_images=num_images)


def probe_images(dataset: Dataset, view: View) -> tuple[NDArray[np.int64], Tensor]:
    """Return indices `[P]` and images `[P, C, H, W]` in [0, 1], spread over the data set, as any first few are.

    Images that cannot be read are left out. Raises ValueError, about the first, if none can be.
    """
    indices = spread_indices(len(dataset))
    try:
        pixels = dataset.images(indices, view)
    except ValueError as error:
        readable = [index for index in indices if _is_readable(dataset, index, view)]
        if not readable:
            raise error
        indices, pixels = readable, dataset.images(readable, view)
    return np.array(indices, dtype=np.int64), torch.from_numpy(pixels).float() / 255


def spread_indices(num_images: int) -> list[int]:
    """Return up to a hundred indices, in an order in which the first few are spread over all of them.

    Images of a folder stand class by class. Multiples of the golden ratio, modulo 1, fill an interval evenly.
    """
    indices = np.unique(np.linspace(0, num_images - 1, min(MOST_IMAGES, num_images)).round().astype(np.int64))
    order = np.argsort(np.argsort(np.arange(len(indices)) * GOLDEN_RATIO % 1))
    return [int(index) for index in indices[order]]


def _is_readable(dataset: Dataset, index: int, view: View) -> bool:
    try:
        dataset.images([index], view)
    except ValueError:
        return False
    return True


def _predictions(classifier: Classifier, images: Tensor) -> NDArray[np.int64]:
    device = classifier.mean.device
    with torch.inference_mode():
        predictions: NDArray[np.int64] = classifier(images.to(device)).argmax(1).cpu().numpy()
    return predictions
