"""Softened ReLUs: what a network answers stays the same, and its gradient fades out below zero."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.generation.soft_rectifiers import soft_rectifiers

INPUTS = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0, 9.0])
WIDTH_1 = torch.tensor([0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0])
WIDTH_2 = torch.tensor([0.0, 0.25, 0.375, 0.5, 0.625, 0.75, 1.0, 1.0])


class Functions(nn.Module):
    """A network that calls a function instead of a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Tensor:
        return self.function(1 * images)  # an image itself may not be written to


def ignored_return(images: Tensor) -> Tensor:
    F.relu(images, inplace=True)
    return images


RECTIFIERS = {
    "module": nn.ReLU(),
    "module in place": nn.ReLU(inplace=True),
    "module of six": nn.ReLU6(),
    "module of six in place": nn.ReLU6(inplace=True),
    "function": F.relu,
    "function of torch": torch.relu,
    "function of torch in place": torch.relu_,
    "method": Tensor.relu,
    "method in place": Tensor.relu_,
    "function of six": F.relu6,
    "in place, and what it returns is ignored": ignored_return,
    "by name": lambda images: F.relu(input=images, inplace=True),
}


def answer_and_gradient(function: Callable[[Tensor], Tensor], width: float) -> tuple[Tensor, Tensor]:
    images = INPUTS.clone().requires_grad_()
    with soft_rectifiers(width):
        answer = Functions(function)(images)
    return answer.detach(), torch.autograd.grad(answer.sum(), images)[0]


@pytest.mark.parametrize("name", RECTIFIERS)
def test_answers_are_those_of_the_network_and_gradients_rise_around_zero(name: str) -> None:
    function = RECTIFIERS[name]
    true_answer, true_gradient = answer_and_gradient(function, 0)
    for width, expected in ((1.0, WIDTH_1), (2.0, WIDTH_2)):
        answer, gradient = answer_and_gradient(function, width)
        assert torch.equal(answer, true_answer)
        torch.testing.assert_close(gradient, expected)
    assert not torch.equal(true_gradient, WIDTH_1)


@pytest.mark.parametrize(
    "function", [F.hardtanh, lambda images: F.hardtanh(images, -2, 2), F.gelu, F.silu, torch.sigmoid]
)
def test_other_activations_keep_their_gradients(function: Callable[[Tensor], Tensor]) -> None:
    answer, gradient = answer_and_gradient(function, 1.0)
    expected_answer, expected_gradient = answer_and_gradient(function, 0)
    assert torch.equal(answer, expected_answer)
    assert torch.equal(gradient, expected_gradient)


def test_nothing_is_left_of_it_outside() -> None:
    with pytest.raises(RuntimeError, match="stop"), soft_rectifiers(1.0):
        raise RuntimeError("stop")
    images = INPUTS.clone().requires_grad_()
    assert torch.autograd.grad(F.relu(images).sum(), images)[0].tolist() == (INPUTS > 0).float().tolist()


def test_without_gradients_a_network_runs_as_it_is() -> None:
    with torch.no_grad(), soft_rectifiers(1.0):
        assert torch.equal(F.relu6(INPUTS), INPUTS.clamp(0, 6))
