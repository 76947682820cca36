"""The real offline model, read once, and trainings of seconds."""

from collections.abc import Callable

import numpy as np
import pytest

from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset
from attrib_core.datasets.arrays import ArrayImages, array_digests
from attrib_core.execution import Execution, choose_execution
from attrib_core.training import Trainer, TrainingSettings, initial_network


@pytest.fixture(scope="session")
def lite0() -> Classifier:
    return load_classifier("efficientnet_lite0")


@pytest.fixture(scope="session")
def execution() -> Execution:
    return choose_execution("cpu")


@pytest.fixture(scope="session")
def stripes() -> Dataset:
    """70 images of ten kinds that a network can learn in seconds: bright bars at ten heights."""
    labels = np.arange(70) % 10
    pixels = np.random.default_rng(0).integers(0, 60, (70, 28, 28), dtype=np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[2 * label + 4 : 2 * label + 6] = 250
    return Dataset(
        name="stripes",
        split="train",
        class_names=tuple(str(each) for each in range(10)),
        labels=labels,
        keys=tuple(str(each) for each in range(70)),
        image_digests=array_digests(pixels),
        source=ArrayImages(pixels),
    )


@pytest.fixture
def make_trainer(stripes: Dataset, execution: Execution) -> Callable[..., Trainer]:
    """A trainer at step 0; five updates an epoch at a batch of 16."""

    def make(settings: TrainingSettings, model: str = "fashion_deep") -> Trainer:
        network = initial_network(model, 10, settings.seed)
        return Trainer(network, find_architecture(model).preprocessing(None), stripes, settings, execution)

    return make
