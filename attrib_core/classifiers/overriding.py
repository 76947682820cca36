"""What a user says about given weights, in place of what is known of the published ones."""

from dataclasses import replace

from attrib_core.classifiers.identity import Preprocessing
from attrib_core.classifiers.registry import Architecture
from attrib_core.classifiers.wrapping import Description


def overridden(preprocessing: Preprocessing, description: Description, name: str) -> Preprocessing:
    """Return the preprocessing with the user's numbers; ValueError where channels lack a mean and a std.

    A size that the user gives is also that of the resize: the published share of the crop is not applied to it.
    """
    if description.mean is not None and description.std is not None:
        mean, std = tuple(map(float, description.mean)), tuple(map(float, description.std))
        preprocessing = replace(preprocessing, mean=mean, std=std)
    elif description.channels not in (None, len(preprocessing.mean)):
        raise ValueError(
            f"channels={description.channels}: {name} has mean and std for {len(preprocessing.mean)}; "
            f"accepted with mean and std of {description.channels} each"
        )
    if description.image_size is not None:
        preprocessing = replace(preprocessing, image_size=description.image_size, resize_size=None)
    return preprocessing


def doubt_about_classes(
    architecture: Architecture, num_classes: int, preprocessing: Preprocessing, description: Description
) -> tuple[str, ...]:
    """Return a warning if weights have other classes than the published ones, and the user says nothing of them.

    They may have been trained on images of another size, under another normalisation.
    """
    said = (description.image_size, description.mean, description.class_names)
    if not architecture.weights_names or num_classes == architecture.num_classes or any(said):
        return ()
    mean, std = (
        ",".join(f"{number:g}" for number in each) for each in (preprocessing.mean, preprocessing.std)
    )
    return (
        f"{num_classes} classes, not the {architecture.num_classes} of {architecture.name}; images are resized to "
        f"{preprocessing.image_size} and normalised with mean {mean} and std {std} as for its published weights: "
        "give --image-size, --mean and --std if it was trained otherwise",
    )
