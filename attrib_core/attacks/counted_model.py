"""A prepared model as other people's code expects a network, with its passes counted."""

import torch
from torch import Tensor, nn

from attrib_core.prepared import PreparedModel, joined


class CountedModel(nn.Module):
    """Maps any number of images `[N, C, H, W]` in [0, 1] to logits `[N, K]`, in eval mode, with frozen weights.

    The network sees at most as many images at once as are prepared for, and fewer as they are, not filled up: as
    in a call without us, to the last bit, and as fast for an attack that takes image after image. `num_forwards`
    and `num_backwards` are the images that passed through it: divided by those of a batch they are passes of an
    image.
    """

    def __init__(self, model: PreparedModel) -> None:
        super().__init__()
        self.classifier = model.classifier  # whose parameters tell where the network is
        self.prepared = model
        self.num_forwards = self.num_backwards = 0
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits; gradients flow through. ValueError for what are no such images."""
        channels = self.classifier.channels
        if images.ndim != 4 or images.shape[1] != channels:
            raise ValueError(
                f"images {list(images.shape)}: {self.classifier.name} takes [B, {channels}, H, W]"
            )
        if not len(images):
            return images.new_zeros(0, self.classifier.num_classes)
        return joined(
            self.prepared.in_passes(len(images), lambda rows: self._pass(images[rows.start : rows.stop]))
        )

    def _pass(self, images: Tensor) -> Tensor:
        # A slice is a node of its own in the graph: its hook runs once in each backward pass.
        if images.requires_grad:
            images.register_hook(self._counted)  # type: ignore[no-untyped-call]
        model = self.prepared
        logits = PreparedModel(model.classifier, model.execution, len(images))(images)
        self.num_forwards += len(images)
        return logits

    def _counted(self, gradient: Tensor) -> Tensor:
        self.num_backwards += len(gradient)
        # The prepared layout of memory is ours: others call `view` on gradients.
        return gradient.contiguous()

    def passes_of(self, num_images: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return forward and backward passes of each of the batch's images, `[B]` float64 each."""
        return tuple(  # type: ignore[return-value]
            torch.full((num_images,), count / num_images, dtype=torch.float64, device=device)
            for count in (self.num_forwards, self.num_backwards)
        )
