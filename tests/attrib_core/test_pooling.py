"""Sliced max pooling gives the numbers and the gradients of torch's own."""

import pytest
import torch
from torch import nn

from attrib_core.pooling import SlicedMaxPool2d, with_sliced_pooling


@pytest.mark.parametrize("size", [(28, 28), (7, 7), (5, 8), (2, 2), (3, 2)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_maxima_are_those_of_torch(size, dtype) -> None:
    images = torch.randn(3, 4, *size, generator=torch.Generator().manual_seed(0)).to(dtype)
    images[0, 0, 0, 0] = torch.nan
    with torch.inference_mode():
        found, expected = SlicedMaxPool2d(2)(images), nn.MaxPool2d(2)(images)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def test_gradients_are_those_of_torch_where_maxima_are_tied() -> None:
    gradients = []
    for pool in (SlicedMaxPool2d(2), nn.MaxPool2d(2)):
        images = torch.ones(1, 1, 4, 4, requires_grad=True)
        (gradient,) = torch.autograd.grad(pool(images).sum(), images)
        gradients.append(gradient)
    assert torch.equal(*gradients)


def test_only_plain_two_by_two_pools_are_replaced() -> None:
    network = nn.Sequential(
        nn.MaxPool2d(2),
        nn.Sequential(nn.MaxPool2d((2, 2), stride=(2, 2))),
        nn.MaxPool2d(3, 2),
        nn.MaxPool2d(2, stride=1),
        nn.MaxPool2d(2, padding=1),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.MaxPool2d(2, return_indices=True),
    )
    kinds = [
        type(module) for module in with_sliced_pooling(network).modules() if isinstance(module, nn.MaxPool2d)
    ]
    assert kinds == [SlicedMaxPool2d] * 2 + [nn.MaxPool2d] * 5
