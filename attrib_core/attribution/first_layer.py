"""The first layer of a network, where it can be treated by itself: a convolution, and a max pool after it.

On the straight line from a baseline to an image a convolution gives a + t · b: it need not run again at every
point. Gradients at its output may be added up over the points before one backward pass takes them through it. A
window that is hidden changes a part of what it gives, and the rest is known from the image.

This holds if the convolution sees the normalised image itself, runs once, and everything else in the network
depends on the image through it alone. It is found out by trying: where the layer's output is given, autograd must
find no other way from the image to the logits, whatever the weights are, and another image must give the same
logits, bit for bit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.execution import is_device_failure, is_out_of_memory
from attrib_core.pooling import SlicedMaxPool2d
from attrib_core.prepared import PreparedModel

# Numbers that are worked on at a time, so that they stay in a CPU's cache.
BLOCK_NUMBERS = 80_000


@dataclass(frozen=True)
class FirstLayer:
    """The first convolution of a model, the batch norm that follows it, if one does, and then a 2 × 2 max pool."""

    model: PreparedModel
    affine: tuple[nn.Module, ...]
    pool: SlicedMaxPool2d | None

    @property
    def modules(self) -> list[nn.Module]:
        """All modules, in the order in which they run."""
        return [*self.affine, *([] if self.pool is None else [self.pool])]

    @property
    def has_hooks(self) -> bool:
        """True if somebody looks at, or changes, what a module gives: then each must run as it is called."""
        return any(each._forward_hooks or each._forward_pre_hooks for each in self.modules)

    def __call__(self, images: Tensor) -> Tensor:
        """Return what the affine part gives for a whole pass of images `[N, C, H, W]`; gradients flow through."""
        classifier = self.model.classifier
        found: Tensor = (images - classifier.mean) / classifier.std
        for module in self.affine:
            found = module(found)
        return found

    def rest(self, output: Tensor, like: Tensor) -> Tensor:
        """Return the logits of a whole pass whose first layer gives `output`; `like` are any images."""
        with self._giving(output):
            return self.model(like)

    @contextmanager
    def _giving(self, output: Tensor) -> Iterator[None]:
        """Let the last module of this layer give `output`, and the others do nothing."""
        modules = self.modules
        try:
            for module in modules:
                module.forward = lambda given: given
            modules[-1].forward = lambda _given: output
            yield
        finally:
            for module in modules:
                del module.forward


def first_layer(model: PreparedModel, size: tuple[int, int]) -> FirstLayer | None:
    """Return the first layer of a model for images of this size; None where it cannot be treated by itself."""
    execution = model.execution
    # In fewer bits a + t · b is another point than the network would see. A network in its users' memory format is
    # one that is to run as they run it: even roundings, which switch ReLUs that stand at zero, are then theirs.
    is_exact = execution.precision in ("float32", "tf32")
    if not is_exact or execution.compile or not execution.channels_last:
        return None
    # A model in another precision has the same network, but passes of its own.
    layer = model.once((first_layer, size, execution.precision), lambda: _found(model, size))
    return None if layer is None or layer.has_hooks else layer


def _found(model: PreparedModel, size: tuple[int, int]) -> FirstLayer | None:
    try:
        return _tried(model, size)
    except Exception as error:  # a network may raise anything where a layer gives what it never gave
        if is_device_failure(error) or is_out_of_memory(error):
            raise
        return None


@torch.no_grad()
def _tried(model: PreparedModel, size: tuple[int, int]) -> FirstLayer | None:
    noise = torch.rand(2, model.classifier.channels, *size, generator=torch.Generator().manual_seed(0))
    images = model.images(whole_pass(noise[: model.batch_size], model.batch_size))
    with model.execution.numerics():
        modules, logits = _leading_modules(model, images)
        if modules is None:
            return None
        pool = modules[-1] if isinstance(modules[-1], SlicedMaxPool2d) else None
        affine = tuple(modules if pool is None else modules[:-1])
        layer = FirstLayer(model, affine, pool)
        output = layer(images)
        between = layer(0.25 * images + 0.75 * images.flip(0))
        is_affine = torch.allclose(between, 0.25 * output + 0.75 * output.flip(0), rtol=1e-4, atol=1e-4)
        given = output if pool is None else pool(output)
        is_all = torch.equal(layer.rest(given.clone(), torch.zeros_like(images)), logits)
    return layer if is_affine and is_all and _is_only_way(layer, given, images) else None


@torch.enable_grad()
def _is_only_way(layer: FirstLayer, given: Tensor, images: Tensor) -> bool:
    """Return True if no gradient, be it zero, flows to the images beside the layer's output."""
    points, like = given.detach().requires_grad_(), images.detach().clone().requires_grad_()
    logits = layer.rest(points.clone(), like)
    if not logits.requires_grad:
        return False
    _, beside = torch.autograd.grad(logits.sum(), (points, like), allow_unused=True)
    return beside is None


def _leading_modules(model: PreparedModel, images: Tensor) -> tuple[list[nn.Module] | None, Tensor]:
    """Return the first convolution and what directly follows it, each run once, and the logits."""
    classifier = model.classifier
    calls: list[tuple[nn.Module, Any, Any]] = []

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        calls.append((module, inputs[0] if inputs else None, output))

    leaves = [each for each in classifier.network.modules() if not list(each.children())]
    handles = [each.register_forward_hook(record) for each in leaves]
    try:
        logits = model(images)
    finally:
        for handle in handles:
            handle.remove()
    chain: list[nn.Module] = []
    last: Any = None
    for module, given, output in calls:
        wanted = nn.Conv2d if not chain else (nn.BatchNorm2d, SlicedMaxPool2d)
        follows = given is last if chain else _is_normalised(given, images, model)
        if not (isinstance(module, wanted) and follows) or isinstance(
            chain[-1:] and chain[-1], SlicedMaxPool2d
        ):
            break
        chain.append(module)
        last = output
    ran = [module for module, _, _ in calls]
    is_plain = all(ran.count(each) == 1 and "forward" not in vars(each) for each in chain)
    is_known = all(type(each) in (nn.BatchNorm2d, SlicedMaxPool2d) for each in chain[1:])
    return (chain if chain and is_plain and is_known else None), logits


def _is_normalised(given: Any, images: Tensor, model: PreparedModel) -> bool:
    classifier = model.classifier
    return isinstance(given, Tensor) and torch.equal(given, (images - classifier.mean) / classifier.std)


def whole_pass(rows: Tensor, size: int) -> Tensor:
    """Return rows `[N, ...]` as `[size, ...]`, with copies of the last one."""
    missing = size - len(rows)
    return torch.cat([rows, rows[-1:].expand(missing, *rows.shape[1:])]) if missing else rows
