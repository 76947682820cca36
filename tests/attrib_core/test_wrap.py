"""`Classifier.wrap`: any network becomes a classifier in one line, and every mistake is named."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.classifiers import Classifier

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def convolutional(channels: int = 3, num_classes: int = 4) -> nn.Sequential:
    """A network that takes images of any size, with a batch norm and dropout, which depend on the mode."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 6, 3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.5),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, num_classes),
        )


def linear(num_inputs: int, num_classes: int = 4) -> nn.Sequential:
    """A network that takes images of one size."""
    return nn.Sequential(nn.Flatten(), nn.Linear(num_inputs, num_classes))


class Function(nn.Module):
    """A network without weights that answers with any function of its images."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> object:
        return self.function(images)


def some_images(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1))


# Values


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        (MEAN, STD),
        (list(MEAN), list(STD)),
        (np.array(MEAN), np.array(STD)),
        (torch.tensor(MEAN), torch.tensor(STD)),
    ],
    ids=["tuples", "lists", "arrays", "tensors"],
)
def test_logits_are_those_of_the_network_on_normalised_images(mean, std) -> None:
    network, images = convolutional(), some_images(5, 3, 32, 32)
    classifier = Classifier.wrap(network, mean=mean, std=std)
    normalised = (images - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    assert torch.equal(classifier(images), network.eval()(normalised))


def test_without_mean_and_std_the_network_sees_the_images_as_they_are() -> None:
    network, images = convolutional(), some_images(5, 3, 32, 32)
    assert torch.equal(Classifier.wrap(network)(images), network.eval()(images))


@pytest.mark.parametrize(
    ("network", "given", "channels", "image_size"),
    [
        (convolutional(3), {}, 3, 224),
        (convolutional(1), {}, 1, 224),
        (convolutional(5), {"image_size": 32}, 5, 32),
        (convolutional(2), {"mean": (0.5, 0.5), "std": (0.2, 0.2)}, 2, 224),
        (linear(3 * 8 * 8), {"image_size": 8}, 3, 8),
        (linear(28 * 28), {"image_size": 28}, 1, 28),
        (linear(28 * 28), {"image_size": np.int64(28), "channels": 1}, 1, 28),
        (linear(3 * 224 * 224), {}, 3, 224),
        (Function(lambda images: images.mean((2, 3))), {}, 3, 224),  # no layer says the channels
        (Function(lambda images: images.mean((2, 3))), {"channels": 4}, 4, 224),
    ],
)
def test_channels_and_image_size_are_found_where_they_are_not_said(
    network, given, channels, image_size
) -> None:
    classifier = Classifier.wrap(network, **given)
    assert (classifier.channels, classifier.image_size) == (channels, image_size)
    assert classifier(some_images(2, channels, image_size, image_size)).shape == (2, classifier.num_classes)


def test_classes_are_counted_and_numbered_or_named() -> None:
    network = convolutional(num_classes=3)
    assert Classifier.wrap(network).class_names == ("0", "1", "2")
    assert Classifier.wrap(network, class_names=["cat", "dog", "eel"]).class_names == ("cat", "dog", "eel")


def test_the_name_is_the_networks_class_unless_one_is_given() -> None:
    assert Classifier.wrap(convolutional()).name == "Sequential"
    assert Classifier.wrap(convolutional(), name="mine").name == "mine"


def test_the_digest_is_that_of_the_weights() -> None:
    network, changed = convolutional(), convolutional()
    with torch.no_grad():
        changed[0].bias[0] += 1e-6
    digests = [Classifier.wrap(each).digest for each in (network, copy.deepcopy(network), changed)]
    assert digests[0] == digests[1] != digests[2]
    assert len(digests[0]) == 64


def test_a_wrapped_network_is_the_classifier_that_its_name_loads(lite0: Classifier) -> None:
    wrapped = Classifier.wrap(lite0.network, mean=(0.5,) * 3, std=(0.5,) * 3, class_names=lite0.class_names)
    images = some_images(2, 3, 64, 64)
    assert torch.equal(wrapped(images), lite0(images))
    assert (wrapped.digest, wrapped.num_classes, wrapped.image_size) == (lite0.digest, 1000, 224)


def test_the_users_network_stays_as_it_was_and_the_classifier_does_not_follow_it() -> None:
    network, images = convolutional().train(), some_images(2, 3, 32, 32)
    network[0].bias.requires_grad_(False)
    before = copy.deepcopy(network.state_dict())
    classifier = Classifier.wrap(network)
    logits = classifier(images)
    assert all(module.training for module in network.modules())
    assert [each.requires_grad for each in network.parameters()] == [True, False, True, True, True, True]
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with torch.no_grad():
        network[0].weight += 1
    assert torch.equal(classifier(images), logits)


def test_the_classifier_is_for_use_with_gradients_of_images_alone() -> None:
    classifier = Classifier.wrap(convolutional())
    assert not any(module.training for module in classifier.modules())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    images = some_images(2, 3, 32, 32).requires_grad_()
    (gradient,) = torch.autograd.grad(classifier(images).sum(), images)
    assert gradient.abs().max() > 0


# Outputs


@dataclass
class ModelOutput:
    """As a library of transformers answers."""

    logits: Tensor
    hidden: Tensor


OUTPUTS = {
    "a tuple": lambda logits: (logits, logits - 1),
    "a list": lambda logits: [logits, "auxiliary"],
    "a dict": lambda logits: {"hidden": logits - 1, "logits": logits},
    "an object": lambda logits: ModelOutput(logits, logits - 1),
    "a tuple of a dict": lambda logits: ({"logits": logits},),
}


@pytest.mark.parametrize("form", OUTPUTS)
def test_logits_are_found_in_what_a_network_answers(form: str) -> None:
    def network(images: Tensor) -> object:
        return OUTPUTS[form](images.mean((2, 3)))

    classifier, images = Classifier.wrap(Function(network)), some_images(5, 3, 8, 8)
    assert classifier.num_classes == 3
    assert torch.equal(classifier(images), images.mean((2, 3)))


@pytest.mark.parametrize(
    "shaped",
    [lambda z: z, lambda z: z[:, 0], lambda z: z.squeeze(), lambda z: {"logits": z}, lambda z: (z, z)],
    ids=["[B, 1]", "[B]", "squeeze", "a dict", "a tuple"],
)
def test_one_logit_is_two_classes(shaped) -> None:
    network, images = convolutional(num_classes=1).eval(), some_images(5, 3, 8, 8)
    classifier = Classifier.wrap(Function(lambda images: shaped(network(images))))
    assert classifier.class_names == ("0", "1")
    logits, z = classifier(images), network(images)[:, 0]
    assert torch.equal(logits, torch.stack([torch.zeros(5), z], 1))
    labels = torch.tensor([0, 1, 1, 0, 1])
    binary = F.binary_cross_entropy_with_logits(z, labels.float(), reduction="none")
    torch.testing.assert_close(F.cross_entropy(logits, labels, reduction="none"), binary)
    assert classifier(images[:1]).shape == (1, 2)


def test_the_two_classes_of_one_logit_can_have_names() -> None:
    network = convolutional(num_classes=1)
    assert Classifier.wrap(network, class_names=["cat", "dog"]).class_names == ("cat", "dog")
    with pytest.raises(ValueError, match=r"class_names=\('cat',\): accepted are 2 names"):
        Classifier.wrap(network, class_names=["cat"])


def test_log_probabilities_are_logits() -> None:
    assert Classifier.wrap(nn.Sequential(convolutional(), nn.LogSoftmax(1))).num_classes == 4


def gated(images: Tensor) -> Tensor:
    means = images.mean((2, 3))
    return means * torch.sigmoid(means)


LOGITS: dict[str, Callable[[Tensor], Tensor]] = {
    "log of softmax": lambda images: images.mean((2, 3)).softmax(1).log(),
    "log of softmax in place": lambda images: images.mean((2, 3)).softmax(1).log_(),
    "log of clamped softmax": lambda images: images.mean((2, 3)).softmax(1).clamp(1e-6).log(),
    "a gate": gated,
    "attention": lambda images: images.flatten(2).softmax(1).mean(2) @ torch.ones(3, 4),
    "one logit, the mean of a softmax over values": lambda images: (
        images.mean((2, 3)).softmax(1) * torch.tensor([-4.0, 0.0, 7.0])
    ).sum(1),
    "within limits": lambda images: 4 * torch.sigmoid(images.mean((2, 3))) - 2,
    "not negative": lambda images: images.mean((2, 3)).relu(),
    "an equal answer for all": lambda images: torch.full((len(images), 3), 0.5),
    "zero": lambda images: torch.zeros(len(images), 3),
    "deviations from the mean": lambda images: images.mean((2, 3)) - images.mean((1, 2, 3))[:, None],
}


@pytest.mark.parametrize("kind", LOGITS)
def test_true_logits_are_accepted_whatever_was_in_between(kind: str) -> None:
    assert Classifier.wrap(Function(LOGITS[kind]), image_size=8).num_classes in (2, 3, 4)


def test_a_network_that_cuts_a_large_image_into_several_is_refused_there() -> None:
    """`view(-1, 48)`, as in many tutorials: an image of twice the side would silently count as four."""
    classifier = Classifier.wrap(Function(lambda images: images.reshape(-1, 48)), image_size=4)
    assert classifier(some_images(2, 3, 4, 4)).shape == (2, 48)
    with pytest.raises(
        ValueError, match=r"2 images give torch.float32 \[8, 48\]; accepted are float logits \[2"
    ):
        classifier(some_images(2, 3, 8, 8))


# Mistakes


def raising(error: Exception) -> Function:
    def fail(_images: Tensor) -> None:
        raise error

    return Function(fail)


def locked() -> nn.Module:
    network = convolutional()
    network.lock = threading.Lock()
    return network


MISTAKES = {
    "mean alone": ({"mean": MEAN}, r"mean=\(0.485.*and std=None: accepted are both or neither"),
    "pixels to 255": (
        {"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)},
        r"mean=\(123.7, 116.3, 103.5\): accepted are numbers for pixels in \[0, 1\]; divide mean and std by 255",
    ),
    "std alone": ({"std": STD}, r"mean=None and std=\(0.229.*: accepted are both or neither"),
    "lengths that differ": (
        {"mean": MEAN, "std": (0.5,)},
        r"mean=\(0.485, 0.456, 0.406\) and std=\(0.5,\): accepted is one number of each for each channel",
    ),
    "std of 0": (
        {"mean": MEAN, "std": (0.2, 0.0, 0.2)},
        r"std=\(0.2, 0.0, 0.2\): accepted are positive numbers",
    ),
    "negative std": ({"mean": (0.5,), "std": (-1,)}, r"std=\(-1.0,\): accepted are positive numbers"),
    "a number for mean": (
        {"mean": 0.5, "std": (0.5,)},
        "mean=0.5: accepted is one finite number for each channel",
    ),
    "text for std": (
        {"mean": MEAN, "std": "half"},
        "std='half': accepted is one finite number for each channel",
    ),
    "NaN in mean": ({"mean": (float("nan"),), "std": (1,)}, r"mean=\(nan,\): accepted is one finite number"),
    "no channel": ({"mean": (), "std": ()}, r"mean=\(\): accepted is one finite number for each channel"),
    "a tensor [1, 3, 1, 1]": (
        {"mean": torch.zeros(1, 3, 1, 1), "std": STD},
        r"mean=tensor[\s\S]*: accepted is one finite number for each channel",
    ),
    "channels unlike mean": (
        {"mean": MEAN, "std": STD, "channels": 1},
        "channels=1: mean and std are given for 3; accepted is that",
    ),
    "mean of one channel for three": (
        {"mean": (0.5,), "std": (0.2,), "image_size": 32},
        r"channels=1; mean=\(0.5,\): accepted is one number for each of its 3 channels \(Run",
    ),
    "channels of 0": ({"channels": 0}, "channels=0: accepted are whole numbers from 1"),
    "channels unlike the network's": (
        {"channels": 1, "image_size": 32},
        r"it fails on an image of zeros with image_size=32 and channels=1; accepted are those that it takes \(Run",
    ),
    "image_size of 0": ({"image_size": 0}, "image_size=0: accepted are whole numbers from 1"),
    "negative image_size": ({"image_size": -3}, "image_size=-3: accepted are whole numbers from 1"),
    "a fraction": ({"image_size": 32.0}, r"image_size=32.0: accepted are whole numbers from 1"),
    "a pair": ({"image_size": (32, 32)}, r"image_size=\(32, 32\): accepted are whole numbers from 1"),
    "a truth value": ({"image_size": True}, "image_size=True: accepted are whole numbers from 1"),
    "too few names": ({"class_names": ["a", "b"]}, r"class_names=\('a', 'b'\): accepted are 4 names"),
    "too many names": ({"class_names": ["a", "b", "c", "d", "e"]}, "class_names=.*: accepted are 4 names"),
    "one text": ({"class_names": "abcd"}, "class_names='abcd': accepted is a sequence, one name a class"),
    "names that are numbers": (
        {"class_names": [0, 1, 2, 3]},
        r"class_names=\(0, 1, 2, 3\): accepted are 4 names",
    ),
}


@pytest.mark.parametrize("kind", MISTAKES)
def test_a_field_that_cannot_be_is_named_with_its_value_and_what_is_accepted(kind: str) -> None:
    given, message = MISTAKES[kind]
    with pytest.raises(ValueError, match=message):
        Classifier.wrap(convolutional(), **given)


WRONG_NETWORKS = {
    "a function": (lambda images: images, "network: function; accepted is a torch.nn.Module"),
    "nothing": (None, "network: NoneType; accepted is a torch.nn.Module"),
    "another size": (
        linear(3 * 32 * 32),
        r"fails on an image of zeros with image_size=224 and channels=3; give image_size and channels \(Runtime",
    ),
    "an error": (raising(KeyError("head")), r"give image_size and channels \(KeyError: 'head'\)"),
    "an empty error": (raising(AssertionError()), r"give image_size and channels \(AssertionError\)"),
    "a tuple of an image": (
        Function(lambda images: (images,)),
        r"gives torch.float32 \[1, 3, 224, 224\]; accepted",
    ),
    "an empty tuple": (
        Function(lambda images: ()),
        r"one image gives tuple; accepted are float logits \[1, K\]",
    ),
    "a dict without logits": (
        Function(lambda images: {"out": images.mean((2, 3))}),
        r"one image gives dict; accepted are float logits \[1, K\]",
    ),
    "a sigmoid": (
        nn.Sequential(convolutional(num_classes=1), nn.Sigmoid()),
        r"a sigmoid or softmax, so its outputs are probabilities; accepted are logits",
    ),
    "a softmax": (
        nn.Sequential(convolutional(), nn.Softmax(1)),
        r"a sigmoid or softmax, so its outputs are probabilities; accepted are logits",
    ),
    "a sigmoid by a function, of which one column is left": (
        Function(lambda images: torch.sigmoid(images.mean((2, 3)))[:, 0]),
        r"a sigmoid or softmax, so its outputs are probabilities; accepted are logits",
    ),
    **{
        f"a softmax, {kind}": (
            Function(lambda images, last=last: last(images[:, :, 0, 0])),
            "its outputs are probabilities; accepted are logits",
        )
        for kind, last in {
            "clamped": lambda z: z.softmax(1).clamp(1e-7, 1 - 1e-7),
            "clamped in place": lambda z: z.softmax(1).clamp_(min=1e-7),
            "times 100": lambda z: z.softmax(1) * 100,
            "with a temperature": lambda z: (z / 0.07).softmax(1),
            "smoothed": lambda z: z.softmax(1) * 0.9 + 0.1 / 3,
            "weighted by class": lambda z: z.softmax(1) * torch.tensor([1.0, 2.0, 3.0]),
            "the mean of two": lambda z: torch.stack([z.softmax(1), (2 * z).softmax(1)]).mean(0),
            "the mean of a list": lambda z: (z.softmax(1) + (2 * z).softmax(1)) / 2,
            "in double precision": lambda z: z.double().softmax(1).float(),
            "as exp of its logarithm": lambda z: z.log_softmax(1).exp(),
            "by its formula": lambda z: z.exp() / z.exp().sum(1, keepdim=True),
            "by its formula, in percent": lambda z: 100 * z.exp() / z.exp().sum(1, keepdim=True),
        }.items()
    },
    "a sigmoid, clamped": (
        Function(lambda images: torch.sigmoid(images.mean((2, 3))).clamp(1e-6, 1 - 1e-6)),
        "its outputs are probabilities; accepted are logits",
    ),
    "an image": (
        Function(lambda images: images),
        r"gives torch.float32 \[1, 3, 224, 224\]; accepted are float",
    ),
    "classes": (Function(lambda images: images.mean((2, 3)).long()), r"gives torch.int64 \[1, 3\]; accepted"),
    "a vector": (Function(lambda images: images.mean((0, 2, 3))), r"gives torch.float32 \[3\]; accepted"),
    "two rows": (Function(lambda images: torch.zeros(2, 3)), r"gives torch.float32 \[2, 3\]; accepted"),
    "no classes": (Function(lambda images: torch.zeros(1, 0)), r"gives torch.float32 \[1, 0\]; accepted"),
    "double weights": (convolutional().double(), "image of zeros with image_size=224 and channels=3"),
    "bfloat16": (
        convolutional().bfloat16(),
        "no digest of its state dict .*; accepted are tensors that numpy",
    ),
    "lazy layers": (
        nn.Sequential(nn.Flatten(), nn.LazyLinear(4)),
        "lazy layers without weights; accepted is one",
    ),
    "a lock": (
        locked(),
        r"copy.deepcopy fails \(TypeError: cannot pickle '_thread.lock' object\); accepted is one that it",
    ),
}


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("kind", WRONG_NETWORKS)
def test_a_network_that_is_no_classifier_is_told_why(kind: str) -> None:
    network, message = WRONG_NETWORKS[kind]
    with pytest.raises(ValueError, match=f"network: .*{message.removeprefix('network: ')}"):
        Classifier.wrap(network)
