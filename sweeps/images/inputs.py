"""What a sweep over images works on: a data set, and one network under one or several sets of weights."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Checkpoint, Classifier, build_classifier
from attrib_core.classifiers.checks import check_logits
from attrib_core.classifiers.loading import UNTRAINED
from attrib_core.datasets import Dataset, View
from attrib_core.datasets.probing import probe, probe_images
from attrib_core.datasets.view import MeasuringView
from attrib_core.errors import first_line
from attrib_core.execution import Execution
from sweeps.images.checkpoints import TRAINED, is_derived, read_checkpoints
from sweeps.images.failures import readable_images
from sweeps.images.labels import LabelChoice, Labelling, label_images
from sweeps.model_options import ModelChoice, image_definitions, model_definitions

# Images on which each set of weights is tried before any work starts; one of them sees more, for its accuracy.
NUM_PROBES = 4
# The side of an image up to which it counts as small: its shards hold more of them.
SMALL_IMAGE = 64


@dataclass(frozen=True, kw_only=True)
class ImageInputs:
    """What actors share through the object store: weights by the checkpoint's name, data, labels `[N]`."""

    checkpoints: Mapping[str, Checkpoint]
    reference: Checkpoint | None  # the trained weights, where others are compared with them
    dataset: Dataset
    labels: NDArray[np.int64]  # as the classifier counts classes
    view: View
    class_names: tuple[str, ...]
    labelling: Labelling
    model_notes: tuple[str, ...]  # on the weights, and on images that are enlarged

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights of a sweep that has one set of them, else the first."""
        return next(iter(self.checkpoints.values()))

    def weights(self, name: str) -> Checkpoint:
        """Return the weights of that name; the trained ones too where others are compared with them."""
        if name == TRAINED and self.reference is not None:
            return self.reference
        return self.checkpoints[name]

    @property
    def model_definitions(self) -> dict[str, str]:
        """Which code and configuration the network is built from, and how it sees images, for sweep.json."""
        return model_definitions(*self.checkpoints.values()) | image_definitions(self.checkpoint)

    def provenance(self) -> dict[str, Any]:
        """Return what an invocation records of its images."""
        names = {"class_names": list(self.class_names), "num_images": len(self.dataset)}
        notes = {"notes": list(self.model_notes)} if self.model_notes else {}
        return names | notes | self.labelling.provenance

    @property
    def notes(self) -> tuple[str, ...]:
        """Lines for the user to read before work starts."""
        return *self.model_notes, *self.labelling.notes

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        return self.view.image_size

    @property
    def channels(self) -> int:
        return self.view.channels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`[C, H, W]` of the images as the classifier sees them."""
        return self.channels, self.image_size, self.image_size

    @property
    def is_small(self) -> bool:
        """True if images are so small that a shard may hold hundreds."""
        return self.image_size <= SMALL_IMAGE

    def images(self, indices: Sequence[int], device: torch.device) -> Tensor:
        """Return images `[B, C, H, W]` in [0, 1] by index in the data set, sized as the classifier wants them."""
        return floats(torch.from_numpy(self.dataset.images(indices, self.view)), device)

    def spread(self, count: int) -> list[int]:
        """Return `count` indices spread evenly over the data set; a small set has some several times.

        Images that cannot be decoded are left out.
        """
        spread = [int(index) for index in np.linspace(0, len(self.dataset) - 1, count)]
        return readable_images(self.dataset, spread)


def floats(pixels: Tensor, device: torch.device) -> Tensor:
    """Return images `[B, C, H, W]` of 8 bits as numbers in [0, 1] on the device, without a wait."""
    return (Execution(device).to_device(pixels).float() / 255).contiguous(memory_format=torch.channels_last)


def read_inputs(
    dataset: Dataset,
    model: ModelChoice,
    checkpoints: str = TRAINED,
    *,
    labels: LabelChoice,
    with_reference: bool = False,
) -> ImageInputs:
    """Read all weights and try them on a few images. Raises ValueError for what does not fit.

    `with_reference` reads the trained weights too if others are derived from them.
    """
    read = read_checkpoints(model, checkpoints)
    reference = read.get(TRAINED)
    if with_reference and reference is None and model.weights != UNTRAINED and any(map(is_derived, read)):
        reference = model.read()
    tried_weights = read if reference is None else read | {TRAINED: reference}
    classifiers = {name: build_classifier(checkpoint) for name, checkpoint in tried_weights.items()}
    first = next(iter(classifiers.values()))
    view = MeasuringView.of(first)
    indices, images = probe_images(dataset, view)
    for name, classifier in classifiers.items():
        _check(name, classifier, first, images[:NUM_PROBES])
    # Of checkpoints along a training the last one has learned the most.
    name = TRAINED if TRAINED in classifiers else next(reversed(classifiers))
    tried = probe(classifiers[name], indices, images)
    labelling = label_images(dataset, classifiers[name], labels, tried, is_trained=not is_derived(name))
    return ImageInputs(
        checkpoints=read,
        reference=reference,
        dataset=dataset,
        labels=labelling.match.labels(dataset),
        view=View.of(first),
        class_names=labelling.class_names,
        labelling=labelling,
        model_notes=(*_notes(read.values()), *_enlargement(dataset, view)),
    )


def _notes(checkpoints: Iterable[Checkpoint]) -> tuple[str, ...]:
    """Return the notes of all checkpoints; those of a folder's files differ only in the file's name."""
    found = {note.replace(each.weights, ""): note for each in checkpoints for note in each.notes}
    return tuple(found.values())


def _enlargement(dataset: Dataset, view: MeasuringView) -> tuple[str, ...]:
    """Return a line about images that the classifier sees enlarged, if there are any among those seen."""
    small = [size for size in view.sizes if view.enlarges(size)]
    if not small:
        return ()
    (width, height), (wider, higher) = small[0], view.resized(small[0])
    return (
        f"{dataset.name}: {len(small)} of {len(view.sizes)} images looked at are enlarged, "
        f"such as one of {width}×{height} to {wider}×{higher}",
    )


def _check(name: str, classifier: Classifier, first: Classifier, images: Tensor) -> None:
    if classifier.num_classes != first.num_classes:
        raise ValueError(
            f"checkpoints: {name!r} has {classifier.num_classes} classes, another one {first.num_classes}"
        )
    if View.of(classifier) != View.of(first):
        raise ValueError(
            f"checkpoints: {name!r} takes images as {View.of(classifier)}, another one as {View.of(first)}; "
            "accepted are those that take the same"
        )
    try:
        with torch.inference_mode():
            logits = classifier(images)
    except Exception as error:  # a user's network may raise anything
        reason = first_line(error)
        raise ValueError(
            f"image_size={classifier.image_size}: {classifier.name} cannot take images of this size ({reason}); "
            "accepted are those that it takes"
        ) from error
    check_logits(logits, f"checkpoint {name!r}")
