"""The skip gradient method: same forward pass, less gradient through branches, no hook left behind."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from attrib_core.generation.residual_gradients import residual_branch_ends, scaled_residual_gradients


class Residual(nn.Module):
    """x + 3x, written as timm writes a block."""

    def __init__(self) -> None:
        super().__init__()
        self.drop_path = nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.drop_path(3 * x)


@pytest.mark.parametrize(("scale", "gradient"), [(1.0, 4.0), (0.5, 2.5), (0.0, 1.0)])
def test_only_the_branchs_gradient_is_scaled(scale: float, gradient: float) -> None:
    block, x = Residual(), torch.ones(1, requires_grad=True)
    with scaled_residual_gradients(block, scale):
        y = block(x)
    assert y.item() == 4
    y.backward()
    assert x.grad is not None
    assert x.grad.item() == gradient


def test_no_hook_stays_after_the_context_even_when_it_raises() -> None:
    block = Residual()
    with pytest.raises(RuntimeError, match="inside"), scaled_residual_gradients(block, 0.5):
        raise RuntimeError("inside")
    assert not block.drop_path._forward_hooks


@pytest.mark.parametrize(
    ("network", "num_branches"),
    [
        (lambda: timm.create_model("tf_efficientnet_lite0"), 16),
        (lambda: timm.create_model("resnet18"), 8),
        (lambda: torchvision.models.resnet50(), 16),
        (lambda: torchvision.models.efficientnet_b0(), 16),
        (lambda: torchvision.models.vgg11(), 0),
    ],
    ids=["lite0", "timm resnet18", "resnet50", "efficientnet_b0", "vgg11"],
)
def test_branches_of_known_architectures_are_found(network, num_branches: int) -> None:
    with torch.device("meta"):  # only the structure matters: no weights are drawn
        assert len(residual_branch_ends(network())) == num_branches


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0"])
def test_the_forward_pass_stays_and_the_gradient_changes(name: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(name, **({"zero_init_last": False} if name == "resnet18" else {})).eval()
    image = torch.rand(1, 3, 64, 64, requires_grad=True)
    plain = network(image)
    with scaled_residual_gradients(network, 0.5):
        damped = network(image)
    assert torch.equal(plain, damped)
    gradients = [torch.autograd.grad(logits.sum(), image)[0] for logits in (plain, damped)]
    assert not torch.allclose(*gradients)
