"""Attacks that take many small steps and stay within ε of the image: BIM and PGD."""

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, AttackSettings
from attrib_core.attacks.model import AttackedModel
from attrib_core.seeding import Randomness


def iterate(
    model: AttackedModel, batch: AttackBatch, epsilon: float, settings: AttackSettings, *, random_start: bool
) -> Tensor:
    """Adversarial images `[B, C, H, W]` at most ε from the clean ones in any pixel.

    Each step follows the sign of the gradient, projects into the ε-ball and clips to [0, 1]. From the image itself
    it is the basic iterative method (Kurakin et al. 2016, arXiv:1607.02533); from a random point of the ball,
    projected gradient descent (Madry et al. 2017, arXiv:1706.06083).
    """
    if epsilon == 0:
        return batch.images.clone()
    step_size = settings.step_size or 2.5 * epsilon / settings.num_steps
    images = start_in_ball(batch, epsilon, settings) if random_start else batch.images
    for _ in range(settings.num_steps):
        _, gradient = model.gradient(images, batch.loss_labels)
        images = images + batch.uphill * step_size * gradient.sign()
        images = _projected(images, batch.images, epsilon, settings)
    return images


def start_in_ball(batch: AttackBatch, epsilon: float, settings: AttackSettings) -> Tensor:
    """A uniform random point of each image's ball `[B, C, H, W]`; at other ε the same one, nearer or farther."""
    randomness = Randomness([(settings.seed, "pgd", key) for key in batch.keys], batch.images.device)
    start = batch.images + epsilon * randomness.uniform(-1, 1, *batch.images.shape[1:])
    return _projected(start, batch.images, epsilon, settings)


def _projected(images: Tensor, clean: Tensor, epsilon: float, settings: AttackSettings) -> Tensor:
    inside = clean + torch.clamp(images - clean, -epsilon, epsilon)
    return inside.clamp(0, 1) if settings.clip else inside
