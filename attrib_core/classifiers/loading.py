"""From a name to a classifier: the driver reads a checkpoint once, workers build classifiers from it."""

from pathlib import Path

import torch
from torch import nn

from attrib_core.classifiers.checkpoint import (
    Checkpoint,
    assign_arrays,
    load_checked,
    state_digest,
    to_arrays,
)
from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.identity import Identity
from attrib_core.classifiers.outputs import classes_of
from attrib_core.classifiers.overriding import doubt_about_classes, overridden
from attrib_core.classifiers.registry import Architecture, StateDict, find_architecture
from attrib_core.classifiers.weights_files import read_weights_file
from attrib_core.classifiers.wrapping import Description
from attrib_core.seeding import derive_seed

UNTRAINED = "untrained"
AS_PUBLISHED = Description()


def load_classifier(
    name: str,
    *,
    weights: str | None = None,
    device: torch.device | str | None = None,
    description: Description = AS_PUBLISHED,
) -> Classifier:
    """Return the classifier of that name, on `device` (the CPU if None).

    `name` is a registered model, one of torchvision's, one of timm's, `torchvision:NAME` or `timm:NAME`.
    `weights` is the name of weights that exist for it (`ResNet18_Weights.IMAGENET1K_V1` or its last part, a
    timm tag), a file (safetensors or a torch state dict), "untrained", or None for the default ones.
    `description` says what is otherwise taken from the published weights: size and scaling of the images, their
    channels, the names of the classes. Raises ValueError if there is no such model or the weights do not fit it.
    """
    return build_classifier(read_checkpoint(name, weights=weights, description=description), device=device)


def read_checkpoint(
    name: str, *, weights: str | None = None, description: Description = AS_PUBLISHED
) -> Checkpoint:
    """Read and verify the weights that `load_classifier` would use; takes the same names."""
    architecture = find_architecture(name)
    weights_name = _weights_name(architecture, weights)
    is_file = weights_name is None and weights != UNTRAINED
    published = architecture.published(Path(str(weights))) if is_file else weights_name
    preprocessing = overridden(architecture.preprocessing(published), description, architecture.name)
    architecture = architecture.for_images(preprocessing)
    if weights == UNTRAINED:
        network = _untrained(architecture)
    elif weights_name is not None:
        network = _loaded(architecture, architecture.fetch(weights_name), weights_name)
    else:
        network = _loaded_from_file(architecture, str(weights), published)
    state = to_arrays(network)
    num_classes = _num_classes(network.state_dict(), network)
    notes = architecture.notes(published) if is_file else ()
    if is_file:
        notes += doubt_about_classes(architecture, num_classes, preprocessing, description)
    is_named = description.class_names is not None
    return Checkpoint(
        name=name,
        weights=weights_name or str(weights),
        weights_name=published,
        num_classes=num_classes,
        preprocessing=preprocessing,
        labels=(description if is_named else architecture).labels(classes_of(num_classes)),
        state=state,
        digest=state_digest(state),
        notes=tuple(f"weights={weights!r}: {note}" for note in notes),
    )


def build_classifier(checkpoint: Checkpoint, *, device: torch.device | str | None = None) -> Classifier:
    """Return the classifier of a checkpoint, on `device`; on the CPU (None) it shares the checkpoint's memory."""
    architecture = find_architecture(checkpoint.name).for_images(checkpoint.preprocessing)
    network = _network(architecture, checkpoint.num_classes, checkpoint.weights_name)
    assign_arrays(network, checkpoint.state)
    identity = Identity(
        name=checkpoint.name,
        digest=checkpoint.digest,
        preprocessing=checkpoint.preprocessing,
        labels=checkpoint.labels,
    )
    return Classifier(network, identity).to(device or "cpu")


def _weights_name(architecture: Architecture, weights: str | None) -> str | None:
    """Return the full name of the named weights that the user means; None for a file and for untrained ones."""
    accepted = ", ".join([*architecture.weights_names, UNTRAINED])
    if weights is None:
        if architecture.default_weights is None:
            command = architecture.training_command
            how_to_train = f", such as `{command}` makes" if command else ""
            raise ValueError(
                f"weights: {architecture.name} has no default; accepted are {accepted} or a file{how_to_train}"
            )
        return architecture.default_weights
    for name in architecture.weights_names:
        if weights in (name, name.rpartition(".")[2]):
            return name
    if weights != UNTRAINED and not Path(weights).exists():
        raise ValueError(
            f"weights={weights!r}: neither a file nor weights of {architecture.name}; "
            f"accepted are {accepted} or a file"
        )
    return None


def _loaded_from_file(architecture: Architecture, weights: str, published: str | None) -> nn.Module:
    state = read_weights_file(Path(weights))
    try:
        return _loaded(architecture, state, published)
    except ValueError as error:
        raise ValueError(f"weights={weights!r}: not for {architecture.name}: {error}") from error


def _loaded(architecture: Architecture, state: StateDict, weights_name: str | None) -> nn.Module:
    state = architecture.adapt(state)
    network = _network(architecture, architecture.num_classes, weights_name)
    if (num_classes := _num_classes(state, network)) != architecture.num_classes:
        network = _network(architecture, num_classes, weights_name)
    load_checked(network, state)
    return network


def _num_classes(state: StateDict, network: nn.Module) -> int:
    """Return the number of rows of the head in the state dict or, if it has no head, in the network."""
    reference = network.state_dict()
    head = list(reference)[-1]
    tensor = state.get(head, reference[head])
    return len(tensor) if tensor.ndim else len(reference[head])


def _network(architecture: Architecture, num_classes: int, weights_name: str | None) -> nn.Module:
    """Return a network whose weights will be replaced; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        return architecture.network(num_classes, weights_name)


def _untrained(architecture: Architecture) -> nn.Module:
    """Return the network with random weights, always the same; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(UNTRAINED, architecture.name))
        return architecture.network(architecture.num_classes, None, untrained=True)
