"""What an attack cannot be asked for: images, classes, ε and settings, refused before anything is computed."""

import math
from collections.abc import Sequence
from numbers import Real

from attrib_core.attacks.batch import AttackBatch, AttackSettings, Method, largest_epsilon
from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_classes, check_images


def check_batch(classifier: Classifier, batch: AttackBatch) -> None:
    """Raise ValueError for images or labels that the classifier cannot take; it names the first that is wrong."""
    check_images(classifier, batch.images)
    check_batch_classes(classifier, batch)


def check_batch_classes(classifier: Classifier, batch: AttackBatch) -> None:
    """Raise ValueError for labels, targets and keys that the classifier and the images cannot have."""
    for name, classes in (("labels", batch.labels), ("targets", batch.targets)):
        if classes is not None:
            check_classes(name, classes, len(batch.images), classifier.num_classes)
    if batch.keys and len(batch.keys) != len(batch.images):
        raise ValueError(f"keys: {len(batch.keys)} of them for {len(batch.images)} images")


def check_request(
    name: str,
    method: Method,
    epsilons: Sequence[float],
    image_shape: Sequence[int],
    *,
    targeted: bool,
    settings: AttackSettings | None = None,
) -> None:
    """Raise ValueError for ε that the method does not have on images `[C, H, W]`, or for wrong targets.

    Those are targets that it cannot take, and none where it needs some. Settings, if given, are checked against
    the images.

    ε are in [0, 1] for the max norm, else up to the norm of a change of every value by 1. None may be listed
    twice, and there must be one.
    """
    if targeted and not method.takes_targets:
        raise ValueError(f"targets: {name} takes none; accepted is an untargeted attack")
    if method.needs_targets and not targeted:
        raise ValueError(f"targets: {name} needs some; accepted are the classes to aim at")
    if settings is not None:
        method.check_settings(settings, image_shape)
    limit = largest_epsilon(method.norm, image_shape)
    of_what = "pixel units" if method.norm == "linf" else f"the {method.norm} norm of {name}"
    accepted = f"numbers in [0, {limit:g}], in {of_what}"
    if not isinstance(epsilons, Sequence):
        raise ValueError(f"epsilons: a {type(epsilons).__name__}; accepted is a list of {accepted}")
    if not epsilons:
        raise ValueError("epsilons: there are none; at least one is needed")
    for epsilon in epsilons:
        if isinstance(epsilon, bool) or not isinstance(epsilon, Real):
            raise ValueError(f"epsilons: {epsilon!r}; accepted are {accepted}, for {name}")
        if not (math.isfinite(epsilon) and 0 <= epsilon <= limit):
            raise ValueError(f"epsilons: {epsilon:g}; accepted are {accepted}, for {name}")
    if len(set(epsilons)) != len(epsilons):
        twice = next(each for each in epsilons if list(epsilons).count(each) > 1)
        raise ValueError(f"epsilons: {twice:g} is listed twice; list each value once")
