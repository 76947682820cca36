"""The `--checkpoints` of a sweep over images: sets of weights of one network, by name."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from attrib_core.classifiers import Checkpoint
from attrib_core.classifiers.loading import UNTRAINED
from attrib_core.classifiers.randomized import Randomization
from attrib_core.classifiers.weights_files import SUFFIXES, weights_files, weights_name
from sweeps.model_options import ModelChoice
from sweeps.ranges import parse_integers, parse_names

TRAINED = "trained"
# Weights whose last layers are re-drawn: `randomized:3`, `randomized:1-9`, `randomized:all`.
RANDOMIZED = "randomized"
ALL = "all"


def read_checkpoints(model: ModelChoice, text: str) -> dict[str, Checkpoint]:
    """Read the sets of weights of a list. Raises ValueError for what is none, and for two of one name."""
    checkpoints: dict[str, Checkpoint] = {}
    randomization = cache(lambda: _randomization(model))  # found when it is first asked for
    for element in parse_names("checkpoints", text):
        kind, _, layers = element.partition(":")
        found = (
            _randomized(element, layers, randomization())
            if kind == RANDOMIZED
            else {name: model.read(source) for name, source in _sources(element, model.weights).items()}
        )
        for name, checkpoint in found.items():
            if name in checkpoints:
                raise ValueError(
                    f"checkpoints: two are called {name!r}; accepted are weights and files that differ in name"
                )
            checkpoints[name] = checkpoint
    return checkpoints


def is_derived(checkpoint: str) -> bool:
    """Return True for weights that stand beside the trained ones to compare: untrained, or re-drawn in part."""
    return checkpoint == UNTRAINED or checkpoint.startswith(f"{RANDOMIZED}:")


def _randomization(model: ModelChoice) -> Randomization:
    if model.weights == UNTRAINED:
        raise ValueError(
            f"checkpoints: {RANDOMIZED} re-draws layers of trained weights; accepted is --weights of a trained "
            "network"
        )
    try:
        return Randomization.of(model.read())
    except ValueError as error:
        raise ValueError(f"checkpoints: {RANDOMIZED}: {error}") from None


def _randomized(element: str, layers: str, randomization: Randomization) -> dict[str, Checkpoint]:
    most = randomization.num_layers
    accepted = (
        f"{RANDOMIZED}:K of the last K layers, 1 to {most}, {RANDOMIZED}:1-{most}, and {RANDOMIZED}:{ALL}"
    )
    if layers == ALL:
        return {element: randomization.redrawn(most, element)}
    try:
        numbers = parse_integers("checkpoints", layers)
    except ValueError:
        numbers = ()
    if not numbers or not all(1 <= number <= most for number in numbers):
        raise ValueError(f"checkpoints: {element!r}; accepted are {accepted}")
    names = {number: f"{RANDOMIZED}:{number}" for number in numbers}
    return {name: randomization.redrawn(number, name) for number, name in names.items()}


def _sources(element: str, weights: str | None) -> dict[str, str | None]:
    """Return names of checkpoints and where their weights are."""
    if element == TRAINED:
        return {UNTRAINED if weights == UNTRAINED else TRAINED: weights}
    if element == UNTRAINED:
        return {UNTRAINED: UNTRAINED}
    folder = Path(element)
    files = weights_files(folder) or weights_files(folder / "checkpoints")
    if files:
        _check_names(element, files)
        return {_name(weights_name(file)): str(file) for file in files}
    if taped := sorted(folder.glob("tapes/*/checkpoints/*.safetensors")):
        return _taped(taped)
    raise ValueError(
        f"checkpoints: {element!r} is no folder with *.safetensors files, nor with {_others()} files; accepted: "
        f"{TRAINED}, {UNTRAINED}, {RANDOMIZED}:K (the last K layers re-drawn), folders that "
        "sweeps/train_classifier.py --checkpoints or another script writes, and run directories of "
        "sweeps/attribute_training.py"
    )


def _others() -> str:
    return ", ".join(f"*{suffix}" for suffix in SUFFIXES[1:])


def _check_names(folder: str, files: Sequence[Path]) -> None:
    """Raise ValueError for files that differ in their suffixes alone."""
    first: dict[str, Path] = {}
    for file in files:
        other = first.setdefault(weights_name(file), file)
        if other is not file:
            raise ValueError(
                f"checkpoints: {folder!r} has {other.name} and {file.name}; accepted are files that differ in name"
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
