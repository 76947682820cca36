"""Which network is trained, and how it sees its images."""

import torch
from torch import nn

from attrib_core.classifiers import Architecture, Description, Preprocessing
from attrib_core.classifiers.overriding import overridden
from attrib_core.classifiers.registry import find_architecture
from attrib_core.errors import in_one_line

AS_THE_MODEL_SAYS = Description()


def trained_model(
    model: str, num_classes: int, description: Description = AS_THE_MODEL_SAYS
) -> tuple[Architecture, Preprocessing]:
    """Return a model by its reference for so many classes, and its images where they are as described.

    Raises ValueError for an unknown model, and for images that it does not take.
    """
    architecture = find_architecture(model).described(description).with_classes(num_classes)
    preprocessing = overridden(architecture.preprocessing(None), description, architecture.name)
    return architecture.for_images(preprocessing), preprocessing


def check_images(model: str, network: nn.Module, preprocessing: Preprocessing) -> None:
    """Raise ValueError for a network that fails on images of the size that it is to be trained on."""
    size, channels = preprocessing.image_size, len(preprocessing.mean)
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, channels, size, size))
    except Exception as error:  # a user's network may raise anything
        raise ValueError(
            f"image_size={size}: {model} fails on images of {channels} x {size} x {size} ({in_one_line(error)}); "
            "accepted are those that it takes"
        ) from error
