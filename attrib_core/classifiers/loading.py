"""From a name to a classifier: the driver reads a checkpoint once, workers build classifiers from it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from attrib_core.classifiers.checkpoint import (
    Checkpoint,
    assign_arrays,
    load_checked,
    state_digest,
    to_arrays,
)
from attrib_core.classifiers.classifier import Classifier
from attrib_core.classifiers.ensembles import Combination, Ensemble, ensemble_checkpoint
from attrib_core.classifiers.heads import set_heads
from attrib_core.classifiers.identity import Identity, Preprocessing
from attrib_core.classifiers.outputs import classes_of
from attrib_core.classifiers.overriding import doubt_about_classes, overridden
from attrib_core.classifiers.rebuilding import check_rebuilt
from attrib_core.classifiers.registry import (
    SIGN,
    Architecture,
    StateDict,
    canonical_name,
    find_architecture,
    member_names,
    split_weights,
)
from attrib_core.classifiers.stored_images import Expected, images_of_file
from attrib_core.classifiers.weights_files import read_weights, split_key
from attrib_core.classifiers.wrapping import Description
from attrib_core.seeding import derive_seed, global_randomness

UNTRAINED = "untrained"
ONE_LOGIT = ("a head of one logit z is read as two classes, with logits (0, z)",)
AS_PUBLISHED = Description()


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """A network with its weights; `weights_name` is that of the published ones whose network it is."""

    network: nn.Module
    weights_name: str | None
    preprocessing: Preprocessing
    notes: tuple[str, ...] = ()
    scaling: dict[str, NDArray[np.generic]] = field(default_factory=dict)  # of a normaliser in the file


def load_classifier(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    device: torch.device | str | None = None,
    description: Description = AS_PUBLISHED,
    ensemble: Combination = "logits",
) -> Classifier:
    """Return the classifier of that name, on `device` (the CPU if None).

    `name` is a registered model, one of torchvision's, one of timm's, `torchvision:NAME` or `timm:NAME`; a model
    on the hub or in a folder, `hf-hub:NAME` (timm's format) or `transformers:NAME`; an exported program,
    `FILE.pt2`; or a user's own network, `FILE.py:FUNCTION` or `package.module:FUNCTION`, with settings such as
    `net.py:make:depth=20`. `weights` is the name of weights that exist for it
    (`ResNet18_Weights.IMAGENET1K_V1` or its last part, a timm tag), a file (safetensors or a torch state dict),
    "untrained", or None for the default ones, which a user's own network has when the function returns it; the
    name may say it too, `NAME:weights=FILE`. `A+B` is an ensemble of models, whose answers are combined as
    `ensemble` says: see `ensembles`.
    `description` says what is otherwise taken from the published weights: size and scaling of the images, their
    channels, the names of the classes. Raises ValueError if there is no such model or the weights do not fit it.
    """
    file = None if weights is None else os.fspath(weights)
    checkpoint = read_checkpoint(name, weights=file, description=description, ensemble=ensemble)
    return build_classifier(checkpoint, device=device)


def read_checkpoint(
    name: str,
    *,
    weights: str | None = None,
    description: Description = AS_PUBLISHED,
    ensemble: Combination = "logits",
) -> Checkpoint:
    """Read and verify the weights that `load_classifier` would use; takes the same names."""
    if len(members := member_names(name)) > 1:
        return _read_ensemble(members, weights, description, ensemble)
    bare, own = split_weights(name)
    if own is not None and weights is not None:
        raise ValueError(f"weights={weights!r}: {name!r} names weights too; accepted is one of the two")
    weights = own or weights
    architecture = find_architecture(bare).described(description)
    weights_name = _weights_name(architecture, weights)
    if weights_name is None and weights != UNTRAINED:
        loaded = _loaded_from_file(architecture, str(weights), description)
    else:
        preprocessing = overridden(architecture.preprocessing(weights_name), description, architecture.name)
        loaded = _loaded_by_name(architecture.for_images(preprocessing), weights_name, preprocessing)
    state = to_arrays(loaded.network)
    num_classes = architecture.num_outputs(loaded.network, state)
    is_named = description.class_names is not None
    checkpoint = Checkpoint(
        name=canonical_name(name),
        weights=weights_name or str(weights),
        weights_name=loaded.weights_name,
        num_classes=num_classes,
        preprocessing=loaded.preprocessing,
        labels=(description if is_named else architecture).labels(classes_of(num_classes)),
        state=state,
        digest=state_digest(state | loaded.scaling),
        notes=tuple(f"weights={weights!r}: {note}" for note in loaded.notes),
        definition=architecture.definition,
        files=dict(architecture.files),
    )
    if architecture.definition is not None:
        # Under another seed than that of the first network, as in another process.
        with global_randomness(derive_seed("rebuilt", checkpoint.name)):
            check_rebuilt(loaded.network, build_classifier(checkpoint))
    return checkpoint


def build_classifier(checkpoint: Checkpoint, *, device: torch.device | str | None = None) -> Classifier:
    """Return the classifier of a checkpoint, on `device`; on the CPU (None) it shares the checkpoint's memory."""
    if checkpoint.members:
        members = [build_classifier(member) for member in checkpoint.members]
        return Ensemble(members, _identity(checkpoint), checkpoint.combination).to(device or "cpu")
    bare, _ = split_weights(checkpoint.name)
    architecture = find_architecture(bare, checkpoint.files).for_images(checkpoint.preprocessing)
    network = _network(architecture, checkpoint.num_classes, checkpoint.weights_name)
    set_heads(architecture.heads(network), network, checkpoint.state)
    assign_arrays(network, checkpoint.state)
    return Classifier(network, _identity(checkpoint)).to(device or "cpu")


def initial_state(checkpoint: Checkpoint) -> dict[str, NDArray[np.generic]]:
    """Return the weights that the network of a checkpoint begins with, before training: always the same.

    Without a file of weights of other heads, they are those of `weights="untrained"`. Raises ValueError for a
    network that cannot be initialised.
    """
    bare, _ = split_weights(checkpoint.name)
    images = checkpoint.preprocessing
    said = Description(
        mean=images.mean, std=images.std, image_size=images.image_size, channels=len(images.mean)
    )
    architecture = find_architecture(bare, checkpoint.files).described(said).for_images(images)
    network = _untrained(architecture, checkpoint.num_classes)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(UNTRAINED, architecture.name, "heads"))
        set_heads(architecture.heads(network), network, checkpoint.state)
    return to_arrays(network)


def _identity(checkpoint: Checkpoint) -> Identity:
    return Identity(
        name=checkpoint.name,
        digest=checkpoint.digest,
        preprocessing=checkpoint.preprocessing,
        labels=checkpoint.labels,
    )


def _read_ensemble(
    members: Sequence[str], weights: str | None, description: Description, combination: Combination
) -> Checkpoint:
    """Return the checkpoint of an ensemble. Raises ValueError for what can be said of one model only."""
    name = SIGN.join(members)
    if weights not in (None, UNTRAINED):
        raise ValueError(
            f"weights={weights!r}: {name!r} is an ensemble; accepted is NAME:weights=FILE for each"
        )
    if description != AS_PUBLISHED:
        raise ValueError(
            f"model={name!r}: mean, std, image_size, channels and class_names are those of each member; accepted "
            "are none for an ensemble"
        )
    return ensemble_checkpoint([read_checkpoint(each, weights=weights) for each in members], combination)


def _weights_name(architecture: Architecture, weights: str | None) -> str | None:
    """Return the full name of the named weights that the user means; None for a file and for untrained ones."""
    accepted = ", ".join(map(repr, [*architecture.weights_names, UNTRAINED]))
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
    if weights != UNTRAINED and not split_key(weights)[0].exists():
        raise ValueError(
            f"weights={weights!r}: neither a file nor weights of {architecture.name} by name; "
            f"accepted are {accepted} or a file that there is"
        )
    return None


def _loaded_by_name(
    architecture: Architecture, weights_name: str | None, preprocessing: Preprocessing
) -> _Loaded:
    if weights_name is None:
        network = _untrained(architecture, architecture.num_classes)
    else:
        network, _ = _with_state(architecture, architecture.fetch(weights_name), weights_name)
    return _Loaded(
        network=network,
        weights_name=weights_name,
        preprocessing=preprocessing,
        notes=architecture.notes_by_name(weights_name),
    )


def _loaded_from_file(architecture: Architecture, weights: str, description: Description) -> _Loaded:
    """Return the network that a file's names and shapes say: its classes, its images and its heads."""
    path, key = split_key(weights)
    published = architecture.published(path) if path.is_file() else None
    said = overridden(architecture.preprocessing(published), description, architecture.name)
    built = _network(architecture.for_images(said), architecture.num_classes, published)
    stored = read_weights(path, built.state_dict(), key)
    if stored.doubt is not None and description.mean is None:
        raise ValueError(f"weights={weights!r}: {stored.doubt}")
    scale_notes = (
        (f"mean and std are those given, not {stored.doubt.partition(':')[0]} of the file",)
        if stored.doubt
        else ()
    )
    expected = Expected(architecture=architecture, network=built, preprocessing=said, description=description)
    try:
        state = architecture.adapt(stored.state)
        preprocessing, image_notes = images_of_file(state, expected, stored.scaling)
        architecture = architecture.for_images(preprocessing)
        network, head_notes = _with_state(architecture, state, published)
    except ValueError as error:
        raise ValueError(f"weights={weights!r}: not for {architecture.name}: {error}") from error
    num_classes = architecture.num_outputs(network, state)
    doubt = (
        () if stored.scaling else doubt_about_classes(architecture, num_classes, preprocessing, description)
    )
    one_logit = ONE_LOGIT if num_classes == 1 else ()
    return _Loaded(
        network=network,
        weights_name=published,
        preprocessing=preprocessing,
        notes=(
            *stored.notes,
            *scale_notes,
            *image_notes,
            *head_notes,
            *architecture.notes(published),
            *doubt,
            *one_logit,
        ),
        scaling=stored.scaling.as_arrays() if stored.scaling else {},
    )


def _with_state(
    architecture: Architecture, state: StateDict, weights_name: str | None
) -> tuple[nn.Module, tuple[str, ...]]:
    """Return the network with the tensors of a state dict, and notes on its heads."""
    network = _network(architecture, architecture.num_classes, weights_name)
    heads = architecture.heads(network)
    if (num_classes := architecture.num_outputs(network, state)) != architecture.num_classes:
        network = _network(architecture, num_classes, weights_name)
    notes = set_heads(heads, network, state)
    load_checked(network, state)
    return network, notes


def _network(architecture: Architecture, num_classes: int, weights_name: str | None) -> nn.Module:
    """Return a network whose weights will be replaced; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        return architecture.network(num_classes, weights_name)


def _untrained(architecture: Architecture, num_classes: int) -> nn.Module:
    """Return the network with random weights, always the same; leaves the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive_seed(UNTRAINED, architecture.name))
        return architecture.network(num_classes, None, untrained=True)
