"""Whether a network is the same when another process builds it again and gives it the weights alone.

A state dict holds the parameters and the persistent buffers. A network may hold more: random buffers that are not
stored, numbers drawn in its constructor, a mode. Workers would then have another network than the driver.
"""

import torch
from torch import Tensor, nn

from attrib_core.classifiers.checks import check_logits
from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.neighbours import NUM_IMAGES, check_neighbours
from attrib_core.errors import in_one_line

OUTPUT = "network: "  # begins what `read_logits` says of an output


@torch.no_grad()
def check_rebuilt(network: nn.Module, rebuilt: Classifier) -> None:
    """Raise ValueError unless the network answers some images as the rebuilt classifier does, bit for bit.

    Also refuses logits that are no numbers, probabilities, and answers that change from call to call or with the
    other images of the batch.
    """
    classifier, images = Classifier(network, rebuilt.identity), _images(rebuilt)
    expected = _logits(classifier, images)
    check_logits(expected, f"model={rebuilt.name!r}")
    if not torch.equal(_logits(classifier, images), expected):
        raise ValueError(
            f"model={rebuilt.name!r}: two passes of the same images give different logits; accepted are networks "
            "without randomness and without a memory of earlier images in eval mode"
        )
    side = rebuilt.image_size
    check_neighbours(
        f"model={rebuilt.name!r}", lambda pair: _logits(classifier, pair), rebuilt.channels, side
    )
    if not torch.equal(_logits(rebuilt, images), expected):
        raise ValueError(
            f"model={rebuilt.name!r}: built twice and given the same state dict, it answers differently; accepted "
            "are networks whose whole state is in their state dict (register_buffer with persistent=True)"
        )


def _images(classifier: Classifier) -> Tensor:
    side = classifier.image_size
    generator = torch.Generator().manual_seed(0)
    return torch.rand(NUM_IMAGES, classifier.channels, side, side, generator=generator)


def _logits(classifier: Classifier, images: Tensor) -> Tensor:
    try:
        logits: Tensor = classifier(images.clone())
    except Exception as error:  # a user's network may raise anything
        if isinstance(error, ValueError) and str(error).startswith(OUTPUT):
            raise ValueError(f"model={classifier.name!r}: {str(error).removeprefix(OUTPUT)}") from error
        reason = in_one_line(error)
        raise ValueError(
            f"model={classifier.name!r}: it fails on {NUM_IMAGES} images of {classifier.channels} x "
            f"{classifier.image_size} x {classifier.image_size} ({reason}); accepted are networks that take "
            "batches of any number of images of that size"
        ) from error
    return logits
