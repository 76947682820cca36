"""The images that a network was trained on, as the shapes and the normaliser in its file show them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import nn

from attrib_core.classifiers.identity import Preprocessing
from attrib_core.classifiers.registry import Architecture, StateDict
from attrib_core.classifiers.stored_scaling import StoredScaling, numbers_text
from attrib_core.classifiers.wrapping import Description

POSITIONS = ("pos_embed", "pos_embedding", "position_embedding", "position_embeddings")
CLOSE = 1e-6  # numbers in a file are rounded to float32


@dataclass(frozen=True, kw_only=True)
class Expected:
    """What an architecture takes, and what the user says; the network is the architecture's for these images."""

    architecture: Architecture
    network: nn.Module
    preprocessing: Preprocessing
    description: Description


@dataclass(frozen=True)
class Difference:
    """A tensor of another shape than the network's."""

    name: str
    found: Sequence[int]
    own: Sequence[int]

    def __str__(self) -> str:
        return f"{self.name} {list(self.found)} instead of {list(self.own)}"


def images_of_file(
    state: StateDict, expected: Expected, scaling: StoredScaling | None
) -> tuple[Preprocessing, tuple[str, ...]]:
    """Return the preprocessing that the tensors in a file ask for, and notes on where it is not the expected one.

    Raises ValueError where no such network can be built, where the user says something else, and where mean and
    std of the channels are not known.
    """
    differences = _differences(state, expected.network)
    sized, size_notes = _sized(differences, expected)
    scaled, scale_notes = _scaled(sized, _channels(differences, expected, sized), expected, scaling)
    return scaled, (*size_notes, *scale_notes)


def _differences(state: StateDict, network: nn.Module) -> list[Difference]:
    return [
        Difference(name, tuple(state[name].shape), tuple(own.shape))
        for name, own in network.state_dict().items()
        if name in state and state[name].shape != own.shape
    ]


def _sized(differences: Sequence[Difference], expected: Expected) -> tuple[Preprocessing, list[str]]:
    """Return the preprocessing for images of the size that the position embeddings are for."""
    preprocessing = expected.preprocessing
    for difference in differences:
        if difference.name.rpartition(".")[2] not in POSITIONS:
            continue
        size = _size_of_positions(difference, preprocessing.image_size)
        if size is None:
            raise ValueError(f"{difference}: for no square images that the network could be built for")
        if expected.description.image_size is not None:
            raise ValueError(
                f"image_size={expected.description.image_size}: {difference} is for {size}; accepted is that"
            )
        return replace(preprocessing, image_size=size, resize_size=None), [f"image_size {size}: {difference}"]
    return preprocessing, []


def _size_of_positions(difference: Difference, image_size: int) -> int | None:
    """Return the size of the images whose patches have as many positions, `[1, prefix + side², width]`."""
    found, own = difference.found, difference.own
    if len(found) != 3 or len(own) != 3 or (found[0], found[2]) != (own[0], own[2]):
        return None
    own_side = math.isqrt(own[1])
    patches = found[1] - (own[1] - own_side**2)  # without the class token
    side = math.isqrt(max(patches, 0))
    if not side or side**2 != patches or image_size % own_side:
        return None
    return image_size // own_side * side


def _channels(
    differences: Sequence[Difference], expected: Expected, sized: Preprocessing
) -> Difference | None:
    """Return how the convolutions of the images differ in channels; ValueError if the network cannot be built."""
    num_channels = len(expected.preprocessing.mean)
    first = {
        f"{name}.weight"
        for name, layer in expected.network.named_modules()
        if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.in_channels == num_channels
    }
    of_images = [each for each in differences if each.name in first and len(each.found) == 4]
    for difference in of_images:
        if difference.found[2:] != difference.own[2:]:
            raise ValueError(
                f"{difference}: another kernel in the first convolution, as networks for small images have, whose "
                "stride is not in the file; accepted is the architecture's own, or in Python the network itself "
                "(Classifier.wrap)"
            )
    if not of_images:
        return None
    difference = of_images[0]
    blank = (0.0,) * difference.found[1]
    try:
        expected.architecture.for_images(replace(sized, mean=blank, std=blank))
    except ValueError as error:
        raise ValueError(f"{difference}: {error}") from error
    return difference


def _scaled(
    preprocessing: Preprocessing,
    channels: Difference | None,
    expected: Expected,
    scaling: StoredScaling | None,
) -> tuple[Preprocessing, list[str]]:
    """Return the preprocessing with the normaliser's numbers, or the known ones if all channels have them."""
    num_channels = len(preprocessing.mean) if channels is None else channels.found[1]
    notes = [f"{num_channels} channels: {channels}"] if channels else []
    if scaling is None:
        if channels:
            known = "given" if expected.description.mean is not None else "known"
            raise ValueError(
                f"{channels}: mean and std are {known} for {len(preprocessing.mean)} channels; accepted with "
                f"--mean and --std of {num_channels} (Description(mean=..., std=...) in Python)"
            )
        return preprocessing, notes
    scaling = scaling.for_channels(num_channels)
    where = f"{scaling.paths[0]} and {scaling.paths[1]}"
    numbers = f"mean {numbers_text(scaling.mean)} and std {numbers_text(scaling.std)}"
    if expected.description.mean is not None and not _agree(preprocessing, scaling):
        raise ValueError(
            f"mean={numbers_text(preprocessing.mean)} and std={numbers_text(preprocessing.std)}: the file has "
            f"{where}; accepted is its own {numbers}"
        )
    notes.append(f"{where} of the file scale the images: {numbers}")
    return replace(preprocessing, mean=scaling.mean, std=scaling.std), notes


def _agree(preprocessing: Preprocessing, scaling: StoredScaling) -> bool:
    pairs = ((preprocessing.mean, scaling.mean), (preprocessing.std, scaling.std))
    return all(
        len(said) == len(found) and all(abs(a - b) < CLOSE for a, b in zip(said, found, strict=True))
        for said, found in pairs
    )
