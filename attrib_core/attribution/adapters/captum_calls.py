"""How each method of captum is called: its settings, under captum's names, and what it needs besides.

Baselines are a pixel's value, black unless given. Methods over features have squares of pixels as features, all
channels of one together: of single pixels there are too many.
"""

import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.utils.data import DataLoader

from attrib_core.attribution.adapters.foreign import PaddedNetwork
from attrib_core.attribution.adapters.layers import last_convolution, named_layer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # deprecations of what captum imports
    from captum import attr

SEGMENTS_PER_SIDE = 7

Count = Annotated[int, Field(ge=1, strict=True)]
Pixel = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)]
Spread = Annotated[float, Field(ge=0, allow_inf_nan=False, strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Interpolation = Literal["nearest", "bilinear", "bicubic", "area"]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What captum shall explain: images `[N, C, H, W]` and the classes `[N]` whose logit or loss it is."""

    where: str  # how errors name the method
    network: PaddedNetwork
    images: Tensor
    classes: Tensor
    explains_loss: bool
    batch_size: int  # images that the network sees at once

    @property
    def answer(self) -> dict[str, Any]:
        """captum's keywords for the number that is explained."""
        if self.explains_loss:
            return {"additional_forward_args": (self.classes,)}
        return {"target": self.classes}

    @property
    def perturbations_at_once(self) -> int:
        return max(1, self.batch_size // len(self.images))

    def layer(self, name: str | None) -> nn.Module:
        """Return the layer of that name, or the last convolution."""
        if name is None:
            name, _ = last_convolution(self.where, self.network.model, *self.images.shape[-2:])
        return named_layer(self.where, self.network.network, name)

    def segments(self, size: int | None) -> Tensor:
        """Return the number of each pixel's square, `[1, 1, H, W]`. Raises ValueError for too large a one."""
        height, width = self.images.shape[-2:]
        size = segment_side(self.where, self.shortest_side, size)
        rows, columns = torch.arange(height) // size, torch.arange(width) // size
        numbers = rows[:, None] * (int(columns[-1]) + 1) + columns
        return numbers[None, None].to(self.images.device)

    @property
    def shortest_side(self) -> int:
        return min(self.images.shape[-2:])


def segment_side(where: str, side: int, segment_size: int | None = None) -> int:
    """Return the side of a square of pixels. Raises ValueError for one that is larger than the images."""
    size = max(1, side // SEGMENTS_PER_SIDE) if segment_size is None else segment_size
    if size > side:
        raise ValueError(f"{where}: segment_size={size}; accepted are 1 to {side}")
    return size


def window(
    where: str, side: int, window_size: int | None = None, stride: int | None = None
) -> tuple[int, int]:
    """Return size and stride of the occluded window. Raises ValueError for what does not fit images or window."""
    size = max(1, side // SEGMENTS_PER_SIDE) if window_size is None else window_size
    if size > side:
        raise ValueError(f"{where}: window_size={size}; accepted are 1 to {side}")
    step = max(1, size // 2) if stride is None else stride
    if step > size:
        raise ValueError(f"{where}: stride={step}; accepted are 1 to window_size={size}")
    return size, step


def saliency(asked: Asked, *, abs: Flag = True) -> Any:  # noqa: A002  # captum's name
    return attr.Saliency(asked.network).attribute(asked.images, abs=abs, **asked.answer)


def input_x_gradient(asked: Asked) -> Any:
    return attr.InputXGradient(asked.network).attribute(asked.images, **asked.answer)


def integrated_gradients(
    asked: Asked,
    *,
    n_steps: Count = 50,
    method: Literal[
        "gausslegendre", "riemann_left", "riemann_right", "riemann_middle", "riemann_trapezoid"
    ] = "gausslegendre",
    baselines: Pixel = 0.0,
    multiply_by_inputs: Flag = True,
) -> Any:
    captum = attr.IntegratedGradients(asked.network, multiply_by_inputs)
    return captum.attribute(
        asked.images,
        baselines,
        n_steps=n_steps,
        method=method,
        internal_batch_size=max(asked.batch_size, len(asked.images)),
        **asked.answer,
    )


def deep_lift(
    asked: Asked, *, baselines: Pixel = 0.0, multiply_by_inputs: Flag = True, eps: Spread = 1e-10
) -> Any:
    captum = attr.DeepLift(asked.network, multiply_by_inputs, eps)
    return captum.attribute(asked.images, baselines, **asked.answer)


def guided_backprop(asked: Asked) -> Any:
    return attr.GuidedBackprop(asked.network).attribute(asked.images, **asked.answer)


def deconvolution(asked: Asked) -> Any:
    return attr.Deconvolution(asked.network).attribute(asked.images, **asked.answer)


def layer_grad_cam(
    asked: Asked,
    *,
    layer: str | None = None,
    relu_attributions: Flag = False,
    interpolate_mode: Interpolation = "bilinear",
) -> Any:
    captum = attr.LayerGradCam(asked.network, asked.layer(layer))
    values = captum.attribute(asked.images, relu_attributions=relu_attributions, **asked.answer)
    _check_map(asked, values)
    size = tuple(asked.images.shape[-2:])
    return attr.LayerAttribution.interpolate(values, size, interpolate_mode)


def guided_grad_cam(
    asked: Asked, *, layer: str | None = None, interpolate_mode: Interpolation = "nearest"
) -> Any:
    captum = attr.GuidedGradCam(asked.network, asked.layer(layer))
    values = captum.attribute(asked.images, interpolate_mode=interpolate_mode, **asked.answer)
    _check_map(asked, values)
    return values


def occlusion(
    asked: Asked, *, window_size: Count | None = None, stride: Count | None = None, baselines: Pixel = 0.0
) -> Any:
    channels = asked.images.shape[1]
    size, step = window(asked.where, asked.shortest_side, window_size, stride)
    return attr.Occlusion(asked.network).attribute(
        asked.images,
        sliding_window_shapes=(channels, size, size),
        strides=(channels, step, step),
        baselines=baselines,
        perturbations_per_eval=asked.perturbations_at_once,
        **asked.answer,
    )


def feature_ablation(asked: Asked, *, segment_size: Count | None = None, baselines: Pixel = 0.0) -> Any:
    return attr.FeatureAblation(asked.network).attribute(
        asked.images,
        baselines,
        feature_mask=asked.segments(segment_size),
        perturbations_per_eval=asked.perturbations_at_once,
        **asked.answer,
    )


def kernel_shap(
    asked: Asked, *, segment_size: Count | None = None, baselines: Pixel = 0.0, n_samples: Count = 25
) -> Any:
    captum = attr.KernelShap(asked.network)
    captum.interpretable_model = LeastSquares()
    return captum.attribute(
        asked.images,
        baselines,
        feature_mask=asked.segments(segment_size),
        n_samples=n_samples,
        perturbations_per_eval=asked.batch_size,
        **asked.answer,
    )


def gradient_shap(
    asked: Asked,
    *,
    baselines: Pixel = 0.0,
    n_samples: Count = 5,
    stdevs: Spread = 0.0,
    multiply_by_inputs: Flag = True,
) -> Any:
    captum = attr.GradientShap(asked.network, multiply_by_inputs)
    start = torch.full_like(asked.images[:1], baselines)
    return captum.attribute(asked.images, start, n_samples=n_samples, stdevs=stdevs, **asked.answer)


class LeastSquares:
    """The weighted linear regression of Kernel SHAP, with an intercept; the smallest of several solutions.

    It stands in for scikit-learn's, which captum would import.
    """

    def __init__(self) -> None:
        self._coefficients: NDArray[np.float64] = np.zeros(0)

    def fit(self, train_data: DataLoader[Any]) -> dict[str, float]:
        """Fit targets to features under weights; captum calls it."""
        parts = [[each.double().cpu().numpy() for each in batch] for batch in train_data]
        features, targets, weights = (np.concatenate(each) for each in zip(*parts, strict=True))
        targets, weights = targets.reshape(-1), weights.reshape(-1)
        features = features - np.average(features, axis=0, weights=weights)
        targets = targets - np.average(targets, weights=weights)
        root = np.sqrt(weights)
        self._coefficients = np.linalg.lstsq(features * root[:, None], targets * root, rcond=None)[0]
        return {}

    def representation(self) -> Tensor:
        """Return the coefficients `[1, M]`; captum calls it."""
        return torch.from_numpy(self._coefficients)[None].float()


def _check_map(asked: Asked, values: object) -> None:
    if isinstance(values, Tensor) and values.ndim == 4:
        return
    found = list(values.shape) if isinstance(values, Tensor) else type(values).__name__
    raise ValueError(
        f"{asked.where}: the layer gives {found}; accepted is one of [N, C, H, W], as a convolution"
    )
