"""The layers of a network whose channels are units, and which axis of what they give has the channels.

What a layer gives must be a tensor whose first axis is the images. Its other axes are channels and places:

    [N, C]           a linear layer's; it has no places
    [N, C, h, w]     a convolution's
    [N, h, w, C]     a Swin transformer's
    [N, T, C]        tokens of a vision transformer: some of its own (class token, registers), then the patches

It is found by trying: images of another size change the axes of places and leave that of the channels. Where the
network takes one size alone, or no axis changes, three axes are tokens, and of four the last has the channels if
the two before it are equal and it is not, as in [N, 7, 7, 768].
"""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A layer whose channels are units."""

    name: str
    shape: tuple[int, ...]  # of what it gives for one image
    channel_axis: int  # of what it gives for several images: from 1
    num_runs: int = 1  # in one pass; the last of them counts

    @property
    def num_channels(self) -> int:
        return self.shape[self.channel_axis - 1]

    @property
    def has_places(self) -> bool:
        return len(self.shape) > 1

    def by_channel(self, output: Tensor) -> Tensor:
        """Return what the layer gave as `[N, C, P]`: channels and places."""
        return output.movedim(self.channel_axis, 1).reshape(len(output), self.num_channels, -1)

    def center(self, output: Tensor) -> int:
        """Return which of the places lies in the middle: of tokens, the patch in the middle of the image."""
        places = [side for axis, side in enumerate(output.shape) if axis not in (0, self.channel_axis)]
        if len(places) == 1:
            side = math.isqrt(places[0])  # images are square; tokens that are no patches come first
            return places[0] - side**2 + side // 2 * side + side // 2
        middle = 0
        for side in places:
            middle = middle * side + side // 2
        return middle

    def __str__(self) -> str:
        """Return the shape in words: `[N, C=112, 14, 14]`."""
        axes = [
            f"C={side}" if axis == self.channel_axis else str(side) for axis, side in enumerate(self.shape, 1)
        ]
        return f"[{', '.join(['N', *axes])}]"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A line of the list of layers: a layer, or why its channels are no units."""

    name: str
    kind: str  # the module's class
    layer: Layer | None
    reason: str = ""


@dataclass
class _Given:
    """What a module gave in a pass."""

    num_runs: int = 0
    what: str = ""  # in words; empty for a tensor
    shape: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Pass:
    """What all modules gave for `num_images` square images."""

    num_images: int
    given: dict[str, _Given] = field(default_factory=dict)

    def keep(self, name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        given = self.given.setdefault(name, _Given())
        given.num_runs += 1
        if isinstance(output, Tensor) and output.is_floating_point():
            given.what, given.shape = "", tuple(output.shape)
        else:
            given.what = str(output.dtype) if isinstance(output, Tensor) else type(output).__name__


def list_layers(model: PreparedModel, image_size: int) -> list[Listed]:
    """Return all modules of the network, in its own order, as layers for images of this size."""
    first, second = _passes(model, image_size)
    return [
        _listed(name, module, first, second)
        for name, module in model.classifier.network.named_modules()
        if name
    ]


def find_layer(where: str, model: PreparedModel, name: str, image_size: int) -> Layer:
    """Return the layer of that name. Raises ValueError, beginning with `where`, for one without units.

    Its channels must depend on the image, as autograd sees it.
    """
    modules = {each: module for each, module in model.classifier.network.named_modules() if each}
    if name not in modules:
        raise ValueError(f"{where}: {_unknown(name, modules)}")
    first, second = _passes(model, image_size)
    listed = _listed(name, modules[name], first, second)
    if listed.layer is None:
        raise ValueError(f"{where}: layer {name!r} {listed.reason}")
    if not _depends_on_images(model, modules[name], image_size):
        raise ValueError(
            f"{where}: what layer {name!r} gives does not depend on the image, as autograd sees it; accepted is "
            "a layer that does"
        )
    return listed.layer


def _unknown(name: str, known: Mapping[str, object]) -> str:
    """Return the words for a layer that is not there, with near names."""
    near = difflib.get_close_matches(name, known, n=3)
    if near:
        return f"no layer {name!r}; near matches are {', '.join(near)} (--list-layers prints all)"
    return f"no layer {name!r}; accepted are {', '.join(list(known)[:8])} ... (--list-layers prints all)"


def _listed(name: str, module: nn.Module, first: _Pass, second: _Pass | None) -> Listed:
    given = first.given.get(name)
    kind = type(module).__name__
    if given is None:
        reason = "takes no part in a pass; accepted is a layer that does"
        return Listed(name=name, kind=kind, layer=None, reason=reason)
    if given.what or len(given.shape) < 2 or given.shape[0] != first.num_images:
        shape = given.what or f"a tensor {list(given.shape)} for {first.num_images} images"
        reason = f"gives {shape}; accepted is a layer that gives a float tensor [N, ...] for N images"
        return Listed(name=name, kind=kind, layer=None, reason=reason)
    other = second.given.get(name) if second is not None else None
    axis = channel_axis(given.shape, () if other is None else other.shape)
    layer = Layer(name=name, shape=given.shape[1:], channel_axis=axis, num_runs=given.num_runs)
    return Listed(name=name, kind=kind, layer=layer)


def channel_axis(shape: Sequence[int], other: Sequence[int] = ()) -> int:
    """Return the axis of the channels, from 1, of a shape `[N, ...]`; `other` is that at another image size."""
    axes = range(1, len(shape))
    if len(other) == len(shape):
        same = [axis for axis in axes if shape[axis] == other[axis]]
        if len(same) == 1:
            return same[0]
    if len(shape) == 3:
        return 2
    if len(shape) == 4 and shape[1] == shape[2] != shape[3]:
        return 3
    return 1


def _passes(model: PreparedModel, image_size: int) -> tuple[_Pass, _Pass | None]:
    """Return what modules give for images as they are shown, and for images of another size if there is one."""
    side = model.view_size(image_size)
    other = model.view_size(side // 2)
    key = (_passes, side)
    return model.once(key, lambda: (_seen(model, side), _seen(model, other) if other != side else None))


@torch.no_grad()
def _seen(model: PreparedModel, side: int) -> _Pass:
    seen = _Pass(model.batch_size)
    with _watched(model.classifier.network, seen):
        model(_noise(model, side))
    return seen


def _noise(model: PreparedModel, side: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return model.images(torch.rand(1, model.classifier.channels, side, side, generator=generator))


@contextmanager
def _watched(network: nn.Module, seen: _Pass) -> Iterator[None]:
    handles = [
        module.register_forward_hook(partial(seen.keep, name))
        for name, module in network.named_modules()
        if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@gradients_enabled()
def _depends_on_images(model: PreparedModel, module: nn.Module, image_size: int) -> bool:
    """Return True if a gradient flows from the layer to the images."""
    outputs: list[Tensor] = []
    images = _noise(model, model.view_size(image_size)).requires_grad_()
    # The sum is taken at once: the network may go on to write to the output.
    handle = module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output.sum()))
    try:
        model(images)
    finally:
        handle.remove()
    if not outputs[-1].requires_grad:
        return False
    (gradient,) = torch.autograd.grad(outputs[-1], images, allow_unused=True)
    return gradient is not None
