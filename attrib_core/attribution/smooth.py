"""Gradients averaged over noisy copies of the image."""

import torch
from torch import Tensor

from attrib_core.attribution.gradients import weighted_gradients
from attrib_core.attribution.subject import Subject
from attrib_core.seeding import Randomness


def smooth_grad(subject: Subject) -> Tensor:
    """Return the mean gradient over copies under normal noise, which is not clipped.

    Smilkov et al. 2017, arXiv:1706.03825. The class explained is that of the clean image.
    """
    # Part by part, since the noise is as large as all copies together.
    size = subject.model.batch_size
    starts = range(0, len(subject.images), size)
    return torch.cat([_smoothed(subject.part(start, start + size)) for start in starts])


def _smoothed(subject: Subject) -> Tensor:
    settings, images = subject.settings, subject.images
    randomness = Randomness([(settings.seed, "smooth_grad", key) for key in subject.keys], images.device)
    noise = randomness.normal(settings.num_samples, *images.shape[1:])  # [B, num_samples, C, H, W]

    def point_of(sample: int, part: slice) -> Tensor:
        return torch.add(images[part], noise[part, sample], alpha=settings.noise)

    return weighted_gradients(subject, point_of, [1 / settings.num_samples] * settings.num_samples)
