"""How an image is prepared for a classifier: size, number of channels, resizing and cropping."""

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attrib_core.classifiers import Classifier, Preprocessing

INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
MODES = {1: "L", 3: "RGB"}  # PIL's, by number of channels


@dataclass(frozen=True, kw_only=True)
class View:
    """The form in which a classifier sees an image; `crop_fraction` as in `Preprocessing`.

    Raises ValueError for settings that cannot be applied to an image.
    """

    image_size: int
    channels: int
    crop_fraction: float = 1.0
    interpolation: str = "bicubic"

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size={self.image_size}: accepted are 1 and more")
        if self.channels not in MODES:
            raise ValueError(f"channels={self.channels}: accepted are 1 and 3")
        if not 0 < self.crop_fraction <= 1:
            raise ValueError(f"crop_fraction={self.crop_fraction}: accepted are fractions in (0, 1]")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(
                f"interpolation={self.interpolation!r}: accepted are {', '.join(INTERPOLATIONS)}"
            )

    @classmethod
    def of(cls, classifier: Classifier) -> Self:
        """Return the view that a classifier was trained with."""
        return cls.of_preprocessing(classifier.preprocessing)

    @classmethod
    def of_preprocessing(cls, preprocessing: Preprocessing) -> Self:
        """Return the view of a preprocessing."""
        return cls(
            image_size=preprocessing.image_size,
            channels=len(preprocessing.mean),
            crop_fraction=preprocessing.crop_fraction,
            interpolation=preprocessing.interpolation,
        )

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return pixels `[C, H, W]`; an image of another size is resized and cropped, one of this size is not.

        Raises ValueError for pixels that have no 8-bit meaning, such as floating point.
        """
        converted = _with_mode(image, MODES[self.channels])
        if converted.size != (self.image_size, self.image_size):
            converted = self._crop(self._resize(converted))
        pixels = np.asarray(converted).reshape(self.image_size, self.image_size, self.channels)
        return pixels.transpose(2, 0, 1)

    def _resize(self, image: Image.Image) -> Image.Image:
        """Resize so that the crop is `crop_fraction` of the shorter side; rounds as torchvision does."""
        shorter = round(self.image_size / self.crop_fraction)
        longer = int(shorter * max(image.size) / min(image.size))
        size = (shorter, longer) if image.width <= image.height else (longer, shorter)
        return image.resize(size, INTERPOLATIONS[self.interpolation])

    def _crop(self, image: Image.Image) -> Image.Image:
        left = round((image.width - self.image_size) / 2)
        top = round((image.height - self.image_size) / 2)
        return image.crop((left, top, left + self.image_size, top + self.image_size))


def _with_mode(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating point, of unknown range")
    if image.mode.startswith("I"):
        image = _from_16_bits(image)
    elif image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")  # its alpha is then dropped, as for any other image
    return image if image.mode == mode else image.convert(mode)


def _from_16_bits(image: Image.Image) -> Image.Image:
    """Scale grey values from 16 bits to 8; PIL would clip them."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(f"its grey values reach from {values.min()} to {values.max()}, beyond 16 bits")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))
