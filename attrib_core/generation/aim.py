"""What the ascent makes images for: classes, or units of a layer."""

from typing import Protocol

from torch import Tensor

from attrib_core.seeding import Key


class Aim(Protocol):
    """What the images of a batch are made for. It has one row for each image of the model's pass."""

    @property
    def name(self) -> Key:
        """The key of the global generators, from which users' code may draw."""

    def keys(self, step: int) -> list[Key]:
        """Return the key of each row's random numbers at a step."""

    @property
    def group(self) -> int:
        """The number of consecutive rows that belong together: of several candidates they take the same one."""

    def evaluate(self, views: Tensor, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Return the loss `[B]` of views `[B, C, h, w]` of images, and what is kept of the step, each `[B]`."""
