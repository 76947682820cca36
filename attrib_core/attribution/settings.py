"""Targets of an explanation, and the settings of the methods."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

Target = Literal["predicted", "label", "loss"]
TARGETS: tuple[Target, ...] = get_args(Target)
BaselineName = Literal["black", "blurred", "uniform"]
BASELINES: tuple[BaselineName, ...] = get_args(BaselineName)
Upsampling = Literal["bilinear", "nearest", "bicubic"]
UPSAMPLINGS: tuple[Upsampling, ...] = get_args(Upsampling)
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class AttributionSettings:
    """Settings of the methods; lengths are in pixels.

    Occlusion blackens a square of `window_size`, moved by `stride`; None is a seventh of the image's shorter
    side, and half the window. Integrated gradients go from `baseline` to the image by `num_steps` points; "auto"
    doubles them until the sum of an image's values misses the change that it explains by at most the share
    `tolerance` of it. SmoothGrad takes `num_samples` copies under normal noise of standard deviation `noise`, in
    units of [0, 1]. Grad-CAM looks at `layer`, by default the last one that knows places, keeps the positive part
    if `relu`, and brings its map to the image's size by `upsample`. `seed` is part of the key of random numbers.
    Raises ValueError for values that cannot be.
    """

    window_size: int | None = None
    stride: int | None = None
    baseline: BaselineName = "black"
    num_steps: int | Literal["auto"] = 50
    tolerance: float = 0.01
    num_samples: int = 25
    noise: float = 0.15
    layer: str | None = None
    relu: bool = False
    upsample: Upsampling = "bilinear"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("window_size", "stride", "num_steps", "num_samples"):
            value = getattr(self, name)
            if value is None or (name == "num_steps" and value == AUTO):
                continue
            if isinstance(value, str) or value < 1:
                also = f", and {AUTO}" if name == "num_steps" else ""
                raise ValueError(f"{name}={value}: accepted are 1 and more{also}")
        if self.window_size is not None and self.stride is not None and self.stride > self.window_size:
            raise ValueError(
                f"stride={self.stride}: pixels between windows would never be occluded; "
                f"accepted are 1 to window_size={self.window_size}"
            )
        if self.baseline not in BASELINES:
            raise ValueError(f"baseline={self.baseline!r}: accepted are {', '.join(BASELINES)}")
        if self.upsample not in UPSAMPLINGS:
            raise ValueError(f"upsample={self.upsample!r}: accepted are {', '.join(UPSAMPLINGS)}")
        if not 0 < self.tolerance < 1:
            raise ValueError(f"tolerance={self.tolerance}: accepted are numbers between 0 and 1, a share")
        if not (math.isfinite(self.noise) and self.noise >= 0):
            raise ValueError(f"noise={self.noise}: accepted are numbers from 0, in units of [0, 1]")

    def window(self, height: int, width: int) -> tuple[int, int]:
        """Return size and stride of the occluded window on images of `height` × `width`.

        Raises ValueError where the window is larger than the image, or the stride than the window.
        """
        side = min(height, width)
        size = max(1, side // 7) if self.window_size is None else self.window_size
        stride = max(1, size // 2) if self.stride is None else self.stride
        if size > side:
            raise ValueError(f"window_size={size}: accepted are 1 to {side} on images of {height} × {width}")
        if stride > size:
            raise ValueError(f"stride={stride}: accepted are 1 to the window's {size}")
        return size, stride
