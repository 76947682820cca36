"""What a classifier is, apart from its weights: its name, its preprocessing and its labels."""

from dataclasses import dataclass
from typing import Literal, Self

CropMode = Literal["center", "squash", "border"]
CropRounding = Literal["even", "down"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """The images that a model expects; `mean` and `std` have one number a channel, for pixels in [0, 1].

    A photograph is resized, then the centre of `image_size` is cut out; where it is smaller, a border is added.
    `crop_mode` says which of its sides becomes `resize_size`: the shorter one ("center"), both ("squash", which
    changes the aspect ratio), or the longer one ("border", in the colour of `mean`). `crop_rounding` says where a
    crop begins whose margin is an odd number of pixels: half a pixel is rounded to the even number ("even", as in
    torchvision and timm) or left out ("down", as in transformers).
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int
    resize_size: int | None = None  # `image_size` if None
    crop_mode: CropMode = "center"
    interpolation: str = "bicubic"
    crop_rounding: CropRounding = "even"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Names of the classes; `wnids` (WordNet ids) is empty unless they are those of ImageNet or a part of it."""

    class_names: tuple[str, ...]
    wnids: tuple[str, ...] = ()

    @classmethod
    def numbered(cls, num_classes: int) -> Self:
        """Return the labels "0", "1", ... of classes without names."""
        return cls(class_names=tuple(str(index) for index in range(num_classes)))

    def difference(self, other: "Labels") -> str | None:
        """Return in words how the classes differ from other ones; None if they are the same in the same order.

        Case and punctuation do not matter, nor which of a class's names, separated by commas, is given. Classes
        that are only numbered are taken to be the other's.
        """
        ours, theirs = len(self.class_names), len(other.class_names)
        if ours != theirs:
            return f"{ours} classes, not {theirs}"
        numbers = Labels.numbered(ours).class_names
        if numbers in (self.class_names, other.class_names):
            return None
        both_have_wnids = len(self.wnids) == len(other.wnids) == ours
        own, others = (self.wnids, other.wnids) if both_have_wnids else (self.class_names, other.class_names)
        for index, (name, expected) in enumerate(zip(own, others, strict=True)):
            if _spellings(name).isdisjoint(_spellings(expected)):
                return f"class {index} called {name!r}, not {expected!r}"
        return None


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A classifier's name, digest, preprocessing and labels; `digest` is that of its weights (`state_digest`)."""

    name: str
    digest: str
    preprocessing: Preprocessing
    labels: Labels


def _spellings(names: str) -> set[str]:
    words = (*names.split(","), names)
    return {"".join(filter(str.isalnum, word.casefold())) or word for word in words}
