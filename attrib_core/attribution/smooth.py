"""Values averaged over noisy copies of the image: SmoothGrad, and the same of any other method."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from attrib_core.attribution.gradients import weighted_gradients
from attrib_core.attribution.method import Method
from attrib_core.attribution.settings import AttributionSettings
from attrib_core.attribution.subject import Subject, clean_pass
from attrib_core.references import Reference, typed_fields
from attrib_core.seeding import Randomness
from attrib_core.user_code import is_code

SMOOTH = "smooth"
SAMPLES = ("num_samples", "noise")


def smooth_grad(subject: Subject) -> Tensor:
    """Return the mean gradient over copies under normal noise, which is not clipped.

    Smilkov et al. 2017, arXiv:1706.03825. The class explained is that of the clean image.
    """

    def of_part(part: Subject) -> Tensor:
        noise, settings = _noise(part), part.settings

        def point_of(sample: int, rows: slice) -> Tensor:
            return torch.add(part.images[rows], noise[rows, sample], alpha=settings.noise)

        return weighted_gradients(part, point_of, [1 / settings.num_samples] * settings.num_samples)

    return _in_parts(subject, of_part)


def smooth_method(field: str, reference: Reference, find: Callable[[str, Reference], Method]) -> Method:
    """Return the method of `smooth:METHOD`: the mean of METHOD's values over the copies that SmoothGrad takes.

    Its settings are `num_samples` and `noise`; all others are METHOD's. `smooth:gradient` is `smooth_grad`. `find`
    returns METHOD. Raises ValueError for one that is smooth already, and for functions of users.
    """
    where = f"{field}={str(reference)!r}"
    if not reference.rest:
        raise ValueError(f"{where}: accepted is {SMOOTH}:METHOD, such as {SMOOTH}:gradient_x_input")
    given = tuple(each for each in reference.settings if each[0] in SAMPLES)
    others = tuple(each for each in reference.settings if each[0] not in SAMPLES)
    inner = Reference(reference.rest, others)
    if inner.name == SMOOTH or (is_code(inner) and inner.name != "captum"):
        raise ValueError(f"{where}: accepted after {SMOOTH}: are methods of ours and captum:NAME")
    method = find(field, inner)
    if set(SAMPLES) <= set(method.settings):
        raise ValueError(f"{where}: {inner.name} is smooth already; accepted is {SMOOTH}:gradient")
    changes = typed_fields(field, Reference(reference.parts, given), AttributionSettings, SAMPLES)
    return replace(
        method,
        values=lambda subject: smoothed(subject.with_settings(changes), method),
        gradient_of="loss" if method.explains_loss else None,
        describe=lambda settings: _describe(method, replace(settings, **changes)),
        completeness_gap=None,
        num_path_steps=None,
        changes={**method.changes, **changes},
        given={**method.given, **changes},
    )


def smoothed(subject: Subject, method: Method) -> Tensor:
    """Return the mean of a method's values over copies under normal noise, `[B, C, H, W]`."""

    def of_part(part: Subject) -> Tensor:
        noise, total = _noise(part), torch.zeros_like(part.images)
        for sample in range(part.settings.num_samples):
            images = torch.add(part.images, noise[:, sample], alpha=part.settings.noise)
            total.add_(method.values(_at(part, images, method)), alpha=1 / part.settings.num_samples)
        return total

    return _in_parts(subject, of_part)


def describe_samples(settings: AttributionSettings) -> str:
    """Return in words which copies are taken."""
    return f"{settings.num_samples} samples, noise {settings.noise:g}"


def _describe(method: Method, settings: AttributionSettings) -> str:
    own = method.describe(settings)
    return f"{describe_samples(settings)}{own and f', {own}'}"


def _in_parts(subject: Subject, compute: Callable[[Subject], Tensor]) -> Tensor:
    """Return what `compute` gives part by part, since the noise is as large as all copies together."""
    size = subject.model.batch_size
    starts = range(0, len(subject.images), size)
    return torch.cat([compute(subject.part(start, start + size)) for start in starts])


def _noise(subject: Subject) -> Tensor:
    """Return standard normal numbers `[B, num_samples, C, H, W]`, each image's own."""
    settings, images = subject.settings, subject.images
    randomness = Randomness([(settings.seed, "smooth_grad", key) for key in subject.keys], images.device)
    return randomness.normal(settings.num_samples, *images.shape[1:])


def _at(subject: Subject, images: Tensor, method: Method) -> Subject:
    """Return the subject with other images, of which the same classes are explained."""
    images = subject.model.images(images)
    logits, gradients = clean_pass(
        subject.model,
        images,
        subject.labels,
        subject.target,
        {method.gradient_of},
        explained=subject.classes,
        is_checked=False,
    )
    return replace(subject, images=images, logits=logits, gradients=gradients, found={})
