"""What a sweep over images works on: a data set, and one network under one or several sets of weights."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.classifiers import Checkpoint, Classifier, build_classifier, read_checkpoint
from attrib_core.classifiers.checks import check_logits
from attrib_core.classifiers.loading import UNTRAINED
from attrib_core.datasets import Dataset, View, labels_for
from sweeps.images.failures import first_readable, readable_images
from sweeps.ranges import parse_names

TRAINED = "trained"
# Images on which each set of weights is tried before any work starts.
NUM_PROBES = 4
# The side of an image up to which it counts as small: its shards hold more of them.
SMALL_IMAGE = 64


@dataclass(frozen=True, kw_only=True)
class ImageInputs:
    """What actors share through the object store: weights by the checkpoint's name, data, labels `[N]`."""

    checkpoints: Mapping[str, Checkpoint]
    dataset: Dataset
    labels: NDArray[np.int64]  # as the classifier counts classes
    view: View
    class_names: tuple[str, ...]

    @property
    def checkpoint(self) -> Checkpoint:
        """The weights of a sweep that has one set of them, else the first."""
        return next(iter(self.checkpoints.values()))

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
        pixels = torch.from_numpy(self.dataset.images(indices, self.view))
        return (pixels.to(device).float() / 255).contiguous(memory_format=torch.channels_last)

    def spread(self, count: int) -> list[int]:
        """Return `count` indices spread evenly over the data set; a small set has some several times.

        Images that cannot be decoded are left out.
        """
        spread = [int(index) for index in np.linspace(0, len(self.dataset) - 1, count)]
        return readable_images(self.dataset, spread)


def read_inputs(dataset: Dataset, model: str, weights: str | None, checkpoints: str = TRAINED) -> ImageInputs:
    """Read all weights and try them on a few images. Raises ValueError for what does not fit."""
    read = _read_checkpoints(model, weights, checkpoints)
    classifiers = {name: build_classifier(checkpoint) for name, checkpoint in read.items()}
    first = next(iter(classifiers.values()))
    for name, classifier in classifiers.items():
        _check(dataset, name, classifier, first)
    return ImageInputs(
        checkpoints=read,
        dataset=dataset,
        labels=labels_for(dataset, first),
        view=View.of(first),
        class_names=first.class_names,
    )


def _read_checkpoints(model: str, weights: str | None, text: str) -> dict[str, Checkpoint]:
    checkpoints: dict[str, Checkpoint] = {}
    for element in parse_names("checkpoints", text):
        for name, source in _sources(element, weights).items():
            if name in checkpoints:
                raise ValueError(
                    f"checkpoints: two are called {name!r}; accepted are weights and files that differ in name"
                )
            checkpoints[name] = read_checkpoint(model, weights=source)
    return checkpoints


def _sources(element: str, weights: str | None) -> dict[str, str | None]:
    """Return names of checkpoints and where their weights are."""
    if element == TRAINED:
        return {UNTRAINED if weights == UNTRAINED else TRAINED: weights}
    if element == UNTRAINED:
        return {UNTRAINED: UNTRAINED}
    folder = Path(element)
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("checkpoints/*.safetensors"))
    if files:
        return {_name(file.stem): str(file) for file in files}
    if taped := sorted(folder.glob("tapes/*/checkpoints/*.safetensors")):
        return _taped(taped)
    raise ValueError(
        f"checkpoints: {element!r} is no folder with *.safetensors files; accepted: {TRAINED}, {UNTRAINED}, "
        "folders that sweeps/train_classifier.py --checkpoints writes, and run directories of "
        "sweeps/attribute_training.py"
    )


def _taped(files: Sequence[Path]) -> dict[str, str | None]:
    """Name the checkpoints of tapes, `tapes/<trial>/checkpoints/<step>`, by step, or by trial and step."""
    trials = {file.parents[1].name for file in files}
    if len(trials) == 1:
        return {_name(file.stem): str(file) for file in files}
    return {_name(f"{file.parents[1].name}.{file.stem}"): str(file) for file in files}


def _name(name: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.=-]+", name):
        return name
    raise ValueError(f"checkpoints: {name!r}; accepted are names of letters, digits and the signs _ . = -")


def _check(dataset: Dataset, name: str, classifier: Classifier, first: Classifier) -> None:
    if classifier.num_classes != first.num_classes:
        raise ValueError(
            f"checkpoints: {name!r} has {classifier.num_classes} classes, another one {first.num_classes}"
        )
    probes = dataset.images(first_readable(dataset, NUM_PROBES), View.of(classifier))
    with torch.inference_mode():
        check_logits(classifier(torch.from_numpy(probes).float() / 255), f"checkpoint {name!r}")
