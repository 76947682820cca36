"""What an image processor of transformers does to a photograph, as our `Preprocessing`.

Processors have fields such as `size`, `crop_pct` and `resample`, but each class means its own thing by them. So
the likely meanings are tried: the processor and our `View` are shown two pictures, and the meaning that gives the
same numbers is taken. A processor that does something else is refused.

A processor resizes either with PIL, as we do, or with torchvision's antialiased resize of 8-bit tensors, whose
rounding differs by one of 255 levels in about a thousandth of the pixels. The one with PIL is asked, where there
is one.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from torch import Tensor

from attrib_core.classifiers.identity import Preprocessing
from attrib_core.datasets.view import MODES, View

INTERPOLATIONS = {2: "bilinear", 3: "bicubic"}  # by PIL's number
# Width and height of the pictures: an odd margin shows how a crop rounds, a small picture whether it is enlarged.
SIZES = ((403, 300), (37, 90))
LARGEST_DIFFERENCE, MEAN_DIFFERENCE = 1.1, 0.02  # in levels of 255: one level, in one of fifty pixels at most
LEVIT_RATIO = 256 / 224  # by which that processor enlarges before its crop


def preprocessing_of(folder: Path, channels: int) -> Preprocessing:
    """Return the preprocessing that does what the image processor stored in a folder does.

    Raises ValueError for one whose images are not square, and for one that does something else.
    """
    if channels not in MODES:
        raise ValueError(f"the network takes {channels} channels; accepted are 1 and 3")
    auto: Any = transformers.AutoImageProcessor
    processor = auto.from_pretrained(folder, backend="pil", trust_remote_code=False)
    pictures = [_picture(size, channels) for size in SIZES]
    expected = [_processed(processor, picture) for picture in pictures]
    side = expected[0].shape[-1]
    if any(each.shape != (channels, side, side) for each in expected):
        shapes = " and ".join(str(list(each.shape)) for each in expected)
        raise ValueError(
            f"{type(processor).__name__} gives images of {shapes}; accepted are square ones of {channels} "
            "channels, all of one size"
        )
    scaled = _scaling(processor, channels, side)
    for candidate in _candidates(processor, scaled):
        if all(_agree(candidate, *pair) for pair in zip(pictures, expected, strict=True)):
            return candidate
    raise ValueError(
        f"{type(processor).__name__} does something else than to resize (bilinear or bicubic), crop and scale: "
        f"size={_plain(processor.size)}; accepted are those that do no more"
    )


def _candidates(processor: Any, scaled: Preprocessing) -> Iterator[Preprocessing]:
    """Yield what the processor's fields may mean."""
    side, size = scaled.image_size, _plain(getattr(processor, "size", None))
    shortest = size.get("shortest_edge") or side
    crop_share = getattr(processor, "crop_pct", None) or 1.0
    resized = {
        shortest,
        int(shortest / crop_share),
        int(shortest * LEVIT_RATIO),
        size.get("height") or side,
        side,
    }
    interpolation = INTERPOLATIONS.get(int(getattr(processor, "resample", None) or 2))
    if interpolation is None:
        return
    for resize_size in sorted(resized, reverse=True):
        for crop_mode in ("squash", "center"):
            for rounding in ("down", "even"):
                yield replace(
                    scaled,
                    resize_size=resize_size,
                    crop_mode=crop_mode,
                    crop_rounding=rounding,
                    interpolation=interpolation,
                )


def _scaling(processor: Any, channels: int, side: int) -> Preprocessing:
    """Return mean and std: the processor's own numbers, or what they must be if it scales in another way."""
    blank = [Image.new(MODES[channels], (side, side), (level,) * channels) for level in (0, 255)]
    black, white = (_processed(processor, image).mean((1, 2)).double() for image in blank)
    scale = 1 / (white - black)
    found = Preprocessing(mean=_floats(-black * scale), std=_floats(scale), image_size=side)
    said = (getattr(processor, "image_mean", None), getattr(processor, "image_std", None))
    if all(isinstance(each, list | tuple) and len(each) == channels for each in said):
        mean, std = (tuple(float(number) for number in each or ()) for each in said)
        if np.allclose((*mean, *std), (*found.mean, *found.std), atol=1e-5):
            return replace(found, mean=mean, std=std)
    return found


def _agree(preprocessing: Preprocessing, picture: Image.Image, expected: Tensor) -> bool:
    """Return True if the picture becomes the tensor that is expected, to rounding."""
    pixels = torch.from_numpy(View.of_preprocessing(preprocessing).apply(picture).copy()).float() / 255
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (preprocessing.mean, preprocessing.std))
    levels = (expected - (pixels - mean) / std).abs() * std * 255
    return bool(levels.max() < LARGEST_DIFFERENCE and levels.mean() < MEAN_DIFFERENCE)


def _processed(processor: Any, picture: Image.Image) -> Tensor:
    tensor: Tensor = processor(picture, return_tensors="pt")["pixel_values"][0]
    return tensor.float()


def _picture(size: tuple[int, int], channels: int) -> Image.Image:
    """Return soft noise of a width and height, on which every shift and every filter shows."""
    coarse = np.random.default_rng(0).integers(0, 256, (size[1] // 6, size[0] // 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(MODES[channels])


def _plain(size: Any) -> dict[str, int]:
    """Return the sides that a processor names, which may be one number or an object of the library."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    return {name: int(side) for name, side in dict(size or {}).items() if side is not None}


def _floats(values: Tensor) -> tuple[float, ...]:
    return tuple(values.tolist())
