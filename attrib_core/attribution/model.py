"""The classifier as an explanation sees it: logits and input gradients of many points, in passes that fit."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_logits
from attrib_core.execution import BATCH_MULTIPLE, Execution, padded, run_batches

# A pass whose activations stay in a CPU's cache is fastest; a GPU wants to be full. Sizes are derived, not
# measured, so that a run does not depend on how busy the machine was when it began.
CPU_PIXELS = 200 * 28 * 28
GPU_PIXELS = 2**22
SMALLEST_BATCH = 8
NUM_PADDING = BATCH_MULTIPLE - 1  # columns of `with_padding`

# What a backward pass starts from: one number for each row of logits `[N, K]`.
Objective = Callable[[Tensor], Tensor]


class ExplainedModel:
    """A prepared classifier, how it runs, and how many images it is shown at a time."""

    def __init__(
        self, classifier: Classifier, execution: Execution, image_shape: Sequence[int], batch_size: int | None
    ) -> None:
        if batch_size is not None and batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: accepted are 1 and more")
        self.classifier, self.execution = classifier, execution
        self.batch_size = batch_size or default_batch_size(execution.device, image_shape)

    def in_passes(self, num_rows: int, run: Callable[[range], Tensor]) -> list[Tensor]:
        """Results of `run` on consecutive ranges of rows; they shrink, for good, where memory runs out.

        `run` may see the same rows again after a failure.
        """
        batched = run_batches(range(num_rows), self.batch_size, run)  # type: ignore[arg-type]  # slices are ranges
        self.batch_size = min(self.batch_size, batched.batch_size)
        return batched.results

    @torch.inference_mode()
    def logits(self, points: Tensor) -> Tensor:
        """Logits `[N, K]` of points `[N, C, H, W]`, in one pass."""
        batch = padded(self.execution.images(points))
        with self.execution.autocast():
            logits: Tensor = self.classifier(batch)
        return logits[: len(points)].float()

    def gradients(self, points: Tensor, objectives: Sequence[Objective]) -> tuple[Tensor, list[Tensor]]:
        """Logits `[N, K]` of points `[N, C, H, W]`, and each objective's gradient there, from one forward pass."""
        batch = padded(self.execution.images(points)).detach().requires_grad_()
        with torch.enable_grad():
            with self.execution.autocast():
                logits = self.classifier(batch)
            logits = logits[: len(points)].float()
            # Sums, not means: a gradient must not depend on how many neighbours its image has.
            sums = [objective(logits).sum() for objective in objectives]
        # `grad`, not `backward`: nothing may be written to weights, which can be those of a network in training.
        gradients = [
            torch.autograd.grad(each, batch, retain_graph=each is not sums[-1])[0][: len(points)]
            for each in sums
        ]
        return logits.detach(), gradients

    def checked(self, logits: Tensor) -> Tensor:
        """The logits; ValueError where they are none: see `check_logits`."""
        check_logits(logits, self.classifier.name)
        return logits


def default_batch_size(device: torch.device, image_shape: Sequence[int]) -> int:
    """Images `[..., H, W]` in one pass on a device: a multiple of four."""
    pixels = image_shape[-2] * image_shape[-1]
    fitting = (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // pixels
    return max(SMALLEST_BATCH, fitting - fitting % 4)


def with_padding(table: Tensor) -> Tensor:
    """Which points of an image are looked at, `[B, P]`, with columns added so that rows have multiples of four.

    Taken image by image, an image's points then stand at the same places of a pass, modulo four, whatever its
    neighbours need: see `BATCH_MULTIPLE`.
    """
    missing = -table.sum(1, keepdim=True) % BATCH_MULTIPLE
    return torch.cat([table, torch.arange(NUM_PADDING, device=table.device) < missing], 1)


def logit_of(logits: Tensor, classes: Tensor) -> Tensor:
    """The logit `[N]` of each row's class `[N]`."""
    return logits.gather(1, classes[:, None])[:, 0]


def loss_of(logits: Tensor, classes: Tensor) -> Tensor:
    """The cross-entropy `[N]` of each row's class `[N]`."""
    return F.cross_entropy(logits, classes, reduction="none")


def probability_of(logits: Tensor, classes: Tensor) -> Tensor:
    """The softmax probability `[N]` of each row's class `[N]`; faster on a CPU than softmax over few classes."""
    return 1 / (logits - logits.gather(1, classes[:, None])).exp_().sum(1)
