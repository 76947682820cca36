"""The classifier as an attack sees it: logits and input gradients in the chosen precision, rechecked if asked."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attacks.batch import Predictions
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_logits
from attrib_core.execution import Execution, padded

SAFETY = 3.0  # times the 99th percentile of the errors


class AttackedModel:
    """A prepared classifier, how it runs, and when a quick answer is not to be trusted.

    With a `quick` execution, logits come from it, but where the two largest are closer than `band` the image is
    computed again by `execution`; gradients always come from `execution`. Without one, `execution` does it all.
    """

    def __init__(
        self, classifier: Classifier, execution: Execution, quick: Execution | None = None, band: float = 0.0
    ) -> None:
        self.classifier, self.execution = classifier, execution
        self.quick, self.band = quick, band

    def gradient(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits `[B, K]`, and the gradient `[B, C, H, W]` of each image's own cross-entropy.

        Raises ValueError where the classifier does not answer with logits.
        """
        batch = padded(self.execution.images(images)).detach().requires_grad_()
        with torch.enable_grad(), self.execution.autocast():
            logits = self.classifier(batch).float()
            # A sum, not a mean: a gradient must not depend on how many neighbours its image has.
            loss = F.cross_entropy(logits[: len(images)], classes, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, batch)
        logits = logits[: len(images)].detach()
        check_logits(logits, self.classifier.name)
        return logits, gradient[: len(images)]

    def logits(self, images: Tensor) -> Tensor:
        """Logits `[B, K]`, quick where a quick execution is there, not rechecked."""
        return self._run(images, self.quick or self.execution)

    def exact_logits(self, images: Tensor) -> Tensor:
        """Logits `[B, K]` by the execution that gradients come from."""
        return self._run(images, self.execution)

    def doubtful(self, logits: Tensor) -> Tensor:
        """Which rows `[B]` of quick logits must be computed again."""
        if self.quick is None or logits.shape[1] < 2:
            return torch.zeros(len(logits), dtype=torch.bool, device=logits.device)
        return gap(logits) < self.band

    @torch.inference_mode()
    def trusted_logits(self, images: Tensor) -> Tensor:
        """Logits `[B, K]`, those in doubt computed again."""
        logits = self.logits(images)
        doubtful = self.doubtful(logits)
        if doubtful.any():
            logits[doubtful] = self.exact_logits(images[doubtful])
        return logits

    def calibrated(self, batches: Iterable[Tensor]) -> "AttackedModel":
        """This model with `band` set by the errors that its quick pass makes on batches of images.

        The error is that of the lead of the largest logit over the second: a quick prediction is wrong only
        where it is larger than the lead. The closest quarter of the images decides, since errors grow with
        logits and wide leads are in no danger; three times its 99th percentile is beyond seven standard
        deviations of a normal distribution.
        """
        pairs = [_leads(self.logits(images), self.exact_logits(images)) for images in batches]
        quick, exact = (torch.cat(leads) for leads in zip(*pairs, strict=True))
        closest = quick.argsort()[: -(-len(quick) // 4)]
        band = SAFETY * torch.quantile((quick - exact)[closest].abs(), 0.99).item()
        return AttackedModel(self.classifier, self.execution, self.quick, band)

    @torch.inference_mode()
    def _run(self, images: Tensor, execution: Execution) -> Tensor:
        batch = padded(execution.images(images))
        with execution.autocast():
            logits: Tensor = self.classifier(batch)
        return logits[: len(images)].float()


def gap(logits: Tensor) -> Tensor:
    """How far the largest logit of each row leads the second, `[B]`."""
    largest = logits.topk(2, dim=1).values
    return largest[:, 0] - largest[:, 1]


def predictions(logits: Tensor, labels: Tensor) -> Predictions:
    """What logits `[..., K]` say, held against labels that broadcast to `[...]`."""
    label = labels.expand(logits.shape[:-1]).unsqueeze(-1)
    confidence = 1 / _partition(logits)
    others = logits.scatter(-1, label, -torch.inf).amax(-1)
    margin = logits.gather(-1, label).squeeze(-1) - others
    # The class of the largest logit: two of the probabilities may be equal where the logits are not.
    return Predictions(prediction=logits.argmax(-1).cpu(), confidence=confidence.cpu(), margin=margin.cpu())


def cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """Of logits `[..., K]` and classes that broadcast to `[...]`, one by one, on the CPU."""
    own = logits.gather(-1, classes.expand(logits.shape[:-1]).unsqueeze(-1)).squeeze(-1)
    return (_partition(logits).log() + (logits.amax(-1) - own)).cpu()


def _partition(logits: Tensor) -> Tensor:
    """The softmax's denominator where its largest numerator is 1; ten times as fast for ten classes as softmax."""
    return (logits - logits.amax(-1, keepdim=True)).exp_().sum(-1)


def _leads(quick: Tensor, exact: Tensor) -> tuple[Tensor, Tensor]:
    """How far the quick pass's largest logit leads its second, `[N]`, by the quick and by the exact logits."""
    best, second = torch.split(quick.topk(2, dim=1).indices, 1, dim=1)
    return (
        (quick.gather(1, best) - quick.gather(1, second))[:, 0],
        (exact.gather(1, best) - exact.gather(1, second))[:, 0],
    )
