"""The images that a network was trained on, as the shapes and the normaliser in its file show them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor, nn

from attrib_core.classifiers.identity import Preprocessing
from attrib_core.classifiers.stored_scaling import StoredScaling
from attrib_core.classifiers.wrapping import Description

POSITIONS = ("pos_embed", "pos_embedding", "position_embedding", "position_embeddings")


def images_of_file(
    state: Mapping[str, Tensor],
    network: nn.Module,
    said: Preprocessing,
    description: Description,
    scaling: StoredScaling | None,
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing that a file's tensors ask for, and notes on what differs from the architecture's.

    `network` is the architecture's for the images `said`, which are those of the `description` where it says
    something. Raises ValueError where the file contradicts it, or does not say enough.
    """
    found = _Found(state=state, own=network.state_dict(), said=said, description=description)
    notes: list[str] = []
    preprocessing = found.sized(notes)
    return found.scaled(preprocessing, scaling, notes), tuple(notes)


@dataclass(frozen=True, kw_only=True)
class _Found:
    state: Mapping[str, Tensor]
    own: Mapping[str, Tensor]
    said: Preprocessing
    description: Description

    def differing(self) -> dict[str, tuple[Sequence[int], Sequence[int]]]:
        """Return shapes in the file and in the network, by name, where both have the tensor."""
        return {
            name: (list(self.state[name].shape), list(own.shape))
            for name, own in self.own.items()
            if name in self.state and self.state[name].shape != own.shape
        }
