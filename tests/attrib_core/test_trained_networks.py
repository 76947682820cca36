"""The networks that this project trains itself, and the weights that come with it."""

import copy
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.classifiers import Classifier, load_classifier, trained_here
from attrib_core.classifiers.registry import find_architecture
from attrib_core.classifiers.trained_here import shipped_file
from attrib_core.datasets import Dataset, View

FLOWER_CLASSES = ("daisy", "dandelion", "rose", "sunflower", "tulip")
UNSHIPPED = ["fashion_alexnet", "flower_deep", "flower_deep_grey"]
# Convolutions as the papers on them write them: width, and whether a pooling follows the ReLU.
FASHION_STAGES = "16p 16p 16p 32p 32 32 64 64 64"
FLOWER_STAGES = "16p 16p 16p 32p 32p 32p 64p 64p 64"


@functools.cache
def untrained_classifier(name: str) -> Classifier:
    return load_classifier(name, weights="untrained")


def untrained(name: str) -> nn.Module:
    return untrained_classifier(name).network


def num_trainable(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def some_images(name: str, batch_size: int = 3) -> Tensor:
    classifier = untrained_classifier(name)
    shape = (batch_size, classifier.channels, classifier.image_size, classifier.image_size)
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


def naive_deep(network: nn.Module, stages: str) -> Callable[[Tensor], Tensor]:
    """The network of the same weights in the textbook's order: convolution, ReLU, pooling."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    convolutions, hidden, head = layers[:9], layers[9:-1], layers[-1]

    def forward(images: Tensor) -> Tensor:
        for convolution, stage in zip(convolutions, stages.split(), strict=True):
            width = int(stage.removesuffix("p"))
            assert convolution.weight.shape[0] == width
            images = F.relu(F.conv2d(images, convolution.weight, convolution.bias, padding=1))
            if stage.endswith("p"):
                images = F.max_pool2d(images, 2)
        features = images.flatten(1)
        assert features.shape[1] == 64
        for layer in hidden:
            features = F.relu(F.linear(features, layer.weight, layer.bias))
        return F.linear(features, head.weight, head.bias)

    return forward


def naive_alexnet(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """In eval mode, in which dropout passes everything."""
    conv1, conv2, conv3, conv4, conv5 = (each for each in network.modules() if isinstance(each, nn.Conv2d))
    norm1, norm2 = (each for each in network.modules() if isinstance(each, nn.BatchNorm2d))
    hidden1, hidden2, head = (each for each in network.modules() if isinstance(each, nn.Linear))

    def forward(images: Tensor) -> Tensor:
        features = F.relu(F.conv2d(images, conv1.weight, conv1.bias, stride=4))
        assert features.shape[1:] == (96, 5, 5)
        features = norm1(F.max_pool2d(features, 3, 2))
        features = norm2(F.relu(F.conv2d(features, conv2.weight, conv2.bias, padding=2)))
        for layer in (conv3, conv4, conv5):
            features = F.relu(F.conv2d(features, layer.weight, layer.bias, padding=1))
        features = features.flatten(1)
        assert features.shape[1] == 1024
        return head(F.relu(hidden2(F.relu(hidden1(features)))))

    return forward


def logits_and_gradient(network: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    inputs = images.clone().requires_grad_()
    logits = network(inputs)
    (gradient,) = torch.autograd.grad(F.cross_entropy(logits, torch.zeros(len(images), dtype=int)), inputs)
    return logits.detach(), gradient


@pytest.fixture(scope="module")
def fashion_deep() -> Classifier:
    return load_classifier("fashion_deep")


@pytest.mark.parametrize(
    ("name", "count"),
    [("fashion_deep", 179_728), ("fashion_alexnet", 10_040_714), ("flower_deep", 179_761)],
)
def test_trainable_parameters_are_counted_as_published(name: str, count: int) -> None:
    assert num_trainable(untrained(name)) == count


def test_alexnet_has_704_statistics_beside_its_trainable_parameters() -> None:
    network = untrained("fashion_alexnet")
    statistics = sum(buffer.numel() for name, buffer in network.named_buffers() if "num_batches" not in name)
    assert num_trainable(network) + statistics == 10_041_418


@pytest.mark.parametrize(
    ("name", "shape", "num_classes"),
    [
        ("fashion_deep", (1, 28, 28), 10),
        ("fashion_alexnet", (1, 28, 28), 10),
        ("flower_deep", (3, 256, 256), 5),
        ("flower_deep_grey", (1, 256, 256), 5),
    ],
)
def test_images_become_logits(name: str, shape: tuple[int, ...], num_classes: int) -> None:
    logits = untrained_classifier(name)(torch.rand(2, *shape))
    assert logits.shape == (2, num_classes)
    assert not torch.allclose(logits.sum(1), torch.ones(2))  # no probabilities


@pytest.mark.parametrize(
    ("name", "stages"), [("fashion_deep", FASHION_STAGES), ("flower_deep", FLOWER_STAGES)]
)
def test_relu_after_the_pooling_is_the_textbooks_network(name: str, stages: str) -> None:
    network, images = untrained(name), some_images(name)
    logits, gradient = logits_and_gradient(network, images)
    naive_logits, naive_gradient = logits_and_gradient(naive_deep(network, stages), images)
    torch.testing.assert_close(logits, naive_logits, rtol=0, atol=0)
    torch.testing.assert_close(gradient, naive_gradient, rtol=1e-5, atol=1e-8)


def test_alexnet_is_the_textbooks_network() -> None:
    network, images = copy.deepcopy(untrained("fashion_alexnet")), some_images("fashion_alexnet")
    for norm in (each for each in network.modules() if isinstance(each, nn.BatchNorm2d)):
        norm.running_mean.fill_(0.01)  # type: ignore[union-attr]
    logits, gradient = logits_and_gradient(network, images)
    naive_logits, naive_gradient = logits_and_gradient(naive_alexnet(network), images)
    torch.testing.assert_close(logits, naive_logits)
    torch.testing.assert_close(gradient, naive_gradient, rtol=1e-4, atol=1e-8)


def test_the_signal_of_an_untrained_network_neither_fades_nor_explodes() -> None:
    logits = untrained("fashion_deep")(torch.randn(64, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert 0.1 < logits.std(0).mean() < 10


def test_classes_have_their_names(fashion_deep: Classifier, test_split: Dataset) -> None:
    assert fashion_deep.class_names == test_split.class_names
    assert untrained_classifier("flower_deep").class_names == FLOWER_CLASSES


def test_weights_of_two_classes_make_a_network_of_two_numbered_classes(tmp_path: Path) -> None:
    torch.save(find_architecture("flower_deep").network(2, None).state_dict(), tmp_path / "pair.pt")
    pair = load_classifier("flower_deep", weights=str(tmp_path / "pair.pt"))
    assert pair.class_names == ("0", "1")


@pytest.mark.parametrize("name", UNSHIPPED)
def test_without_shipped_weights_the_error_says_how_to_train_them(name: str) -> None:
    with pytest.raises(ValueError, match=rf"python sweeps/train_classifier\.py --model {name}"):
        load_classifier(name)


def test_shipped_weights_pass_91_percent_of_the_real_test_images(
    fashion_deep: Classifier, test_split: Dataset
) -> None:
    pixels = test_split.images(range(len(test_split)), View.of(fashion_deep))
    images = torch.from_numpy(pixels).to(memory_format=torch.channels_last).float() / 255
    with torch.no_grad():
        predictions = torch.cat([fashion_deep(batch).argmax(1) for batch in images.split(500)])
    accuracy = (predictions == torch.from_numpy(test_split.labels)).float().mean().item()
    assert accuracy > 0.91
    # Within what another kind of CPU may round otherwise.
    assert math.isclose(accuracy, float(metadata()["test_accuracy"]), abs_tol=0.0005)


def metadata() -> dict[str, str]:
    with safetensors.safe_open(shipped_file("fashion_deep"), framework="pt") as file:
        return file.metadata()


def test_shipped_weights_say_what_made_them(test_split: Dataset) -> None:
    made = metadata()
    assert made["command"].startswith("python sweeps/train_classifier.py --model fashion_deep ")
    assert made["test_digest"] == test_split.digest
    assert made["torch_version"].split(".")[0].isdigit()
    assert json.loads(made["settings"])["seed"] == int(made["seed"])
    assert json.loads(made["class_names"]) == list(test_split.class_names)


def test_a_shipped_file_that_is_not_the_pinned_one_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damaged = bytearray(shipped_file("fashion_deep").read_bytes())
    damaged[-1] ^= 1
    path = tmp_path / "fashion_deep.safetensors"
    path.write_bytes(damaged)
    monkeypatch.setattr(trained_here, "shipped_file", lambda _: path)
    with pytest.raises(ValueError, match=r"fashion_deep\.safetensors: SHA-256 is .*, expected .*reinstall"):
        load_classifier("fashion_deep")
    path.unlink()
    with pytest.raises(ValueError, match=r"fashion_deep\.safetensors: no such file; reinstall"):
        load_classifier("fashion_deep")
