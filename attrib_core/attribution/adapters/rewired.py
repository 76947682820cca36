"""A network whose modules are of the kinds that others' hooks know, for as long as the hooks are there."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from attrib_core.pooling import SlicedMaxPool2d


@contextmanager
def rewired(network: nn.Module) -> Iterator[None]:
    """Let activations leave their input alone, and max pools be torch's own; give both back afterwards.

    The numbers are the same. A hook on a module that overwrites its input is an error of torch, and captum knows
    torch's max pools by their class.
    """
    in_place = [each for each in network.modules() if getattr(each, "inplace", False) is True]
    pools = [each for each in network.modules() if type(each) is SlicedMaxPool2d]
    try:
        for module in in_place:
            module.inplace = False  # type: ignore[assignment]  # modules have attributes of any kind
        for pool in pools:
            pool.__class__ = nn.MaxPool2d  # type: ignore[assignment]
        yield
    finally:
        for module in in_place:
            module.inplace = True  # type: ignore[assignment]
        for pool in pools:
            pool.__class__ = SlicedMaxPool2d
