"""What a network answers with, read as logits `[B, K]`: the one place that knows the forms of an output."""

from collections.abc import Mapping

import torch
from torch import Tensor


def read_logits(output: object, num_images: int) -> Tensor:
    """Return the logits `[B, K]` in a network's output for B images.

    The output is a tensor, a tuple or list whose first element is one, or an object or mapping with `logits`;
    other elements, such as auxiliary heads, are ignored. One logit z an image, `[B, 1]` or `[B]`, is read as two
    classes of a binary head: its logits are (0, z), whose cross-entropy is the binary one of z.
    """
    logits = main_output(output)
    if not isinstance(logits, Tensor):
        raise ValueError(f"network: {_gives(num_images)} {type(output).__name__}; {_accepted(num_images)}")
    # `squeeze()` takes away the batch of one image too.
    is_single = logits.shape in ((num_images,), (num_images, 1)) or (num_images == 1 and not logits.ndim)
    if is_single and logits.is_floating_point():
        column = logits.reshape(num_images, 1)
        return torch.cat([torch.zeros_like(column), column], dim=1)
    # The number of rows too: a network that reshapes with -1 cuts large images into several.
    if logits.ndim != 2 or len(logits) != num_images or not logits.shape[1] or not logits.is_floating_point():
        raise ValueError(
            f"network: {_gives(num_images)} {logits.dtype} {list(logits.shape)}; {_accepted(num_images)}"
        )
    return logits


def classes_of(num_outputs: int) -> int:
    """Return the number of classes of a head with `num_outputs` logits: one logit stands for two classes."""
    return 2 if num_outputs == 1 else num_outputs


def main_output(output: object) -> object:
    """Return the tensor that holds the logits, or what lies in its place."""
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        return output.get("logits")
    if hasattr(output, "logits"):
        return output.logits
    if isinstance(output, tuple | list) and output:
        return main_output(output[0])
    return None


def _gives(num_images: int) -> str:
    return "one image gives" if num_images == 1 else f"{num_images} images give"


def _accepted(num_images: int) -> str:
    return f"accepted are float logits [{num_images}, K]"
