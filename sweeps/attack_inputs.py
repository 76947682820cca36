"""What an adversarial sweep works on: a data set, and one network under several sets of weights."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from attrib_core.attacks.batch import check_logits
from attrib_core.classifiers import Checkpoint, Classifier, build_classifier, read_checkpoint
from attrib_core.classifiers.loading import UNTRAINED
from attrib_core.datasets import Dataset, View, labels_for
from sweeps.ranges import parse_names

TRAINED, UNTARGETED = "trained", "untargeted"
# Images on which each set of weights is tried before any work starts.
NUM_PROBES = 4


@dataclass(frozen=True, kw_only=True)
class AttackInputs:
    """What actors share through the object store: weights by the checkpoint's name, data, labels `[N]`."""

    checkpoints: Mapping[str, Checkpoint]
    dataset: Dataset
    labels: NDArray[np.int64]  # as the classifier counts classes
    view: View
    class_names: tuple[str, ...]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def image_size(self) -> int:
        return self.view.image_size

    @property
    def channels(self) -> int:
        return self.view.channels


def read_inputs(dataset: Dataset, model: str, weights: str | None, checkpoints: str) -> AttackInputs:
    """Reads all weights and tries them on a few images; ValueError names what does not fit."""
    read = _read_checkpoints(model, weights, checkpoints)
    classifiers = {name: build_classifier(checkpoint) for name, checkpoint in read.items()}
    first = next(iter(classifiers.values()))
    for name, classifier in classifiers.items():
        _check(dataset, name, classifier, first)
    return AttackInputs(
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
    """Names of checkpoints and where their weights are."""
    if element == TRAINED:
        return {UNTRAINED if weights == UNTRAINED else TRAINED: weights}
    if element == UNTRAINED:
        return {UNTRAINED: UNTRAINED}
    folder = Path(element)
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("checkpoints/*.safetensors"))
    if not files:
        raise ValueError(
            f"checkpoints: {element!r} is no folder with *.safetensors files; accepted: {TRAINED}, {UNTRAINED}, "
            "and folders that sweeps/train_classifier.py --checkpoints writes"
        )
    return {_name(file): str(file) for file in files}


def _name(file: Path) -> str:
    if re.fullmatch(r"[A-Za-z0-9_.=-]+", file.stem):
        return file.stem
    raise ValueError(
        f"checkpoints: {file.name!r}; accepted are names of letters, digits and the signs _ . = -"
    )


def _check(dataset: Dataset, name: str, classifier: Classifier, first: Classifier) -> None:
    if classifier.num_classes != first.num_classes:
        raise ValueError(
            f"checkpoints: {name!r} has {classifier.num_classes} classes, another one {first.num_classes}"
        )
    probes = dataset.images(range(min(NUM_PROBES, len(dataset))), View.of(classifier))
    with torch.inference_mode():
        check_logits(classifier(torch.from_numpy(probes).float() / 255), f"checkpoint {name!r}")
