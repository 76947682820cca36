"""Transfer: adversarial images that were made for one model, shown to other ones, its victims.

Each adversarial image costs a victim one forward pass, and each clean image one. A victim of another size or
number of channels sees the images converted (`attrib_core/classifiers/conversion.py`), normalised as it was
trained. As in `inspection`, quick logits that are in doubt are collected over all ε and computed again in
full batches.

Papernot et al. 2016 (arXiv:1605.07277); Liu et al. 2016 (arXiv:1611.02770).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from attrib_core.attacks.inspection import predictions
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes, check_images
from attrib_core.classifiers.conversion import can_convert, converted
from attrib_core.host_copies import host_copies
from attrib_core.prepared import PreparedModel, check_model, prepare, whole_batch


@dataclass(frozen=True, kw_only=True)
class Transferred:
    """What a victim answers to a batch at E values of ε, on the CPU; `margin` is as in `Predictions`.

    Where its logits are no finite numbers, the prediction is -1 and the margin NaN.
    """

    prediction: Tensor  # [B, E]
    margin: Tensor  # [B, E], the label's logit minus the largest other one
    clean_prediction: Tensor  # [B]


class Onlooker:
    """A victim that is shown clean images, and then the adversarial images of one ε after the other.

    On a GPU the host waits once, for which images need a second look, and for the answers.
    """

    def __init__(self, victim: PreparedModel, clean: Tensor) -> None:
        self._victim = victim
        self._images: list[Tensor] = []  # 1 + E times [B, C, H, W], the clean ones first
        self._logits: list[Tensor] = []  # 1 + E times [B, K]
        self._doubtful: list[Tensor] = []  # 1 + E times [B]
        self._look(clean)

    def show(self, images: Tensor) -> None:
        """Classify adversarial images `[B, C, H, W]`; those of ε = 0 are the clean ones, and cost nothing."""
        clean = self._images[0]
        # To ask whether they are equal is free on a CPU.
        if images is clean or (images.device.type == "cpu" and torch.equal(images, clean)):
            for seen in (self._images, self._logits, self._doubtful):
                seen.append(seen[0])
        else:
            self._look(images)

    def again(self, clean: Tensor) -> "Onlooker":
        """Return the same victim before some of the images, which are attacked again."""
        return Onlooker(self._victim, clean)

    def replace(self, rows: Sequence[int], found: "Onlooker") -> None:
        """Take what another onlooker has seen in place of some rows."""
        at = torch.tensor(rows, device=self._images[0].device)
        for own, others in (
            (self._images, found._images),
            (self._logits, found._logits),
            (self._doubtful, found._doubtful),
        ):
            own[:] = [each.index_copy(0, at, other) for each, other in zip(own, others, strict=True)]

    def answers(self, labels: Tensor) -> Transferred:
        """Return what the victim answered to all that it was shown; `labels` `[B]` are the true classes."""
        logits = torch.stack(self._logits, 1)  # [B, 1 + E, K]
        [doubtful] = host_copies([torch.stack(self._doubtful)])  # [1 + E, B]
        if doubtful.any():
            levels, rows = self._victim.execution.to_device(doubtful.nonzero().T)
            parts = zip(self._images, rows.split(doubtful.sum(1).tolist()), strict=True)
            images = torch.cat([self._seen(each[part]) for each, part in parts if len(part)])
            logits[rows, levels] = self._victim.in_float32().exact_logits(images)
        finite = logits.isfinite().all(-1)
        found = predictions(logits, labels[:, None])
        prediction, margin = host_copies(
            [found.prediction.where(finite, -1), found.margin.where(finite, torch.nan)]
        )
        return Transferred(
            prediction=prediction[:, 1:], margin=margin[:, 1:], clean_prediction=prediction[:, 0]
        )

    @torch.inference_mode()
    def _look(self, images: Tensor) -> None:
        logits, doubtful = self._victim.first_look(self._seen(images))
        self._images.append(images)
        self._logits.append(logits)
        self._doubtful.append(doubtful | ~logits.isfinite().all(-1))

    def _seen(self, images: Tensor) -> Tensor:
        return converted(self._victim.images(images), self._victim.classifier)


def shown(points: Iterator[Tensor], onlookers: Sequence[Onlooker]) -> Iterator[Tensor]:
    """Yield the images of each ε after onlookers have seen them."""
    for images in points:
        for onlooker in onlookers:
            onlooker.show(images)
        yield images


def transfer(
    victims: Mapping[str, Classifier | PreparedModel],
    images: Tensor,
    adversarial_images: Tensor,
    labels: Tensor,
) -> dict[str, Transferred]:
    """Return what each victim answers to clean images `[B, C, H, W]` and adversarial ones `[B, E, C, H, W]`.

    `attack(...)` gives `adversarial_images`; `labels` `[B]` are the true classes. Raises ValueError for a victim
    that cannot be shown these images: see `check_victim`.
    """
    shape = (len(images), adversarial_images.shape[1], *images.shape[1:])
    if adversarial_images.shape != shape:
        raise ValueError(
            f"adversarial_images {list(adversarial_images.shape)}: accepted are [B, E, C, H, W] of the images "
            f"{list(images.shape)}"
        )
    answers = {}
    for name, victim in victims.items():
        check_model(victim)
        classifier = victim.classifier if isinstance(victim, PreparedModel) else victim
        check_victim(name, classifier, images.shape[1])
        check_classes("labels", labels, len(images), classifier.num_classes)
        model = victim if isinstance(victim, PreparedModel) else prepare(victim, num_images=len(images))
        check_images(classifier, converted(images[:1].float(), classifier))
        onlooker = Onlooker(model, model.images(images.float()))
        for each in adversarial_images.unbind(1):
            onlooker.show(model.images(each.float()))
        answers[name] = onlooker.answers(labels.to(model.device))
    return answers


def check_victim(name: str, classifier: Classifier, channels: int) -> None:
    """Raise ValueError for a victim that images of so many channels cannot be converted for."""
    if not can_convert(channels, classifier.channels):
        raise ValueError(
            f"victim {name!r}: it takes {classifier.channels} channels, the images have {channels}; accepted are "
            "victims of the same number, or of 1 and 3"
        )


def fitting_batch_size(num_images: int, largest: int) -> int:
    """Return the batch size, at most about `largest`, of a victim that is shown `num_images` at a time.

    Its last pass is then nearly as full as the others.
    """
    num_passes = -(-num_images // largest)
    return whole_batch(-(-num_images // num_passes))
