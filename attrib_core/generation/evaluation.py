"""Evaluation of finished images: the generating model's and the judges' verdicts on the stored pixels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.classifiers.conversion import can_convert, in_channels
from attrib_core.generation.objectives import target_logits, total_variation
from attrib_core.generation.transforms import fitted
from attrib_core.host_copies import host_copies
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


def evaluate(
    model: PreparedModel, judges: Mapping[str, PreparedModel], images_u8: Tensor, targets: Tensor
) -> Evaluation:
    """Judge uint8 images `[B, C, H, W]` against their target classes `[B]`, which are on the CPU.

    The generating model sees the images at the size at which they were made, or at its own if it takes no other; a
    judge at its own size and channels; always in float32, whatever precision made the images.
    """
    return evaluation_of(host_copies(answers(model, judges, images_u8)), judges, targets)


@torch.inference_mode()
def answers(model: PreparedModel, judges: Mapping[str, PreparedModel], images_u8: Tensor) -> list[Tensor]:
    """Return the total variation `[B]`, the model's logits `[B, K]` and each judge's, on their devices."""
    images = model.images(images_u8.float() / 255)
    shown = [judge.classifier.resize(_in_channels(name, judge, images)) for name, judge in judges.items()]
    return [
        total_variation(images),
        _logits(model, fitted(model, images)),
        *(_logits(judge, each) for judge, each in zip(judges.values(), shown, strict=True)),
    ]


def evaluation_of(found: Sequence[Tensor], judges: Iterable[str], targets: Tensor) -> Evaluation:
    """Return what `answers` mean, brought to the CPU, for targets `[B]`."""
    variation, logits, *others = found
    return Evaluation(
        model=_verdict(logits, targets),
        judges={name: _verdict(each, targets) for name, each in zip(judges, others, strict=True)},
        logit=target_logits(logits, targets),
        probability=target_logits(logits.softmax(1), targets),
        total_variation=variation,
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


def _logits(model: PreparedModel, images: Tensor) -> Tensor:
    return model.in_float32().exact_logits(images)


def _verdict(logits: Tensor, targets: Tensor) -> Verdict:
    top5 = logits.topk(min(5, logits.shape[1]), dim=1).indices
    return Verdict(logits=logits, top1=logits.argmax(1), top5_hit=(top5 == targets[:, None]).any(1))
