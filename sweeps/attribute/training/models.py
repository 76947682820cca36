"""Users' own networks in a grid of trainings: which code they are, and whether they can be trained."""

from collections.abc import Sequence

from attrib_core.classifiers import Description, canonical_name
from attrib_core.training import initial_network
from attrib_core.training.models import check_images, trained_model
from sweeps.attribute.training.grid import TrainingInputs


def model_notes(inputs: TrainingInputs) -> tuple[str, ...]:
    """Return what the user should know of networks of their own, such as the size of the images."""
    found: dict[str, None] = {}
    for trial in inputs.trials.values():
        if trial.model in inputs.definitions:
            num_classes = len(inputs.data[trial.dataset].train.class_names)
            architecture, _ = trained_model(trial.model, num_classes, inputs.description)
            found |= dict.fromkeys(architecture.notes(None))
    return tuple(found)


def model_definitions(models: Sequence[str], counts: Sequence[int], described: Description) -> dict[str, str]:
    """Return which code users' own networks are and what images they see, by model.

    Raises ValueError for a network that cannot be trained on data of so many classes.
    """
    definitions: dict[str, str] = {}
    for model in models:
        for num_classes in counts:
            architecture, preprocessing = trained_model(model, num_classes, described)
            if architecture.definition is None and described == Description():
                continue
            network = initial_network(model, num_classes, 0, described)
            check_images(model, network, preprocessing)
            code = architecture.definition or architecture.name
            definitions[canonical_name(model)] = (
                f"{code}; images of {preprocessing.image_size}, mean {preprocessing.mean}, std {preprocessing.std}"
            )
    return definitions
