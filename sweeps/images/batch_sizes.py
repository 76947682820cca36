"""Images a forward pass: the fastest size on a device that changes no bit of a result."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from attrib_core.attacks import AttackedModel
from attrib_core.execution import BATCH_MULTIPLE, fastest_batch_size

CANDIDATES = {"cpu": (4, 12, 40, 200), "cuda": (16, 64, 128, 256, 512, 1024)}


def whole_batch_size(asked: int) -> int:
    """The multiple to which batches of the size asked for are padded anyway."""
    return -(-asked // BATCH_MULTIPLE) * BATCH_MULTIPLE


def fastest_alike(model: AttackedModel, images: Callable[[int], Tensor], run: Callable[[int], object]) -> int:
    """The size at which `run(batch_size)` does the most images a second; `images(count)` are some to try it on.

    On a CPU only sizes count at which an image's logits and gradient are the same bits: results must not depend
    on a measurement.
    """
    device = model.execution.device.type
    candidates = CANDIDATES[device]
    if device == "cpu":
        candidates = _alike(model, images(candidates[0]), candidates)
    return fastest_batch_size(run, candidates)


def largest_alike(model: AttackedModel, images: Callable[[int], Tensor], limit: int) -> int:
    """The largest size up to `limit` that, on a CPU, gives an image the same bits as small batches do."""
    if model.execution.device.type != "cpu":
        return limit
    sizes = CANDIDATES["cpu"]
    candidates = [*(size for size in sizes if size < limit), limit]
    return _alike(model, images(min(sizes[0], limit)), candidates)[-1]


def _alike(model: AttackedModel, images: Tensor, candidates: Sequence[int]) -> tuple[int, ...]:
    """The sizes up to the first that rounds otherwise than a batch of these images `[B, C, H, W]`."""
    alike: list[int] = []
    expected = _answers(model, images)
    for size in candidates:
        copies = images.repeat(-(-size // len(images)), 1, 1, 1)[:size]
        for found, reference in zip(_answers(model, copies), expected, strict=True):
            parts = torch.split(found, len(images))
            if not all(torch.equal(part, reference[: len(part)]) for part in parts):
                return tuple(alike)
        alike.append(size)
    return tuple(alike)


def _answers(model: AttackedModel, images: Tensor) -> tuple[Tensor, ...]:
    """All that results are made of: exact logits, gradients, quick logits."""
    logits, gradient = model.gradient(images, torch.zeros(len(images), dtype=torch.long))
    return logits, gradient, model.logits(images)
