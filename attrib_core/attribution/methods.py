"""The attribution methods by name. Another method is another entry of `METHODS`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attribution.gradients import (
    abs_gradient_x_input,
    gradient,
    gradient_x_input,
    loss_gradient,
    loss_gradient_x_input,
)
from attrib_core.attribution.integrated import integrated_gradients
from attrib_core.attribution.occlusion import occlusion, occlusion_gradient_x_input
from attrib_core.attribution.settings import TARGETS, AttributionSettings, Target
from attrib_core.attribution.smooth import smooth_grad
from attrib_core.attribution.subject import Explained, Subject, clean_pass, explained_classes
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes
from attrib_core.prepared import PreparedModel, prepared, probability_of


def _no_settings(_settings: AttributionSettings) -> str:
    return ""


@dataclass(frozen=True)
class Method:
    """A way to attribute: its values `[B, C, H, W]`, and whose gradient at the image they need, if any.

    `describe` returns in words which settings, besides the seed, shape the values; it is empty if none does.
    Values that are not `is_signed` show how much a pixel matters, and not in which direction.
    """

    values: Callable[[Subject], Tensor]
    gradient_of: Explained | None = None
    describe: Callable[[AttributionSettings], str] = _no_settings
    is_signed: bool = True

    @property
    def explains_loss(self) -> bool:
        """True if it explains the label's loss, whatever the target is."""
        return self.gradient_of == "loss"


def _describe_occlusion(settings: AttributionSettings) -> str:
    size = "a seventh of the side" if settings.window_size is None else f"{settings.window_size}"
    stride = "half the window" if settings.stride is None else f"{settings.stride}"
    return f"window {size}, stride {stride}"


def _describe_integrated(settings: AttributionSettings) -> str:
    return f"{settings.num_steps} steps from {settings.baseline}"


def _describe_smooth(settings: AttributionSettings) -> str:
    return f"{settings.num_samples} samples, noise {settings.noise:g}"


METHODS: dict[str, Method] = {
    "gradient": Method(gradient, "target"),
    "abs_gradient_x_input": Method(abs_gradient_x_input, "target", is_signed=False),
    "gradient_x_input": Method(gradient_x_input, "target"),
    "loss_gradient": Method(loss_gradient, "loss"),
    "loss_gradient_x_input": Method(loss_gradient_x_input, "loss"),
    "occlusion": Method(lambda subject: subject.once(occlusion), None, _describe_occlusion),
    "occlusion_gradient_x_input": Method(occlusion_gradient_x_input, "target", _describe_occlusion),
    "integrated_gradients": Method(
        lambda subject: subject.once(integrated_gradients).values, None, _describe_integrated
    ),
    "smooth_grad": Method(smooth_grad, None, _describe_smooth),
}


@dataclass(frozen=True, kw_only=True)
class Attributions:
    """Attributions of a batch, on the CPU."""

    prediction: Tensor  # [B] int64, the class of the largest logit
    confidence: Tensor  # [B], its softmax probability
    values: dict[str, Tensor]  # [B, C, H, W] by method
    completeness_gap: Tensor | None  # [B], of integrated gradients; None where they were not asked for
    batch_size: int  # of the model, after any halving


def attribute(
    model: Classifier | PreparedModel,
    images: Tensor,
    labels: Tensor,
    methods: Sequence[str],
    *,
    target: Target = "predicted",
    settings: AttributionSettings | None = None,
    keys: Sequence[int] = (),
) -> Attributions:
    """Attribute a classifier's answers for images `[B, C, H, W]` in [0, 1].

    Explained is, for `target` "predicted", the logit of the clean image's predicted class; for "label" that of
    the label; for "loss" the label's cross-entropy. An image's random numbers belong to its key, by default its
    position. Weights and the global random state are left alone. Raises ValueError for images, labels, methods
    or outputs that cannot be.
    """
    _check_request(methods, target)
    keys = tuple(keys) or tuple(range(len(images)))
    model = prepared(model, images)
    _check_batch(model.classifier, images, labels, keys)
    images, labels = model.images(images.detach().float()), labels.to(model.device).long()
    logits, gradients = clean_pass(
        model, images, labels, target, {METHODS[name].gradient_of for name in methods}
    )
    subject = Subject(
        model=model,
        settings=settings or AttributionSettings(),
        target=target,
        images=images,
        keys=keys,
        classes=explained_classes(target, logits, labels),
        logits=logits,
        gradients=gradients,
    )
    return _attributions(subject, methods)


def _attributions(subject: Subject, methods: Sequence[str]) -> Attributions:
    values = {name: _on_cpu(METHODS[name].values(subject)) for name in methods}
    integrated = "integrated_gradients" in methods
    prediction = subject.logits.argmax(1)
    return Attributions(
        prediction=prediction.cpu(),
        confidence=probability_of(subject.logits, prediction).cpu(),
        values=values,
        completeness_gap=subject.once(integrated_gradients).completeness_gap.cpu() if integrated else None,
        batch_size=subject.model.batch_size,
    )


def _on_cpu(values: Tensor) -> Tensor:
    return values.detach().to("cpu", torch.float32).contiguous()


def _check_batch(classifier: Classifier, images: Tensor, labels: Tensor, keys: Sequence[int]) -> None:
    check_classes("labels", labels, len(images), classifier.num_classes)
    if len(keys) != len(images):
        raise ValueError(f"keys: {len(keys)} of them for {len(images)} images")


def _check_request(methods: Sequence[str], target: str) -> None:
    if isinstance(methods, str):
        raise ValueError(f"methods: {methods!r} is text; accepted is a list of {', '.join(METHODS)}")
    if not methods:
        raise ValueError(f"methods: there are none; accepted are {', '.join(METHODS)}")
    for name in methods:
        if name not in METHODS:
            raise ValueError(f"methods: {name!r}; accepted are {', '.join(METHODS)}")
        if list(methods).count(name) > 1:
            raise ValueError(f"methods: {name!r} is listed twice; list each method once")
    if target not in TARGETS:
        raise ValueError(f"target={target!r}: accepted are {', '.join(TARGETS)}")
