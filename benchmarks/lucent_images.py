"""torch-lucent as its documentation uses it: the peer of two benchmarks."""

from collections.abc import Sequence

import torch
from lucent.optvis import objectives, param, render
from torch import Tensor

from attrib_core.classifiers import Classifier

# The classifier's last linear layer, as lucent spells the path of a layer: its channels are the logits.
LOGITS = "network_classifier"


def lucent_images(
    classifier: Classifier, channels: Sequence[int], *, layer: str = LOGITS, num_steps: int = 128
) -> Tensor:
    """Return one image per channel of a layer `[B, 3, H, W]` in [0, 1], by lucent's defaults, all in one batch.

    The channels of the last layer are the classes. Its `param.image` (Fourier, decorrelated colour), standard
    transforms and Adam with 0.05. Each image has an objective of its own; the transforms are one draw a step for
    the whole batch, as lucent has them. The classifier normalises by itself, hence no `preprocess`.
    """
    size = classifier.image_size
    objective = objectives.Objective.sum(
        [objectives.channel(layer, channel, batch=row) for row, channel in enumerate(channels)]
    )
    try:
        images = render.render_vis(
            classifier,
            objective,
            lambda: param.image(size, batch=len(channels)),
            thresholds=(num_steps,),
            preprocess=False,
            progress=False,
            show_image=False,
        )
    finally:
        _remove_hooks(classifier)
    return torch.from_numpy(images[0]).permute(0, 3, 1, 2)


def _remove_hooks(classifier: Classifier) -> None:
    """Remove the hooks that lucent leaves on every layer: they would slow its own next images down."""
    for module in classifier.modules():
        module._forward_hooks.clear()
