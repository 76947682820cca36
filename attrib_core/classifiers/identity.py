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


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A classifier's name, digest, preprocessing and labels; `digest` is that of its weights (`state_digest`)."""

    name: str
    digest: str
    preprocessing: Preprocessing
    labels: Labels
