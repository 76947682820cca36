"""Evaluation of finished images of units, on the pixels as they are stored."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.generation.objectives import total_variation
from attrib_core.generation.transforms import fitted
from attrib_core.host_copies import host_copies
from attrib_core.prepared import PreparedModel, joined
from attrib_core.units import Directions, Layer, Readout, UnitName, answers_and_output


@dataclass(frozen=True, kw_only=True)
class UnitVerdict:
    """Facts about finished images of units, on the CPU."""

    activation: Tensor  # [B]
    top1: Tensor  # [B], the model's class for the image
    total_variation: Tensor  # [B]


@torch.inference_mode()
def evaluate_units(
    model: PreparedModel, layer: Layer, units: Sequence[UnitName], directions: Directions, images_u8: Tensor
) -> UnitVerdict:
    """Measure uint8 images `[B, C, H, W]`, each for its own unit of one layer.

    The model sees them at the size at which they were made, or at its own if it takes no other; always in float32.
    """
    exact = model.in_float32()
    images = exact.images(images_u8.float() / 255)
    shown = fitted(exact, images)

    def run(rows: range) -> tuple[Tensor, Tensor]:
        part = slice(rows.start, rows.stop)
        logits, output = answers_and_output(exact, layer, shown[part])
        readout = Readout.of(exact, layer, units[part], directions)
        return readout(output), logits.argmax(1)

    parts = exact.in_passes(len(images), run)
    found = [joined([activation for activation, _ in parts]), joined([top1 for _, top1 in parts])]
    activation, top1, variation = host_copies([*found, total_variation(images)])
    return UnitVerdict(activation=activation, top1=top1, total_variation=variation)
