"""The layers of a network that still know places: feature maps, and tokens that stand for patches.

What a layer gives is a feature map if it has the batch's first dimension and one of these shapes:

    [N, C, h, w]    a convolution's
    [N, h, w, C]    a Swin transformer's
    [N, T, C]       tokens of a vision transformer: T − h · w of its own (class token, registers), then the patches

A layer inside one that takes tokens, such as an attention's weights `[N, heads, T, T]`, gives no map of places.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.attribution.adapters.layers import LAYER, named_layer
from attrib_core.attribution.adapters.rewired import rewired
from attrib_core.classifiers.ensembles import EnsembleNetwork
from attrib_core.numerics import gradients_enabled
from attrib_core.prepared import PreparedModel

Size = tuple[int, int]


@dataclass(frozen=True)
class FeatureMap:
    """A layer, and where its outputs have the places: height and width of the map, and how it is laid out."""

    name: str
    size: Size
    num_own_tokens: int | None = None  # that come before the patches; None: it gives no tokens
    channels_last: bool = False

    def by_place(self, output: Tensor) -> Tensor:
        """Return an output of the layer as `[N, C, h, w]`."""
        if self.num_own_tokens is not None:
            return output[:, self.num_own_tokens :].reshape(len(output), *self.size, -1).permute(0, 3, 1, 2)
        return output.permute(0, 3, 1, 2) if self.channels_last else output


@dataclass
class _Seen:
    """What the layers of a network gave in a pass, in the order in which they finished."""

    image_size: Size
    num_images: int
    outputs: list[tuple[str, Any]] = field(default_factory=list)
    maps: list[tuple[FeatureMap, Tensor]] = field(default_factory=list)
    norms: list[tuple[FeatureMap, Tensor]] = field(default_factory=list)  # of tokens
    features: Tensor | None = None  # that the last linear layer was given
    patches: Size | None = None  # of the convolution that cut the image into tokens
    inside_tokens: int = 0  # how many of the running layers took tokens
    known: set[tuple[int, int]] = field(default_factory=set)

    def map_of(self, name: str, output: object) -> FeatureMap | None:
        """Return how a layer's output has places; None if it has none."""
        if not isinstance(output, Tensor) or not output.is_floating_point() or len(output) != self.num_images:
            return None
        shape = tuple(output.shape)
        if len(shape) == 4:
            is_last = _is_alike(shape[1:3], self.image_size) and not _is_alike(shape[2:4], self.image_size)
            size = shape[1:3] if is_last else shape[2:4]
            return FeatureMap(name, (size[0], size[1]), channels_last=is_last)
        if len(shape) == 3 and shape[1] > 1:
            side, patches = math.isqrt(shape[1]), self.patches
            size = patches if patches is not None and math.prod(patches) <= shape[1] else (side, side)
            return FeatureMap(name, size, num_own_tokens=shape[1] - math.prod(size))
        return None

    def enter(self, _module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.inside_tokens += _takes_tokens(inputs)

    def leave(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        self.inside_tokens -= _takes_tokens(inputs)
        self.outputs.append((name, output))
        if isinstance(module, nn.Linear):
            self.features = inputs[0]
        # A container, or dropout, gives what another layer has given; an activation in place gives something new.
        version = (id(output), getattr(output, "_version", 0))
        if version in self.known:
            return
        self.known.add(version)
        found = self.map_of(name, output)
        if found is None or math.prod(found.size) == 1:
            return
        if found.num_own_tokens is None and not self.inside_tokens:
            self.maps.append((found, output))
            self.norms.clear()
            if isinstance(module, nn.Conv2d):
                self.patches = found.size
        elif found.num_own_tokens is not None and isinstance(module, nn.LayerNorm | nn.RMSNorm):
            self.norms.append((found, output))


def find_feature_map(where: str, model: PreparedModel, layer: str | None, size: Size) -> FeatureMap:
    """Return the layer of that name, or the last one that knows places, for images of `size`.

    In a network of tokens it is the last norm of tokens through which the patches still reach the logits: of a
    transformer with a class token, the one before its last attention. Raises ValueError for an unknown layer and
    for one without places.
    """
    network = model.classifier.network
    if layer is not None:
        named_layer(where, network, layer)
        return _named(where, _seen(model, size)[0], layer)
    if isinstance(network, EnsembleNetwork):
        raise ValueError(
            f"{where}: {model.classifier.name} is an ensemble, each of whose members has a last layer; accepted "
            f"is {LAYER}=NAME, such as members.0.network.NAME"
        )
    seen, logits = _seen(model, size)
    if seen.norms:
        return _last_norm(where, seen, logits)
    if not seen.maps:
        raise ValueError(
            f"{where}: {model.classifier.name} has no layer that gives a map of more than one pixel; accepted are "
            "networks of convolutions or of tokens"
        )
    return seen.maps[-1][0]


def _is_alike(size: Sequence[int], image_size: Size) -> bool:
    """Return whether a map has the image's form, up to a pixel that striding leaves over."""
    return abs(size[0] * image_size[1] - size[1] * image_size[0]) < max(image_size)


def _takes_tokens(inputs: tuple[Any, ...]) -> bool:
    return bool(inputs) and isinstance(inputs[0], Tensor) and inputs[0].ndim == 3 and inputs[0].shape[1] > 1


@gradients_enabled()
def _seen(model: PreparedModel, size: Size) -> tuple[_Seen, Tensor]:
    """Return what layers give for a pass of one image of noise, and its logits `[1, K]`."""
    noise = torch.rand(1, model.classifier.channels, *size, generator=torch.Generator().manual_seed(0))
    image, seen = model.images(noise).requires_grad_(), _Seen(size, model.batch_size)
    # An activation in place would leave its own output under the name of the layer before it.
    with rewired(model.classifier), _watched(model.classifier.network, seen):
        return seen, model(image)


@contextmanager
def _watched(network: nn.Module, seen: _Seen) -> Iterator[None]:
    handles = []
    for name, module in network.named_modules():
        if name:
            handles.append(module.register_forward_pre_hook(seen.enter))
            handles.append(module.register_forward_hook(partial(seen.leave, name)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _last_norm(where: str, seen: _Seen, logits: Tensor) -> FeatureMap:
    """Return the last norm of tokens whose patches have a gradient."""
    outputs = [output for _, output in seen.norms]
    number = logits.max()
    if seen.features is not None:  # a head that is not trained yet may be zero, and let no gradient through
        noise = torch.randn(seen.features.shape, generator=torch.Generator().manual_seed(0))
        number = number + (seen.features * noise.to(seen.features)).sum()
    gradients = torch.autograd.grad(number, outputs, allow_unused=True) if number.requires_grad else ()
    for (found, _), gradient in zip(reversed(seen.norms), reversed(gradients), strict=False):
        if gradient is not None and bool(found.by_place(gradient).any()):
            return found
    raise ValueError(
        f"{where}: no norm of tokens through which the patches reach the logits; accepted is {LAYER}=NAME, of "
        f"{', '.join(found.name for found, _ in seen.norms)}"
    )


def _named(where: str, seen: _Seen, layer: str) -> FeatureMap:
    outputs = [output for name, output in seen.outputs if name == layer]
    if not outputs:
        raise ValueError(f"{where}: {LAYER}={layer} takes no part in a pass; accepted is a layer that does")
    found = seen.map_of(layer, outputs[-1])
    if found is None or math.prod(found.size) == 1:
        output = outputs[-1]
        shape = ["N", *output.shape[1:]] if isinstance(output, Tensor) else type(output).__name__
        given = f"[{', '.join(map(str, shape))}]" if isinstance(shape, list) else f"a {shape}"
        raise ValueError(
            f"{where}: {LAYER}={layer} gives {given}; accepted is one that gives a map of more than one pixel, "
            "[N, C, h, w], [N, h, w, C] or tokens [N, T, C]"
        )
    return found
