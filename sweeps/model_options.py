"""Options that say which classifier a sweep uses and, for weights of one's own, how they were trained."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field

from attrib_core.classifiers import Checkpoint, Combination, Description, canonical_name, read_checkpoint
from attrib_core.classifiers.registry import member_names, split_weights
from sweeps.cli import SweepOptions
from sweeps.record import IMAGES_OF


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A classifier's reference, its weights, and what the user says in place of what is known of them."""

    name: str  # as the user typed it, with the path of a file or folder
    weights: str | None
    description: Description
    ensemble: Combination = "logits"

    def read(self, weights: str | None = None) -> Checkpoint:
        """Read the weights, or other ones of the same classifier."""
        weights = weights or self.weights
        if not self.is_ensemble:
            return read_checkpoint(self.name, weights=weights, description=self.description)
        return read_checkpoint(
            self.name, weights=weights, description=self.description, ensemble=self.ensemble
        )

    @property
    def is_ensemble(self) -> bool:
        """True for a name such as `A+B`."""
        return len(member_names(self.name)) > 1

    def settings(self) -> dict[str, Any]:
        """Return what sweep.json records, so that a run directory refuses another model or description."""
        said = self.description
        recorded = {
            "model": canonical_name(self.name),
            "mean": None if said.mean is None else list(said.mean),
            "std": None if said.std is None else list(said.std),
            "image_size": said.image_size,
            "channels": said.channels,
            "ensemble": self.ensemble if self.is_ensemble else None,
            "class_names": None if said.class_names is None else _names_in_short(said.class_names),
        }
        return {name: value for name, value in recorded.items() if value is not None}


def model_definitions(*checkpoints: Checkpoint) -> dict[str, str]:
    """Return which code and configuration networks are built from, for sweep.json; {} for this project's own."""
    return {f"model {each.name}": each.definition for each in checkpoints if each.definition is not None}


def image_definitions(checkpoint: Checkpoint) -> dict[str, str]:
    """Return how photographs are resized and cropped for a model, for sweep.json; {} if they are not cropped.

    It follows the published weights' configuration, which another version of a library may state otherwise.
    """
    images = checkpoint.preprocessing
    if images.resize_size is None:
        return {}
    mean, std = (",".join(f"{number:.6g}" for number in each) for each in (images.mean, images.std))
    rounding = "" if images.crop_rounding == "even" else f", crop rounded {images.crop_rounding}"
    return {
        f"{IMAGES_OF}{checkpoint.name}": (
            f"{images.image_size} of {images.resize_size}, {images.crop_mode}, {images.interpolation}, "
            f"mean {mean}, std {std}{rounding}"
        )
    }


class DescribedImages(SweepOptions):
    """How a classifier's images differ from those of the published weights."""

    mean: str | None = Field(
        None, description="By channel, as in training: `0.485,0.456,0.406`; the model's own if not given."
    )
    std: str | None = Field(None, description="By channel, as --mean.")
    channels: int | None = Field(None, ge=1, description="Of the images; as many as --mean has numbers.")

    def description(self) -> Description:
        """Return what is said of the images. Raises ValueError for what cannot be."""
        return describe_images(self.mean, self.std, self.described_size(), self.channels)

    def described_size(self) -> int | None:
        """Return the side of the images in training where the user says it."""
        return None


class ModelOptions(DescribedImages):
    """Which classifier, and how its images and classes differ from those of the published weights."""

    model: str = Field(description="The classifier.")
    weights: str | None = Field(None, description="Local weights file, or named weights.")
    ensemble: Combination = Field(
        "logits", description="How `--model A+B` is one classifier: means of logits, probabilities or losses."
    )
    class_names: Path | None = Field(None, description="File of the classes' names: one a line, or JSON.")

    def model_choice(self) -> ModelChoice:
        """Return the classifier that is asked for. Raises ValueError for a description that cannot be."""
        names = None if self.class_names is None else read_class_names(self.class_names)
        if len(member_names(self.model)) > 1:
            return ModelChoice(
                name=self.model,
                weights=self.weights,
                description=replace(self.description(), class_names=names),
                ensemble=self.ensemble,
            )
        if self.ensemble != "logits":
            raise ValueError(f"ensemble={self.ensemble!r}: --model {self.model!r} is no ensemble, A+B")
        name, weights = split_weights(self.model)  # `NAME:weights=FILE` is NAME with --weights FILE
        if weights is not None and self.weights is not None:
            raise ValueError(
                f"--weights: --model {self.model!r} names weights too; accepted is one of the two"
            )
        return ModelChoice(
            name=name,
            weights=weights or self.weights,
            description=replace(self.description(), class_names=names),
        )


def describe_images(
    mean: str | None, std: str | None, image_size: int | None, channels: int | None
) -> Description:
    """Return what options say of the images of a training. Raises ValueError for what cannot be."""
    return Description(
        mean=_numbers("mean", mean), std=_numbers("std", std), image_size=image_size, channels=channels
    )


def read_class_names(file: Path) -> tuple[str, ...]:
    """Return the names in a file: one a line, or a JSON list. Raises ValueError that names the file."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"class_names={str(file)!r}: cannot be read: {error}") from None
    is_json = text.lstrip().startswith(("[", "{"))
    names = _json_names(text) if is_json else tuple(line.strip() for line in text.rstrip().splitlines())
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(
            f"class_names={str(file)!r}: accepted are one name a line without empty lines, or a JSON list of names"
        )
    return names


def _json_names(text: str) -> tuple[str, ...]:
    try:
        content = json.loads(text)
    except ValueError:
        return ()
    return tuple(content) if isinstance(content, list) else ()


def _numbers(field: str, text: str | None) -> tuple[float, ...] | None:
    if text is None:
        return None
    try:
        return tuple(float(element) for element in text.split(","))
    except ValueError:
        raise ValueError(f"{field}={text!r}: accepted are numbers such as 0.485,0.456,0.406") from None


def _names_in_short(names: Any) -> str:
    digest = hashlib.sha256(json.dumps(list(names)).encode()).hexdigest()
    return f"{len(names)} names, SHA-256 {digest[:16]}"
