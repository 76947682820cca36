"""What a classifier is, apart from its weights: its name, its preprocessing and its labels."""

from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The images that a model expects; `mean` and `std` have one number a channel, for pixels in [0, 1]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    crop_fraction: float = 1.0  # of the resized photograph's shorter side, as the model was evaluated
    interpolation: str = "bicubic"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names of the classes; `wnids` (WordNet ids) is empty unless they are the 1,000 of ImageNet."""

    class_names: tuple[str, ...]
    wnids: tuple[str, ...] = ()

    @classmethod
    def numbered(cls, num_classes: int) -> Self:
        """Return the labels "0", "1", ... of classes without names."""
        return cls(class_names=tuple(str(index) for index in range(num_classes)))


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A classifier's name, digest, preprocessing and labels; `digest` is that of its weights (`state_digest`)."""

    name: str
    digest: str
    preprocessing: Preprocessing
    labels: Labels
