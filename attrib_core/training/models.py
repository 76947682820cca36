"""Which network is trained, and how it sees its images."""

from attrib_core.classifiers import Architecture, Description, Preprocessing
from attrib_core.classifiers.overriding import overridden
from attrib_core.classifiers.registry import find_architecture

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
