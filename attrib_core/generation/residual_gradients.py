"""Smaller gradients through residual branches: the skip gradient method (Wu et al. 2020, arXiv:2002.05990).

A residual block computes y = x + f(x), where f is its branch and x the shortcut. The gradient of a loss is

    ∂L/∂x = ∂L/∂y + ∂L/∂y · f'(x)

This scales the second term, the one that comes back through the branch, by a factor below 1 and leaves the forward
pass unchanged. Images and attacks that are made with such gradients transfer better to other networks.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

# timm and torchvision end a branch with one of these modules. In training it drops the branch at random; in
# eval mode it is an identity, so its output is the branch's output.
_BRANCH_ENDS = ("drop_path", "drop_path1", "drop_path2", "stochastic_depth")


@contextmanager
def scaled_residual_gradients(network: nn.Module, scale: float) -> Iterator[None]:
    """Scale the gradient through every residual branch by `scale`, for forward passes made in the context.

    Does nothing to a network in which no residual branches are found.
    """

    # Scaling the gradient at the branch's output scales all of it that goes through the branch.
    def damp(_module: nn.Module, _inputs: object, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(lambda gradient: gradient * scale)  # type: ignore[no-untyped-call]

    ends = residual_branch_ends(network) if scale != 1 else []
    hooks = [end.register_forward_hook(damp) for end in ends]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def residual_branch_ends(network: nn.Module) -> list[nn.Module]:
    """Return the last module of each residual branch, whose output is added to the shortcut."""
    return [end for block in network.modules() for end in _branch_ends(block)]


def _branch_ends(block: nn.Module) -> list[nn.Module]:
    children = dict(block.named_children())
    ends = [children[name] for name in _BRANCH_ENDS if name in children]
    if not ends and "downsample" in block.__dict__.keys() | children.keys() and "bn2" in children:
        ends = [children.get("bn3", children["bn2"])]  # a block of timm's or torchvision's ResNet
    return ends
