"""Batch norms folded into the convolutions before them: the same function in fewer passes over memory.

In eval mode a batch norm is a scale and a shift per channel, which the convolution's weights can take over.
`torch.fx` cannot trace every network (timm's 'same' padding), so the pairs are found by watching a forward pass,
and the result is held against the original.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from attrib_core.classifiers.classifier import Classifier

# Rounding alone: 64-bit sums would agree to the last digit.
LARGEST_RELATIVE_DIFFERENCE = 1e-3


def with_folded_batch_norms(classifier: Classifier) -> Classifier:
    """A classifier with a copy of the network in which batch norms are folded away.

    Logits differ by roundings. Where the network computes something else once folded, or has nothing to fold,
    the classifier itself comes back.
    """
    size = classifier.image_size
    images = torch.rand(2, classifier.channels, size, size, generator=torch.Generator().manual_seed(0))
    images = images.to(classifier.mean.device)
    network = copy.deepcopy(classifier.network)
    with torch.inference_mode():
        pairs = _pairs(network, images)
    for convolution, norm in pairs:
        _fold(network, convolution, norm)
    folded = Classifier(network, classifier.identity, classifier.input_scaling).to(images.device)
    with torch.inference_mode():
        expected = classifier(images)
        difference = (folded(images) - expected).abs().max() / expected.abs().max()
    return folded if pairs and difference < LARGEST_RELATIVE_DIFFERENCE else classifier


def _pairs(network: nn.Module, images: Tensor) -> list[tuple[str, str]]:
    """Names of the convolutions whose output a batch norm takes as it is, each used once."""
    outputs: list[tuple[str, Tensor]] = []  # kept alive, so that no other tensor takes an output's place
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
    found = [(conv, norm) for norm, taken in inputs for conv, made in outputs if made is taken]
    convolutions, norms = [name for name, _ in outputs], [name for name, _ in inputs]
    return [(conv, norm) for conv, norm in found if convolutions.count(conv) == norms.count(norm) == 1]


def _recorder(name: str, tensors: list[tuple[str, Tensor]]) -> Any:
    """A hook that keeps a module's output, or as a pre-hook its input."""

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
    # timm's batch norms carry the activation behind them.
    network.set_submodule(norm, getattr(batch_norm, "act", nn.Identity()))
