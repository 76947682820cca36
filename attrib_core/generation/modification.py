"""Real images, changed step by step until a classifier sees another class in them.

From an image a of a data set, for a target class n, J'(a) = |200 - O_n(a)| + 0.001 · sum |a_i| is lowered by a ←
a - step_size · sign(∇J'), each image by its own loss. Every pixel moves by the same amount, whether its gradient
is faint or strong.
"""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.generation.evaluation import Evaluation, answers, evaluation_of, to_8_bits
from attrib_core.generation.objectives import L1Norm, LogitDistance, target_logits
from attrib_core.host_copies import host_copies
from attrib_core.prepared import PreparedModel, averaged, prepared

OBJECTIVE = LogitDistance(200.0) + 0.001 * L1Norm()
NEVER = -1


@dataclass(frozen=True, kw_only=True)
class ModificationSettings:
    """`step_size` is in pixel units; `clip` keeps the image in [0, 1] after every step."""

    num_steps: int = 30
    step_size: float = 0.01
    clip: bool = True

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"num_steps={self.num_steps}: accepted are 1 and more")
        if not 0 < self.step_size <= 1:
            raise ValueError(f"step_size={self.step_size}: accepted are numbers in (0, 1]")


@dataclass(frozen=True, kw_only=True)
class Distances:
    """Norms of changes, in pixel units."""

    linf: Tensor  # [B]
    l2: Tensor  # [B]
    l1: Tensor  # [B]

    @classmethod
    def of(cls, change: Tensor) -> Self:
        """Measure changes `[B, C, H, W]`."""
        flat = change.flatten(1).double()
        return cls(
            linf=flat.abs().amax(1).float(),
            l2=flat.square().sum(1).sqrt().float(),
            l1=flat.abs().sum(1).float(),
        )


@dataclass(frozen=True, kw_only=True)
class Modified:
    """A batch of modified images and how it came to them, all on the CPU.

    `initial` is the verdict on the images as they were, `final` on the modified ones rounded to 8 bits, both in
    float32. Distances are from the image as it was to the modified one before rounding.
    """

    images: Tensor  # [B, C, H, W], beyond [0, 1] too without clipping
    images_u8: Tensor  # [B, C, H, W], rounded to 8 bits
    clean_u8: Tensor  # [B, C, H, W], the images as they were, rounded to 8 bits
    initial: Evaluation
    final: Evaluation
    logit_by_step: Tensor  # [B, T], the target's logit before each update
    argmax_by_step: Tensor  # [B, T]
    first_hit_step: Tensor  # [B], updates until the target was first predicted, NEVER where it never was
    change: Distances
    change_at_hit: Distances  # of the image that was first predicted as the target; 0 where none was


def modify(
    model: Classifier | PreparedModel, images: Tensor, targets: Tensor, *, settings: ModificationSettings
) -> Modified:
    """Modify images `[B, C, H, W]` in [0, 1], each towards its own target class of `[B]`.

    They are at most as many as fit into one pass of a prepared model. An image does not depend on its neighbours.
    Raises ValueError for a target that is no class, and for images that the classifier cannot take.
    """
    model = prepared(model, images)
    if len(images) > model.batch_size:
        raise ValueError(f"images: {len(images)} of them; accepted are 1 to the model's {model.batch_size}")
    _check_targets(targets, model.classifier)
    return modify_checked(model, images, targets.cpu(), settings=settings)


def modify_checked(
    model: PreparedModel, images: Tensor, targets: Tensor, *, settings: ModificationSettings
) -> Modified:
    """Do what `modify` does without a look at images and targets `[B]`, which are on the CPU.

    On a GPU the host waits once, for the result.
    """
    descent = _Descent(model, settings, images, targets)
    for _ in range(settings.num_steps):
        descent.update()
    return descent.finish(model.execution.to_device(images), targets)


class _Descent:
    """The state of one batch between two steps."""

    def __init__(
        self, model: PreparedModel, settings: ModificationSettings, images: Tensor, targets: Tensor
    ) -> None:
        self.model, self.settings = model, settings
        self.images = model.images(images)
        self.targets = model.execution.to_device(targets)
        self.hits = self.images.clone()  # as they were when the target was first predicted
        self.was_hit = torch.zeros_like(self.targets, dtype=torch.bool)
        self.logits: list[Tensor] = []
        self.argmaxes: list[Tensor] = []

    def update(self) -> None:
        """Step down by the sign of the gradient of each image's own loss."""
        images = self.model.images(self.images).detach().requires_grad_()
        with self.model.execution.numerics():
            answers = self.model.answers(images)
            losses = averaged([OBJECTIVE(logits, self.targets, images) for logits in answers])
            (gradient,) = torch.autograd.grad(losses.sum(), images)
        logits = averaged(answers)
        self._note(images.detach(), logits.detach())
        stepped = torch.sub(images.detach(), gradient.sign(), alpha=self.settings.step_size)
        self.images = stepped.clamp_(0, 1) if self.settings.clip else stepped

    @torch.no_grad()
    def finish(self, clean: Tensor, targets: Tensor) -> Modified:
        """Return the images as they stand, compared with the clean ones."""
        self._note(self.images, self.model(self.images))
        images_u8, clean_u8 = to_8_bits(self.images), to_8_bits(clean)
        changes = [Distances.of(self.images - clean), Distances.of(self.hits - clean)]
        argmaxes = torch.stack(self.argmaxes, 1)
        initial, final = (answers(self.model, {}, each) for each in (clean_u8, images_u8))
        # One copy, one wait.
        images, images_u8, clean_u8, logits, argmaxes, first_hit, *found = host_copies(
            [
                *(self.images, images_u8, clean_u8, torch.stack(self.logits, 1), argmaxes),
                _first(argmaxes == self.targets[:, None]),
                *(norm for change in changes for norm in (change.linf, change.l2, change.l1)),
                *(*initial, *final),
            ]
        )
        norms, found = found[:6], found[6:]
        return Modified(
            images=images,
            images_u8=images_u8,
            clean_u8=clean_u8,
            initial=evaluation_of(found[:2], {}, targets),
            final=evaluation_of(found[2:], {}, targets),
            logit_by_step=logits[:, :-1],
            argmax_by_step=argmaxes[:, :-1],
            first_hit_step=first_hit,
            change=_distances(norms[:3]),
            change_at_hit=_distances(norms[3:]),
        )

    def _note(self, images: Tensor, logits: Tensor) -> None:
        self.logits.append(target_logits(logits, self.targets))
        self.argmaxes.append(logits.argmax(1))
        is_first = (self.argmaxes[-1] == self.targets) & ~self.was_hit
        self.hits = torch.where(is_first[:, None, None, None], images, self.hits)
        self.was_hit |= is_first


def _distances(norms: list[Tensor]) -> Distances:
    linf, l2, l1 = norms
    return Distances(linf=linf, l2=l2, l1=l1)


def _first(hits: Tensor) -> Tensor:
    """Return the position of the first true value of each row of `[B, T]`, NEVER where there is none."""
    first = hits.int().argmax(1)
    return torch.where(hits.any(1), first, NEVER)


def _check_targets(targets: Tensor, classifier: Classifier) -> None:
    wrong = (targets < 0) | (targets >= classifier.num_classes)
    if wrong.any():
        raise ValueError(
            f"targets: {int(targets[wrong][0])}; {classifier.name} has classes 0 to {classifier.num_classes - 1}"
        )
