"""Folding batch norms: the same logits and gradients up to rounding, and no network changed behind one's back."""

import copy
from typing import ClassVar

import pytest
import torch
from torch import nn

from attrib_core.classifiers import Classifier, load_classifier, with_folded_batch_norms
from tests.gpu.pretend_gpu import pretend_gpu


def norms(classifier: Classifier) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in classifier.modules())


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "timm:resnet18"])
def test_logits_and_input_gradients_stay_the_same(name: str) -> None:
    classifier = load_classifier(name, weights=None if "lite" in name else "untrained")
    folded = with_folded_batch_norms(classifier)
    assert norms(folded) < norms(classifier)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1)).requires_grad_()
    before, after = classifier(images), folded(images)
    torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4 * before.abs().max().item())
    gradients = [torch.autograd.grad(logits[:, 3].sum(), images)[0] for logits in (before, after)]
    similarity = torch.cosine_similarity(gradients[0].flatten(), gradients[1].flatten(), dim=0)
    assert similarity > 0.999


def test_the_classifier_that_was_given_stays_as_it_was(lite0: Classifier) -> None:
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    with_folded_batch_norms(lite0)
    assert all(torch.equal(value, before[name]) for name, value in lite0.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lite0.modules())


def test_every_norm_of_the_default_model_is_folded(lite0: Classifier) -> None:
    folded = with_folded_batch_norms(lite0)
    assert norms(folded) == 0
    assert (folded.name, folded.digest, folded.input_scaling) == (
        lite0.name,
        lite0.digest,
        lite0.input_scaling,
    )


class OutputUsedTwice(nn.Module):
    """The convolution's output goes to the norm and, as it is, past it: folding would change the second use."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 0.7)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        made = self.conv(images)
        return (self.norm(made) - 2 * made).mean((2, 3))


def test_a_network_that_would_compute_something_else_is_left_alone(lite0: Classifier) -> None:
    network = OutputUsedTwice()
    classifier = Classifier(copy.deepcopy(network), lite0.identity)
    assert with_folded_batch_norms(classifier) is classifier


class WithNorm(nn.Module):
    """A convolution and its norm; it notes on which devices it runs."""

    devices: ClassVar[list[str]] = []

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        nn.init.constant_(self.norm.running_mean, 0.7)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        WithNorm.devices.append(images.device.type)
        return self.norm(self.conv(images)).mean((2, 3))


def test_it_is_decided_on_the_cpu_wherever_the_classifier_is() -> None:
    """Another kind of arithmetic would find other differences, and refuse or accept by the kind of the GPU."""
    on_cpu = Classifier.wrap(WithNorm(), image_size=8, class_names=("a", "b", "c", "d"))
    expected = with_folded_batch_norms(on_cpu)
    with pretend_gpu():
        on_gpu = copy.deepcopy(on_cpu).to("gpu")
        WithNorm.devices.clear()
        folded = with_folded_batch_norms(on_gpu)
        assert set(WithNorm.devices) == {"cpu"}
        assert norms(folded) == 0
        assert {weight.device.type for weight in folded.parameters()} == {"gpu"}
        assert {weight.device.type for weight in on_gpu.parameters()} == {"gpu"}
        weights = [weight.cpu() for weight in folded.parameters()]
    assert all(map(torch.equal, weights, expected.parameters()))
