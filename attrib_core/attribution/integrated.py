"""Gradients integrated along the straight line from a baseline to the image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from attrib_core.attribution.baselines import baselines
from attrib_core.attribution.gradients import weighted_gradients
from attrib_core.attribution.subject import Subject


@dataclass(frozen=True)
class Integrated:
    """Attributions `[B, C, H, W]`, and by how much their sum misses target(image) − target(baseline), `[B]`."""

    values: Tensor
    completeness_gap: Tensor


def integrated_gradients(subject: Subject) -> Integrated:
    """Return ∫ gradient along the path · (image − baseline), by Gauss-Legendre quadrature.

    Sundararajan et al. 2017, arXiv:1703.01365. From a black image the path is one of growing brightness.
    """
    settings, images = subject.settings, subject.images
    start = baselines(settings.baseline, images, subject.keys, settings.seed)
    way = images - start
    nodes, weights = quadrature(settings.num_steps)

    def point_of(step: int, part: slice) -> Tensor:
        return torch.add(start[part], way[part], alpha=nodes[step])

    values = weighted_gradients(subject, point_of, weights).mul_(way)
    return Integrated(values, _completeness_gap(subject, values, start))


def quadrature(num_steps: int) -> tuple[list[float], list[float]]:
    """Return nodes in (0, 1) and weights that add up to 1, of Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(num_steps)
    return (0.5 * (1 + nodes)).tolist(), (0.5 * weights).tolist()


def _completeness_gap(subject: Subject, values: Tensor, start: Tensor) -> Tensor:
    def run(rows: range) -> Tensor:
        part = slice(rows.start, rows.stop)
        return subject.explained(subject.model.exact_logits(start[part]), part)

    at_start = torch.cat(subject.model.in_passes(len(start), run))
    at_image = subject.explained(subject.logits, slice(None))
    return (values.flatten(1).sum(1, dtype=torch.float64) - (at_image.double() - at_start)).float()
