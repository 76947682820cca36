"""A real classifier with real test images, and a linear one of which everything is known."""

import warnings
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import AttackBatch
from attrib_core.classifiers import Classifier, Labels, Preprocessing, load_classifier
from attrib_core.classifiers.classifier import Identity
from attrib_core.datasets import View, load_dataset
from attrib_core.prepared import PreparedModel, prepare

EPSILONS = (0.0, *(level / 255 for level in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)), 0.01, 0.1)


@pytest.fixture(scope="session")
def epsilons() -> tuple[float, ...]:
    """The sweep's default grid."""
    return EPSILONS


def attacked(classifier: Classifier) -> PreparedModel:
    """The classifier in float32 on the CPU."""
    return prepare(classifier, device="cpu")


def as_batch(images: Tensor, labels: Tensor, target: int | None = None) -> AttackBatch:
    """The images under attack, with their positions as keys."""
    targets = None if target is None else torch.full_like(labels, target)
    return AttackBatch(images=images, labels=labels, targets=targets, keys=tuple(range(len(images))))


@pytest.fixture(scope="session")
def fashion() -> Classifier:
    return load_classifier("fashion_deep")


@pytest.fixture(scope="session")
def plain() -> Callable[[Classifier], PreparedModel]:
    return attacked


@pytest.fixture(scope="session")
def batch_of() -> Callable[..., AttackBatch]:
    return as_batch


@pytest.fixture(scope="session")
def linear_classifier() -> Callable[[Tensor, Tensor], Classifier]:
    return linear


@pytest.fixture(scope="session")
def classifier_of() -> Callable[..., Classifier]:
    return around


@pytest.fixture(scope="session")
def images(fashion: Classifier) -> tuple[Tensor, Tensor]:
    """The first thousand test images of Fashion-MNIST `[1000, 1, 28, 28]` and their labels."""
    dataset = load_dataset("fashion_mnist")
    pixels = torch.from_numpy(dataset.images(range(1000), View.of(fashion)))
    return pixels.float() / 255, torch.from_numpy(dataset.labels[:1000])


@pytest.fixture(scope="session")
def foolbox() -> ModuleType:
    """foolbox, whose import warns of what SciPy 2 will drop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import foolbox as peer
    return peer


def around(network: nn.Module, *, num_classes: int, channels: int = 1, image_size: int = 4) -> Classifier:
    """A classifier around any network, with images as they are."""
    return Classifier(
        network,
        Identity(
            name="known",
            digest="0" * 64,
            preprocessing=Preprocessing(mean=(0.0,) * channels, std=(1.0,) * channels, image_size=image_size),
            labels=Labels.numbered(num_classes),
        ),
    )


def linear(weights: Tensor, bias: Tensor) -> Classifier:
    """logits = weights · pixels + bias, for images `[B, 1, 4, 4]`; weights `[K, 16]`."""
    layer = nn.Linear(16, len(bias))
    layer.weight.data, layer.bias.data = weights, bias
    return around(nn.Sequential(nn.Flatten(), layer), num_classes=len(bias))
