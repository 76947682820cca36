"""A quick look at a classifier on a few images of a data set, before any work starts."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.datasets.dataset import Dataset
from attrib_core.datasets.view import View

MOST_IMAGES = 100
# The time of the first few decides how many others there are: reading and predicting may take so many seconds
# each. A few others are looked at in any case.
FIRST_IMAGES, FEWEST_IMAGES = 4, 12
SECONDS = 1.5
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2

Part = TypeVar("Part")


@dataclass(frozen=True, kw_only=True, eq=False)
class Probe:
    """The classes that a classifier predicts for some images of a data set."""

    indices: NDArray[np.int64]  # [P]
    predictions: NDArray[np.int64]  # [P]

    def num_right(self, labels: NDArray[np.int64]) -> int:
        """Return how many predictions are right; `labels` `[N]` are of the whole data set."""
        return int((labels[self.indices] == self.predictions).sum())

    def describe(self, labels: NDArray[np.int64]) -> str:
        """Return the share of images that are right, in words."""
        return f"{100 * self.num_right(labels) / len(self.indices):.0f} % right"

    def is_no_better_than_chance(self, labels: NDArray[np.int64], num_classes: int) -> bool:
        """Return True if guessing would be right about as often; allows for the luck of a few images."""
        expected = len(self.indices) / num_classes
        luck = 2 * math.sqrt(expected * (1 - 1 / num_classes))
        return self.num_right(labels) < expected + min(luck, expected / 2)


def probe_dataset(dataset: Dataset, classifier: Classifier) -> Probe:
    """Return what the classifier predicts for up to a hundred images, fewer if it takes seconds."""
    return probe(classifier, *probe_images(dataset, View.of(classifier)))


def probe(classifier: Classifier, indices: NDArray[np.int64], images: Tensor) -> Probe:
    """Return what the classifier predicts for images `[P, C, H, W]` in [0, 1], or for the first of them."""
    found = _in_time(len(images), lambda rows: [_predictions(classifier, images[rows.start : rows.stop])])
    predictions = np.concatenate(found)
    return Probe(indices=indices[: len(predictions)], predictions=predictions)


def probe_images(dataset: Dataset, view: View) -> tuple[NDArray[np.int64], Tensor]:
    """Return indices `[P]` and images `[P, C, H, W]` in [0, 1], spread over the data set, as the first few are.

    Images that cannot be read are left out. Raises ValueError, about one of them, if none can be.
    """
    indices = spread_indices(len(dataset))
    found = _in_time(len(indices), lambda rows: _read(dataset, [indices[row] for row in rows], view))
    if not found:
        dataset.images(indices[:1], view)  # says why
    pixels = torch.from_numpy(np.concatenate([pixels for _, pixels in found])).float() / 255
    return np.array([index for chosen, _ in found for index in chosen], dtype=np.int64), pixels


def _in_time(count: int, work: Callable[[range], list[Part]]) -> list[Part]:
    """Return what `work` makes of the first few of `count` things, and of as many others as there is time for."""
    start = time.perf_counter()
    done = work(range(min(FIRST_IMAGES, count)))
    seconds = (time.perf_counter() - start) / FIRST_IMAGES
    stop = min(count, FIRST_IMAGES + max(FEWEST_IMAGES, int(SECONDS / max(seconds, 1e-9))))
    return done + (work(range(FIRST_IMAGES, stop)) if stop > FIRST_IMAGES else [])


def _read(dataset: Dataset, indices: list[int], view: View) -> list[tuple[list[int], NDArray[np.uint8]]]:
    """Return the images that can be read, with their indices."""
    try:
        return [(indices, dataset.images(indices, view))]
    except ValueError:
        halves = (indices[: len(indices) // 2], indices[len(indices) // 2 :]) if len(indices) > 1 else ()
        return [part for half in halves for part in _read(dataset, half, view)]


def spread_indices(num_images: int) -> list[int]:
    """Return up to a hundred indices, in an order in which the first few are spread over all of them.

    Images of a folder stand class by class. Multiples of the golden ratio, modulo 1, fill an interval evenly.
    """
    indices = np.unique(np.linspace(0, num_images - 1, min(MOST_IMAGES, num_images)).round().astype(np.int64))
    order = np.argsort(np.argsort(np.arange(len(indices)) * GOLDEN_RATIO % 1))
    return [int(index) for index in indices[order]]


def _predictions(classifier: Classifier, images: Tensor) -> NDArray[np.int64]:
    device = classifier.mean.device
    with torch.inference_mode():
        predictions: NDArray[np.int64] = classifier(images.to(device)).argmax(1).cpu().numpy()
    return predictions
