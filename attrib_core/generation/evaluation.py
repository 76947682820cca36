"""Evaluation of finished images: the generating model's and the judges' verdicts on the stored pixels."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.classifiers.conversion import can_convert, in_channels
from attrib_core.generation.objectives import target_logits, total_variation
from attrib_core.generation.transforms import fitted
from attrib_core.prepared import PreparedModel


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One classifier's opinion of a batch, on the CPU."""

    logits: Tensor  # [B, K]
    top1: Tensor  # [B]
    top5_hit: Tensor  # [B], whether the target is among the five largest logits


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Facts about finished images, all measured after rounding to 8 bits, as the images are stored."""

    model: Verdict
    judges: dict[str, Verdict]
    logit: Tensor  # [B], the generating model's logit of the target
    probability: Tensor  # [B], its softmax
    total_variation: Tensor  # [B]


def to_8_bits(images: Tensor) -> Tensor:
    """Return images as uint8: clipped to [0, 1], rounded to the nearest of 256 levels."""
    return (images.clamp(0, 1) * 255).round().to(torch.uint8)


@torch.inference_mode()
def evaluate(
    model: PreparedModel, judges: Mapping[str, PreparedModel], images_u8: Tensor, targets: Tensor
) -> Evaluation:
    """Judge uint8 images `[B, C, H, W]` against their target classes `[B]`.

    The generating model sees the images at the size at which they were made, or at its own if it takes no other; a
    judge at its own size and channels; always in float32, whatever precision made the images.
    """
    images = model.images(images_u8.float() / 255)
    own = _verdict(model, fitted(model, images), targets)
    return Evaluation(
        model=own,
        judges={
            name: _verdict(judge, judge.classifier.resize(_in_channels(name, judge, images)), targets)
            for name, judge in judges.items()
        },
        logit=target_logits(own.logits, targets),
        probability=target_logits(own.logits.softmax(1), targets),
        total_variation=total_variation(images).cpu(),
    )


def _in_channels(name: str, judge: PreparedModel, images: Tensor) -> Tensor:
    """Return images `[B, C, H, W]` with the judge's channels: grey becomes colour, and colour grey.

    Raises ValueError for other numbers of channels, which have no such meaning.
    """
    given, wanted = images.shape[1], judge.classifier.channels
    if not can_convert(given, wanted):
        raise ValueError(
            f"judges: {name!r} takes {wanted} channels, the images have {given}; accepted are judges of the same "
            "number, or of 1 and 3"
        )
    return in_channels(images, wanted)


def _verdict(model: PreparedModel, images: Tensor, targets: Tensor) -> Verdict:
    logits = model.in_float32().exact_logits(images).cpu()
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return Verdict(logits=logits, top1=logits.argmax(1), top5_hit=(top5 == targets[:, None]).any(1))
