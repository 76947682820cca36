"""Images that were made for one classifier, as another one takes them: its channels and its size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers.classifier import Classifier

# How bright red, green and blue look (ITU-R 601-2), as Pillow makes grey images.
_LUMA = (0.299, 0.587, 0.114)
# Interpolations that torch has with antialiasing, which Pillow always has.
_ANTIALIASED = ("bilinear", "bicubic")


def can_convert(given: int, wanted: int) -> bool:
    """Return whether images of so many channels can become images of others: grey and colour can."""
    return given == wanted or {given, wanted} == {1, 3}


def in_channels(images: Tensor, wanted: int) -> Tensor:
    """Return images `[B, C, H, W]` in so many channels: grey becomes colour, and colour grey."""
    given = images.shape[1]
    assert can_convert(given, wanted), (given, wanted)
    if given == wanted:
        return images
    if given == 1:
        return images.expand(-1, 3, -1, -1)
    weights = torch.tensor(_LUMA, device=images.device, dtype=images.dtype).view(1, 3, 1, 1)
    return (weights * images).sum(1, keepdim=True)


def converted(images: Tensor, classifier: Classifier) -> Tensor:
    """Return images `[B, C, H, W]` in [0, 1] in a classifier's channels and size; gradients flow through.

    They are resized as the classifier's preprocessing resizes photographs: with its interpolation, antialiased, as
    Pillow does it for the images of a data set. All of the image is kept: it was cropped already. The bicubic
    interpolation overshoots, so what is resized is clamped to [0, 1]. Images of the right size are left as they
    are.
    """
    images, side = in_channels(images, classifier.channels), classifier.image_size
    if tuple(images.shape[-2:]) == (side, side):
        return images
    own = classifier.preprocessing.interpolation
    mode = own if own in _ANTIALIASED else "bicubic"
    return F.interpolate(images, (side, side), mode=mode, align_corners=False, antialias=True).clamp(0, 1)
