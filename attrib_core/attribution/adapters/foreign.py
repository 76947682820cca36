"""How code of others is run: on a network that pads its batches, with random numbers of its own."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from attrib_core.attribution.subject import Subject
from attrib_core.prepared import PreparedModel, joined, loss_of
from attrib_core.seeding import derive_seed, global_randomness


class PaddedNetwork(nn.Module):
    """A prepared model as a module: images `[N, C, H, W]` in [0, 1] of any number to logits `[N, K]`.

    The network sees batches of one shape, whatever the number. Given classes `[N]`, it returns their cross-entropy
    `[N]`. `network` is the user's own module; its layers have the names that they have there.
    """

    def __init__(self, model: PreparedModel) -> None:
        super().__init__()
        self.classifier = model.classifier
        self.model = model
        self.eval()

    @property
    def network(self) -> nn.Module:
        return self.classifier.network

    def forward(self, images: Tensor, classes: Tensor | None = None) -> Tensor:
        """Return logits, or the loss of classes; gradients flow through."""
        logits = joined([self.model(part) for part in torch.split(images, self.model.batch_size)])
        return logits if classes is None else loss_of(logits, classes)


def run_foreign(
    subject: Subject, reference: str, compute: Callable[[PaddedNetwork, Subject], Tensor]
) -> Tensor:
    """Return what `compute` gives for the batches of a subject, one after the other.

    A batch is as large as the network's. Random numbers of torch, NumPy and Python follow from the seed, the
    reference and the batch's first key. The network is a copy: ValueError if `compute` leaves it changed.
    """
    model = subject.model

    def run(rows: range) -> Tensor:
        part = subject.part(rows.start, rows.stop)
        with (
            global_randomness(derive_seed(subject.settings.seed, reference, int(part.keys[0]))),
            torch.enable_grad(),
            model.lent(f"methods={reference!r}") as lent,
        ):
            return compute(PaddedNetwork(lent), part)

    return joined(model.in_passes(len(subject.images), run))
