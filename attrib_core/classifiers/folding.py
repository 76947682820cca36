"""Batch norms folded into the convolutions before them: the same function with fewer passes over memory.

In eval mode a batch norm multiplies and shifts each channel by constants:

    norm(x) = weight · (x − mean) / √(variance + ε) + bias

The convolution before it is linear in each output channel. So its weights can be multiplied by
weight / √(variance + ε) and its bias adjusted, and the batch norm can go.

A pair may only be folded if the batch norm's input is the convolution's output itself, and nothing else reads
that output. `torch.fx` would show this but cannot trace every network (timm's 'same' padding). So a forward
pass is watched instead: hooks record each convolution's output tensor and each batch norm's input tensor, and a
pair is where both are the same object. Other readers of the output are not seen this way, so the folded
network's logits are compared with the original's.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attrib_core.classifiers.classifier import Classifier

# Far above rounding errors of float32, far below what a wrong fold changes.
LARGEST_RELATIVE_DIFFERENCE = 1e-3


def with_folded_batch_norms(classifier: Classifier) -> Classifier:
    """Return a classifier whose network is a copy with batch norms folded into convolutions.

    Its logits differ by rounding. If there is nothing to fold, or the folded network computes something else, this
    returns the classifier itself. It is folded and compared on the CPU, wherever the classifier is: the arithmetic
    of a GPU would decide otherwise, and give other weights, than that of another one.
    """
    size = classifier.image_size
    images = torch.rand(2, classifier.channels, size, size, generator=torch.Generator().manual_seed(0))
    device = classifier.mean.device
    network = copy.deepcopy(classifier.network).cpu()
    original = classifier if device.type == "cpu" else copy.deepcopy(classifier).cpu()
    with torch.inference_mode():
        pairs = _pairs(network, images)
    for convolution, norm in pairs:
        _fold(network, convolution, norm)
    folded = Classifier(network, classifier.identity, classifier.input_scaling)
    with torch.inference_mode():
        expected = original(images)
        difference = (folded(images) - expected).abs().max() / expected.abs().max()
    return folded.to(device) if pairs and difference < LARGEST_RELATIVE_DIFFERENCE else classifier


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Return the names of each convolution and the batch norm that takes its output, if each runs only once."""
    outputs: list[tuple[str, Tensor]] = []  # kept alive: a freed tensor's id could be reused
    inputs: list[tuple[str, Tensor]] = []
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(_recorder(name, outputs)))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(_recorder(name, inputs)))
    try:
        network(images)
    finally:
        for hook in hooks:
            hook.remove()
    # A module that runs twice in a pass has two outputs: folding for one of them would be wrong for the other.
    found = [(conv, norm) for norm, taken in inputs for conv, made in outputs if made is taken]
    convolutions, norms = [name for name, _ in outputs], [name for name, _ in inputs]
    return [(conv, norm) for conv, norm in found if convolutions.count(conv) == norms.count(norm) == 1]


def _recorder(name: str, tensors: list[tuple[str, Tensor]]) -> Any:
    """Return a hook that stores a module's output or, as a pre-hook, its input."""

    def record(_module: nn.Module, arguments: tuple[Tensor, ...], output: Tensor | None = None) -> None:
        tensors.append((name, arguments[0] if output is None else output))

    return record


def _fold(network: nn.Module, convolution: str, norm: str) -> None:
    conv, batch_norm = network.get_submodule(convolution), network.get_submodule(norm)
    assert isinstance(conv, nn.Conv2d)
    assert isinstance(batch_norm, nn.BatchNorm2d)
    assert batch_norm.running_mean is not None
    assert batch_norm.running_var is not None
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight,
        conv.bias,
        batch_norm.running_mean,
        batch_norm.running_var,
        batch_norm.eps,
        batch_norm.weight,
        batch_norm.bias,
    )
    # timm's batch norms include the activation that follows them: keep it.
    network.set_submodule(norm, getattr(batch_norm, "act", nn.Identity()))
