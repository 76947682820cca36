"""In which arithmetic a classifier is attacked."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch
from attrib_core.attacks.model import AttackedModel
from attrib_core.attacks.rays import Ray
from attrib_core.classifiers import Classifier
from attrib_core.execution import choose_execution

AttackPrecision = Literal["float32", "bfloat16", "float16", "mixed"]
PRECISIONS: tuple[AttackPrecision, ...] = get_args(AttackPrecision)


def attacked_model(
    classifier: Classifier,
    precision: AttackPrecision,
    calibration: AttackBatch | None,
    epsilons: Sequence[float],
    *,
    device: torch.device | str | None = None,
) -> AttackedModel:
    """The classifier, moved and laid out for speed, under attack in the chosen precision.

    `mixed` takes gradients in float32 and logits in bfloat16; where the largest logit leads by less than a band,
    they are computed again in float32. The band comes from the errors that bfloat16 makes on the FGSM images of
    the calibration batch at the given ε, so that predictions are those of float32; other precisions need none.
    """
    if precision != "mixed":
        execution = choose_execution(device, precision)
        return AttackedModel(execution.prepare(classifier), execution)
    assert calibration is not None, "mixed precision is calibrated on images"
    exact, quick = choose_execution(device), choose_execution(device, "bfloat16")
    model = AttackedModel(exact.prepare(classifier), exact, quick)
    return model.calibrated(_points(model, calibration, epsilons))


def _points(model: AttackedModel, batch: AttackBatch, epsilons: Sequence[float]) -> Iterable[Tensor]:
    images = model.execution.images(batch.images)
    labels = batch.labels.to(images.device)
    _, gradient = model.gradient(images, labels)
    ray = Ray(images, gradient.sign(), clip=False)
    return (ray.point(epsilon) for epsilon in epsilons)
