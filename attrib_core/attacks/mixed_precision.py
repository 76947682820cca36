"""Mixed precision: quick logits in bfloat16, and float32 where a quick prediction could be wrong."""

from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from attrib_core.attacks.batch import AttackBatch, Failures
from attrib_core.attacks.fast_gradient import Ray
from attrib_core.attacks.inspection import lead
from attrib_core.attacks.loss_gradient import gradient_at
from attrib_core.classifiers import Classifier
from attrib_core.devices import check_precision
from attrib_core.execution import choose_execution
from attrib_core.prepared import PreparedModel, prepare

AttackPrecision = Literal["float32", "bfloat16", "float16", "tf32", "mixed"]
PRECISIONS: tuple[AttackPrecision, ...] = get_args(AttackPrecision)
SAFETY = 3.0  # times the 99th percentile of the errors


class MixedPrecisionModel(PreparedModel):
    """A prepared model whose first look is quick, by `quick`, and not trusted where the lead is below `band`.

    The lead is that of the largest logit over the second. Gradients are always those of float32.
    """

    def __init__(self, exact: PreparedModel, quick: PreparedModel, band: float = 0.0) -> None:
        super().__init__(exact.classifier, exact.execution, exact.batch_size)
        self.quick, self.band = quick, band
        self._size = quick._size = exact._size

    def logits(self, images: Tensor) -> Tensor:
        """Return logits `[N, K]`; those that the quick pass leaves in doubt are computed again."""
        logits, doubtful = self.first_look(images)
        if doubtful.any():
            logits[doubtful] = self.exact_logits(images[doubtful])
        return logits

    def first_look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.quick.exact_logits(images)
        if logits.shape[1] < 2:
            return logits, torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        return logits, ~(lead(logits) >= self.band)  # also true for NaN

    def calibrated(self, batches: Iterable[Tensor]) -> "MixedPrecisionModel":
        """Return this model with `band` set by the errors that its quick pass makes on batches of images.

        The error is that of the lead: a quick prediction is wrong only if the error is larger than the lead. The
        quarter of the images with the smallest leads decides, since errors grow with logits and wide leads are in
        no danger. Three times its 99th percentile is beyond seven standard deviations of a normal distribution.
        """
        pairs = [_leads(self.quick.exact_logits(images), self.exact_logits(images)) for images in batches]
        quick, exact = (torch.cat(leads) for leads in zip(*pairs, strict=True))
        # What is not finite is computed again in any case, and must not decide about the others.
        finite = (quick - exact).isfinite()
        quick, exact = quick[finite], exact[finite]
        if not len(quick):
            return MixedPrecisionModel(self, self.quick, torch.inf)
        closest = quick.argsort()[: -(-len(quick) // 4)]
        band = SAFETY * torch.quantile((quick - exact)[closest].abs(), 0.99).item()
        return MixedPrecisionModel(self, self.quick, band)


def attacked_model(
    classifier: Classifier,
    precision: AttackPrecision,
    calibration: AttackBatch | None,
    epsilons: Sequence[float],
    *,
    device: torch.device | str | None = None,
    batch_size: int | None = None,
) -> PreparedModel:
    """Prepare the classifier for attacks in the chosen precision.

    `mixed` is calibrated on the FGSM images of the calibration batch at the given ε, so that predictions are those
    of float32; other precisions need no calibration. `batch_size` is that of `prepare`.
    """
    if precision != "mixed":
        return prepare(classifier, device=device, precision=precision, batch_size=batch_size)
    assert calibration is not None, "mixed precision is calibrated on images"
    exact = prepare(classifier, device=device, batch_size=batch_size)
    check_precision(exact.device, precision, PRECISIONS)
    quick = PreparedModel(classifier, choose_execution(device, "bfloat16"), exact.batch_size)
    model = MixedPrecisionModel(exact, quick)
    return model.calibrated(_points(model, calibration, epsilons))


def _points(model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float]) -> Iterable[Tensor]:
    images = model.images(batch.images)
    untargeted = AttackBatch(images=images, labels=batch.labels.to(images.device))
    ray = Ray(images, gradient_at(model, untargeted, images, Failures(untargeted)).values.sign(), clip=False)
    return (ray.point(epsilon) for epsilon in epsilons)


def _leads(quick: Tensor, exact: Tensor) -> tuple[Tensor, Tensor]:
    """Return how far the quick pass's largest logit leads its second, `[N]`, by the quick and by the exact
    logits.
    """
    best, second = torch.split(quick.topk(2, dim=1).indices, 1, dim=1)
    return (
        (quick.gather(1, best) - quick.gather(1, second))[:, 0],
        (exact.gather(1, best) - exact.gather(1, second))[:, 0],
    )
