"""Several candidates of an image or of its sketch, each from another noise and with other views; one is kept."""

from collections.abc import Sequence

import torch
from torch import Tensor

from attrib_core.generation.aim import Aim
from attrib_core.seeding import Key

LAST_STEPS = 0.25  # the share of the steps whose loss decides


class Candidates:
    """An aim whose random numbers are those of a candidate.

    `numbers` are those of the rows, or one for all. Candidate 0 is the image of the recipe without candidates.
    `word` tells candidates of an image from those of its sketch.
    """

    def __init__(self, aim: Aim, numbers: Sequence[int], word: str = "candidate") -> None:
        self._aim, self._numbers, self._word = aim, list(numbers), word

    @property
    def name(self) -> Key:
        return (*self._aim.name, *self._key(self._numbers[0]))

    @property
    def group(self) -> int:
        return self._aim.group

    def keys(self, step: int) -> list[Key]:
        keys = self._aim.keys(step)
        missing = len(keys) - len(self._numbers)  # rows that pad the batch
        numbers = [*self._numbers, *[self._numbers[-1]] * missing]
        return [(*key, *self._key(number)) for key, number in zip(keys, numbers, strict=True)]

    def evaluate(self, views: Tensor, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self._aim.evaluate(views, images)

    def _key(self, number: int) -> Key:
        """Return what tells a candidate's keys from those of the others: nothing for the first."""
        return (self._word, number) if number else ()


def chosen_candidates(losses: Tensor, group: int = 1) -> Tensor:
    """Return the candidate `[B]` of each row of losses `[K, B, T]`: that of the lowest mean in its last steps.

    Each `group` consecutive rows take the candidate that is best for all of them; of equal ones the first.
    """
    last = losses[:, :, -max(1, round(LAST_STEPS * losses.shape[2])) :].double().mean(2)
    means = last.nan_to_num(nan=torch.inf).view(len(last), -1, group).mean(2)
    return torch.repeat_interleave(means.argmin(0), group)
