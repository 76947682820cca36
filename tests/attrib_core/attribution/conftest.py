"""A real classifier with real test images, a small smooth one, and a linear one of which everything is known."""

import warnings
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attribution import Attributions, attribute
from attrib_core.classifiers import Classifier, Labels, Preprocessing, load_classifier
from attrib_core.classifiers.classifier import Identity
from attrib_core.datasets import View, load_dataset
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, prepare

NUM_IMAGES = 24


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, as an actor has: many short passes spend their time waiting for a second one."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="session")
def plain_fashion() -> PreparedModel:
    """In the memory format of the peers: in another one, roundings switch ReLUs that stand at zero."""
    execution = Execution(torch.device("cpu"), channels_last=False)
    return PreparedModel(load_classifier("fashion_deep"), execution, batch_size=200)


@pytest.fixture(scope="session")
def fashion() -> Classifier:
    return prepare(load_classifier("fashion_deep"), device="cpu").classifier


@pytest.fixture(scope="session")
def explain() -> Callable[..., Attributions]:
    return attribute


@pytest.fixture(scope="session")
def in_batches_of() -> Callable[[Classifier, int], PreparedModel]:
    """The classifier on the CPU, in passes of a given size."""
    return lambda classifier, batch_size: prepare(classifier, device="cpu", batch_size=batch_size)


@pytest.fixture(scope="session")
def images(fashion: Classifier) -> tuple[Tensor, Tensor]:
    """The first test images of Fashion-MNIST `[24, 1, 28, 28]` and their labels."""
    dataset = load_dataset("fashion_mnist")
    pixels = torch.from_numpy(dataset.images(range(NUM_IMAGES), View.of(fashion)))
    return pixels.float() / 255, torch.from_numpy(dataset.labels[:NUM_IMAGES])


@pytest.fixture(scope="session")
def small_images() -> tuple[Tensor, Tensor]:
    """Colour images `[8, 3, 10, 12]` of noise, and labels of five classes."""
    return drawn_uniform(8, 3, 10, 12), torch.arange(8) % 5


@pytest.fixture
def small() -> Classifier:
    """A random convolutional network without kinks, for images `[B, 3, 10, 12]`, five classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.Softplus(),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.Softplus(),
            nn.Flatten(),
            nn.Linear(8 * 3 * 4, 5),
        )
    return around(network, num_classes=5, channels=3, image_size=10)


@pytest.fixture(scope="session")
def linear_classifier() -> Callable[[Tensor, Tensor], Classifier]:
    return linear


@pytest.fixture(scope="session")
def classifier_of() -> Callable[..., Classifier]:
    return around


@pytest.fixture(scope="session")
def peers() -> ModuleType:
    """captum's attribution methods, whose import must not fail over others' deprecations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import captum.attr as peers
    return peers


def drawn_uniform(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


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
    """logits = weights · pixels + bias, for images `[B, C, H, W]`; weights `[K, C, H, W]`."""
    layer = nn.Linear(weights[0].numel(), len(bias))
    layer.weight.data, layer.bias.data = weights.flatten(1), bias
    return around(nn.Sequential(nn.Flatten(), layer), num_classes=len(bias), channels=weights.shape[1])
