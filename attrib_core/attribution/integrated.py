"""Gradients integrated along the straight line from a baseline to the image."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from attrib_core.attribution.baselines import baselines
from attrib_core.attribution.lines import line_gradients
from attrib_core.attribution.subject import Subject
from attrib_core.host_copies import host_copies

FEWEST_STEPS, MOST_STEPS = 16, 1024  # of num_steps="auto"


@dataclass(frozen=True)
class Integrated:
    """Attributions `[B, C, H, W]`, and by how much their sum misses target(image) − target(baseline), `[B]`."""

    values: Tensor
    completeness_gap: Tensor
    num_steps: Tensor  # [B], of each image's path


def integrated_gradients(subject: Subject) -> Integrated:
    """Return ∫ gradient along the path · (image − baseline).

    Sundararajan et al. 2017, arXiv:1703.01365. From a black image the path is one of growing brightness. A number
    of steps is one of Gauss-Legendre nodes; "auto" is described at `_refined`.
    """
    settings, images, num_steps = subject.settings, subject.images, subject.settings.num_steps
    start = baselines(settings.baseline, images, subject.keys, settings.seed)
    change = _change(subject, start)
    if isinstance(num_steps, str):  # "auto"
        return _refined(subject, start, change)
    way = images - start
    values = line_gradients(subject, start, way, *quadrature(num_steps)).mul_(way)
    taken = torch.full((len(images),), num_steps, device=images.device)
    return Integrated(values, _gap(values, change), taken)


def quadrature(num_steps: int) -> tuple[list[float], list[float]]:
    """Return nodes in (0, 1) and weights that add up to 1, of Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(num_steps)
    return (0.5 * (1 + nodes)).tolist(), (0.5 * weights).tolist()


def _refined(subject: Subject, start: Tensor, change: Tensor) -> Integrated:
    """Double each image's steps until its gap is at most the share `tolerance` of its change, or they are 1,024.

    The points are those of the trapezoidal rule, whose points a doubling keeps. Along the path the gradient of a
    network of ReLUs is constant by pieces, and every rule's error falls as 1 / points; Gauss-Legendre, whose
    points differ at every number, needs twice as many for the same error. The host waits once a doubling, for the
    images that go on.
    """
    way, tolerance = subject.images - start, subject.settings.tolerance
    values, gap = torch.zeros_like(way), torch.zeros_like(change)
    num_steps = torch.full_like(change, FEWEST_STEPS, dtype=torch.long)
    sums = torch.zeros_like(way)
    active, steps = torch.arange(len(way)), FEWEST_STEPS
    nodes = [step / steps for step in range(steps + 1)]
    weights = [0.5, *[1.0] * (steps - 1), 0.5]
    while True:
        rows = subject.model.execution.to_device(active)
        sums[rows] += line_gradients(_chosen(subject, active, rows), start[rows], way[rows], nodes, weights)
        values[rows] = sums[rows] * way[rows] / steps
        gap[rows] = _gap(values[rows], change[rows]).to(gap.dtype)
        num_steps[rows] = steps
        [goes_on] = host_copies([gap[rows].abs() > tolerance * change[rows].abs()])
        active = active[goes_on]
        if not len(active) or steps == MOST_STEPS:
            return Integrated(values, gap.float(), num_steps)
        nodes = [(step + 0.5) / steps for step in range(steps)]
        weights, steps = [1.0] * steps, 2 * steps


def _chosen(subject: Subject, indices: Tensor, rows: Tensor) -> Subject:
    """Return the subject of some images, by their places on the host and on the device."""
    return replace(
        subject,
        images=subject.images[rows],
        keys=tuple(subject.keys[index] for index in indices.tolist()),
        classes=subject.classes[rows],
        labels=subject.labels[rows],
        logits=subject.logits[rows],
        gradients={},
        found={},
    )


def _change(subject: Subject, start: Tensor) -> Tensor:
    """Return target(image) − target(baseline), `[B]`, in float64."""
    # Black is the same image for all.
    distinct = start[:1] if subject.settings.baseline == "black" else start
    logits = subject.model.exact_logits(distinct).expand(len(start), -1)
    everything = slice(None)
    at_image, at_start = (subject.explained(each, everything).double() for each in (subject.logits, logits))
    return at_image - at_start


def _gap(values: Tensor, change: Tensor) -> Tensor:
    return (values.flatten(1).sum(1, dtype=torch.float64) - change).float()
