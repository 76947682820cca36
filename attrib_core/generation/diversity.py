"""Images of one unit that are unlike each other: the diversity term of Olah et al. 2017, 'Feature Visualization'.

The Gram matrix of a layer's channels, G = A Aᵀ with A `[C, P]`, says which channels are active together, wherever
in the image: its texture. Of N images of one unit, the term of image i is the mean cosine similarity of its Gram
matrix to those of the others,

    dᵢ = 1/(N − 1) Σ_{j≠i} ⟨Gᵢ, Gⱼ⟩ / (‖Gᵢ‖ ‖Gⱼ‖)

as lucid's objective `diversity` has it, which is Σᵢ Σ_{j≠i} / N with a weight for each network: activations of one
layer are a thousand times those of another. Here the weight follows the image: its loss is −a + |a| · dᵢ for an
activation a, where |a| counts as a constant. So a layer's scale does not matter.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def diversity_losses(by_channel: Tensor, activations: Tensor, num_members: int) -> Tensor:
    """Return |a| · d `[B]` of what a layer gave `[B, C, P]` and activations `[B]`.

    Each `num_members` rows in turn are the images of one unit, and rows that are left over get zeros.
    """
    whole = len(by_channel) // num_members * num_members
    groups = by_channel[:whole].reshape(-1, num_members, *by_channel.shape[1:])
    similarity = gram_similarity(groups).flatten()
    losses = activations[:whole].detach().abs() * similarity
    return torch.cat([losses, torch.zeros_like(activations[whole:])])


def gram_similarity(by_channel: Tensor) -> Tensor:
    """Return the mean cosine similarity `[K, N]` of each image's Gram matrix to the others', of `[K, N, C, P]`."""
    num_members = by_channel.shape[1]
    grams = by_channel @ by_channel.transpose(2, 3)
    directions = F.normalize(grams.flatten(2), dim=2, eps=1e-10)
    # The sum over the others at once: pairs would take N times the memory, and Gram matrices are large.
    others = directions.sum(1, keepdim=True) - directions
    return (directions * others).sum(2) / (num_members - 1)
