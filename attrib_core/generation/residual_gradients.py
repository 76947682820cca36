"""Less gradient through residual branches: the skip gradient method (Wu et al. 2020, arXiv:2002.05990).

A network with shortcuts adds each block's branch to its input. Scaling down the gradient that comes back
through the branches leaves the forward pass as it is, and makes what the gradient builds transfer better to
other networks.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

# Where timm and torchvision drop a whole branch in training: the branch's last module, an identity at other times.
_BRANCH_ENDS = ("drop_path", "drop_path1", "drop_path2", "stochastic_depth")


@contextmanager
def scaled_residual_gradients(network: nn.Module, scale: float) -> Iterator[None]:
    """Scales the gradient through every residual branch by `scale`, for forward passes made in the context.

    A network without residual branches that are known here is left as it is.
    """

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
    """The last module of each residual branch, whose output is added to the shortcut."""
    return [end for block in network.modules() for end in _branch_ends(block)]


def _branch_ends(block: nn.Module) -> list[nn.Module]:
    children = dict(block.named_children())
    ends = [children[name] for name in _BRANCH_ENDS if name in children]
    if not ends and "downsample" in block.__dict__.keys() | children.keys() and "bn2" in children:
        ends = [children.get("bn3", children["bn2"])]  # a ResNet's block
    return ends
