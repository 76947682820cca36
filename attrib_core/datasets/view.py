"""How an image is prepared for a classifier: size, number of channels, resizing and cropping."""

from dataclasses import dataclass, field
from typing import Self, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from attrib_core.classifiers import Classifier, Preprocessing
from attrib_core.classifiers.identity import CropMode

INTERPOLATIONS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}
CROP_MODES = get_args(CropMode)
MODES = {1: "L", 3: "RGB"}  # PIL's, by number of channels


@dataclass(frozen=True, kw_only=True)
class View:
    """The form in which a classifier sees an image; the fields of a crop are as in `Preprocessing`.

    Raises ValueError for settings that cannot be applied to an image.
    """

    image_size: int
    channels: int
    resize_size: int | None = None
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    fill: tuple[int, ...] = (0, 0, 0)  # of a border, one 8-bit number a channel
    crop_rounding: str = "even"

    def __post_init__(self) -> None:
        if self.image_size < 1:
            raise ValueError(f"image_size={self.image_size}: accepted are 1 and more")
        if self.channels not in MODES:
            raise ValueError(f"channels={self.channels}: accepted are 1 and 3")
        if self.resize_size is not None and self.resize_size < 1:
            raise ValueError(f"resize_size={self.resize_size}: accepted are 1 and more")
        for name, accepted in (("crop_mode", CROP_MODES), ("interpolation", tuple(INTERPOLATIONS))):
            if (value := getattr(self, name)) not in accepted:
                raise ValueError(f"{name}={value!r}: accepted are {', '.join(accepted)}")

    @classmethod
    def of(cls, classifier: Classifier) -> Self:
        """Return the view that a classifier was trained with."""
        return cls.of_preprocessing(classifier.preprocessing)

    @classmethod
    def of_preprocessing(cls, preprocessing: Preprocessing) -> Self:
        """Return the view of a preprocessing."""
        is_bordered = preprocessing.crop_mode == "border"
        return cls(
            image_size=preprocessing.image_size,
            channels=len(preprocessing.mean),
            resize_size=preprocessing.resize_size,
            crop_mode=preprocessing.crop_mode,
            interpolation=preprocessing.interpolation,
            fill=tuple(round(255 * mean) if is_bordered else 0 for mean in preprocessing.mean),
            crop_rounding=preprocessing.crop_rounding,
        )

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return pixels `[C, H, W]`; an image of another size is resized and cropped, one of this size is not.

        Raises ValueError for pixels that have no 8-bit meaning, such as floating point.
        """
        converted = _with_mode(image, MODES[self.channels])
        if converted.size != (self.image_size, self.image_size):
            resized = converted.resize(self.resized(converted.size), INTERPOLATIONS[self.interpolation])
            converted = self._crop(resized)
        pixels = np.asarray(converted).reshape(self.image_size, self.image_size, self.channels)
        return pixels.transpose(2, 0, 1)

    def resized(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the width and height to which an image of that size is resized before the crop."""
        width, height = size
        side = self.image_size if self.resize_size is None else self.resize_size
        if self.crop_mode == "squash":
            return side, side
        if self.crop_mode == "border":  # rounds as timm does
            ratio = max(width, height) / side
            return max(1, round(width / ratio)), max(1, round(height / ratio))
        longer = int(side * max(size) / min(size))  # rounds as torchvision does
        return (side, longer) if width <= height else (longer, side)

    def boxes(self, corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
        """Return boxes `[n, 4]`, left, top, right and bottom, of an image of that size in pixels of its view.

        They are cut to the view; those outside it are left out.
        """
        if size != (self.image_size, self.image_size):
            resized = self.resized(size)
            scale = np.array([after / before for after, before in zip(resized, size, strict=True)])
            margins = np.array([self._margin(side - self.image_size) for side in resized])
            corners = corners * np.tile(scale, 2) - np.tile(margins, 2)
        cut = np.clip(corners, 0, self.image_size)
        return cut[(cut[:, 2] > cut[:, 0]) & (cut[:, 3] > cut[:, 1])]

    def enlarges(self, size: tuple[int, int]) -> bool:
        """Return True if an image of that size has fewer pixels on a side than it is resized to."""
        if size == (self.image_size, self.image_size):
            return False
        return any(after > before for after, before in zip(self.resized(size), size, strict=True))

    def _crop(self, image: Image.Image) -> Image.Image:
        left, top = (self._margin(side - self.image_size) for side in image.size)
        if min(image.size) >= self.image_size:
            return image.crop((left, top, left + self.image_size, top + self.image_size))
        canvas = Image.new(image.mode, (self.image_size, self.image_size), self._fill(image.mode))
        canvas.paste(image, (-left, -top))
        return canvas

    def _margin(self, excess: int) -> int:
        """Return the pixels to cut off on the left or on top, negative for a border."""
        if excess < 0:
            return -(-excess // 2)
        return excess // 2 if self.crop_rounding == "down" else round(excess / 2)

    def _fill(self, mode: str) -> int | tuple[int, ...]:
        return self.fill[0] if mode == "L" else self.fill


@dataclass(frozen=True, kw_only=True)
class MeasuringView(View):
    """A view that keeps the width and height of each image that it is applied to."""

    sizes: list[tuple[int, int]] = field(default_factory=list, compare=False)

    def apply(self, image: Image.Image) -> NDArray[np.uint8]:
        self.sizes.append(image.size)
        return super().apply(image)


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
