"""Grad-CAM: which places of a layer's feature map the answer depends on, and guided Grad-CAM."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attribution.feature_maps import FeatureMap, find_feature_map
from attrib_core.attribution.subject import Subject, objective
from attrib_core.prepared import PreparedModel, averaged, joined

RECTIFIERS = nn.ReLU | nn.ReLU6


def grad_cam(subject: Subject) -> Tensor:
    """Return a layer's channels, weighted by the gradient's mean over places and added up, at the image's size.

    Selvaraju et al. 2017, arXiv:1610.02391. The paper keeps what is positive, which is the setting `relu`; without
    it these are the values of captum's LayerGradCam. All channels of the image share them.
    """
    cam = _shared(subject).once(cam_of_layer)
    cam = cam.relu() if subject.settings.relu else cam
    return upsampled(cam, subject).expand_as(subject.images)


def guided_grad_cam(subject: Subject) -> Tensor:
    """Return the guided gradient · Grad-CAM, of which only the positive part counts.

    Selvaraju et al. 2017, arXiv:1610.02391. Guided is the gradient of which each ReLU lets only the positive part
    pass (Springenberg et al. 2014, arXiv:1412.6806). In a network without such modules it is the gradient itself.
    """
    cam = _shared(subject).once(cam_of_layer)
    return _shared(subject).once(guided_gradient) * upsampled(cam.relu(), subject)


def cam_of_layer(subject: Subject) -> Tensor:
    """Return Σ channels · mean gradient of the target over the layer's places, `[B, 1, h, w]`, in float32.

    It takes one forward pass, and a backward pass as far as the layer.
    """
    # In float16 gradients within a network are not scaled.
    is_half = subject.model.execution.precision == "float16"
    model = subject.model.in_float32() if is_half else subject.model
    height, width = subject.images.shape[-2:]
    layer = _layer(model, subject.settings.layer, (height, width))

    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        return _cam(subject, model, layer, part)[: len(rows)]

    return joined(model.in_passes(len(subject.images), run))


def guided_gradient(subject: Subject) -> Tensor:
    """Return the guided gradient of the target, `[B, C, H, W]`."""

    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        with _guided(subject.model.classifier.network):
            _, (found,) = subject.model.gradients(
                subject.images[part], [objective(subject.target, subject.classes[part])]
            )
        return found

    return joined(subject.model.in_passes(len(subject.images), run))


def upsampled(cam: Tensor, subject: Subject) -> Tensor:
    """Return a map `[B, 1, h, w]` at the size of the images, as the setting `upsample` says."""
    mode = subject.settings.upsample
    corners = None if mode == "nearest" else False
    return F.interpolate(cam, subject.images.shape[-2:], mode=mode, align_corners=corners)


def check_grad_cam(model: PreparedModel, *, layer: str | None = None, **_others: Any) -> tuple[str, ...]:
    """Return a note that says which layer was found. Raises ValueError for a network without such a layer."""
    side = model.classifier.image_size
    found = _layer(model, layer, (side, side))
    if layer is not None:
        return ()
    height, width = found.size
    if found.num_own_tokens is None:
        return (f"grad_cam: layer={found.name}, the last feature map above one pixel: {height} × {width}",)
    return (
        f"grad_cam: layer={found.name}, the last norm of tokens whose patches reach the logits: {height} × "
        f"{width} patches, without {found.num_own_tokens} other tokens",
    )


def check_guided_grad_cam(
    model: PreparedModel, *, layer: str | None = None, **others: Any
) -> tuple[str, ...]:
    """Return what `check_grad_cam` does, and a note about a network whose gradient cannot be guided."""
    notes = check_grad_cam(model, layer=layer, **others)
    if any(isinstance(each, RECTIFIERS) for each in model.classifier.network.modules()):
        return notes
    return (
        *notes,
        f"guided_grad_cam: {model.classifier.name} has no nn.ReLU or nn.ReLU6 module (functions do not count), so "
        "that nothing is guided: it is the gradient × Grad-CAM",
    )


def _shared(subject: Subject) -> Subject:
    """Return the subject under what a layer's map depends on: methods that differ in the rest share it."""
    return subject.with_settings({"relu": False, "upsample": "bilinear"})


def _layer(model: PreparedModel, name: str | None, size: tuple[int, int]) -> FeatureMap:
    """Return the layer of that name, or the last one that knows places; it is looked for once a model."""
    where = f"methods='grad_cam{'' if name is None else f':layer={name}'}'"
    return model.once((_layer, name, size), lambda: find_feature_map(where, model, name, size))


def _cam(subject: Subject, model: PreparedModel, layer: FeatureMap, part: slice) -> Tensor:
    """Return the map of a pass, with the rows that fill the pass up."""
    explained = objective(subject.target, subject.classes[part])
    outputs: list[Tensor] = []

    def cut(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        """Let the backward pass end here. The network may write to the copy, not to what is kept."""
        outputs.append(output.detach().requires_grad_())
        return outputs[-1].clone()

    handle = model.classifier.network.get_submodule(layer.name).register_forward_hook(cut)
    try:
        with model.execution.numerics():
            with torch.enable_grad():
                answers = model.answers(subject.images[part].detach())
                number = averaged([explained(each) for each in answers]).sum()
            gradient = _gradient(number, outputs[-1], layer.name)
            return _weighted(layer.by_place(outputs[-1].detach()), layer.by_place(gradient))
    finally:
        handle.remove()


def _gradient(number: Tensor, output: Tensor, name: str) -> Tensor:
    found = None
    if number.requires_grad:
        (found,) = torch.autograd.grad(number, output, allow_unused=True)
    if found is None:
        raise ValueError(
            f"layer={name}: the logits do not depend on it; accepted is a layer on which they do"
        )
    return found


def _weighted(outputs: Tensor, gradients: Tensor) -> Tensor:
    """Return Σ outputs · mean gradient, `[N, 1, h, w]`, of `[N, C, h, w]` each."""
    weights = gradients.float().mean((2, 3), keepdim=True)
    return (weights * outputs.float()).sum(1, keepdim=True)


@contextmanager
def _guided(network: nn.Module) -> Iterator[None]:
    """Let only positive gradients pass back through the ReLUs of a network."""

    def clip(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
        if output.requires_grad:
            output.register_hook(F.relu)  # type: ignore[no-untyped-call]  # torch leaves it so

    handles = [each.register_forward_hook(clip) for each in network.modules() if isinstance(each, RECTIFIERS)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
