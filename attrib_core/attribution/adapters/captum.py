"""captum's attribution methods by reference: `captum:DeepLift`, `captum:LayerGradCam:layer=features.3`.

What captum is asked stands in `captum_calls.py`. Here: which names there are, for which networks, and in which
batches. captum's values are those of captum called directly with the same batch, to rounding.
"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.attribution.adapters import captum_calls as calls
from attrib_core.attribution.adapters.captum_calls import Asked
from attrib_core.attribution.adapters.foreign import PaddedNetwork, run_foreign
from attrib_core.attribution.adapters.layers import LAYER, last_convolution, named_layer
from attrib_core.attribution.adapters.rewired import rewired
from attrib_core.attribution.method import Method
from attrib_core.attribution.settings import TARGETS
from attrib_core.attribution.subject import Subject
from attrib_core.errors import in_one_line
from attrib_core.execution import is_device_failure
from attrib_core.prepared import PreparedModel, joined
from attrib_core.references import Reference, typed_settings, unknown

Settings = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A method of captum: how it is asked, and what is known about it."""

    call: Callable[..., Any]
    is_signed: Callable[[Settings], bool] = lambda _settings: True
    of_inputs: Callable[[Settings], bool] = lambda settings: settings.get("multiply_by_inputs", True)
    explains_loss: bool = True
    hooks: bool = False  # changes gradients within the network: what it cannot do is found by trying
    needs_relu: bool = False
    doubles_batch: bool = False  # shows the network its images and their baselines in one batch


def _never(_settings: Settings) -> bool:
    return False


ENTRIES: dict[str, Entry] = {
    "Saliency": Entry(
        call=calls.saliency, is_signed=lambda settings: not settings.get("abs", True), of_inputs=_never
    ),
    "InputXGradient": Entry(call=calls.input_x_gradient),
    "IntegratedGradients": Entry(call=calls.integrated_gradients),
    "DeepLift": Entry(call=calls.deep_lift, explains_loss=False, hooks=True, doubles_batch=True),
    "GuidedBackprop": Entry(call=calls.guided_backprop, hooks=True, needs_relu=True, of_inputs=_never),
    "Deconvolution": Entry(call=calls.deconvolution, hooks=True, needs_relu=True, of_inputs=_never),
    "LayerGradCam": Entry(
        call=calls.layer_grad_cam,
        is_signed=lambda settings: not settings.get("relu_attributions", False),
        of_inputs=_never,
        hooks=True,
    ),
    "GuidedGradCam": Entry(call=calls.guided_grad_cam, hooks=True, needs_relu=True, of_inputs=_never),
    "Occlusion": Entry(call=calls.occlusion),
    "FeatureAblation": Entry(call=calls.feature_ablation),
    "KernelShap": Entry(call=calls.kernel_shap),
    "GradientShap": Entry(call=calls.gradient_shap),
}


def find_method(field: str, reference: Reference) -> Method:
    """Return the method of `captum:NAME`. Raises ValueError for another name and for settings that cannot be."""
    where = f"{field}={str(reference)!r}"
    if len(reference.rest) != 1:
        raise ValueError(f"{where}: accepted is captum:NAME, of {', '.join(ENTRIES)}")
    if reference.rest[0] not in ENTRIES:
        raise ValueError(f"{where}: captum: {unknown('method', reference.rest[0], ENTRIES)}")
    entry = ENTRIES[reference.rest[0]]
    settings = typed_settings(field, reference, entry.call, given=("asked",))
    captum = _Captum(reference, entry, settings)
    return Method(
        captum.values,
        describe=lambda _settings: f"captum {version('captum')}",
        is_signed=entry.is_signed(settings),
        of_inputs=entry.of_inputs(settings),
        draws_by_batch=True,
        targets=TARGETS if entry.explains_loss else ("predicted", "label"),
        check=captum.check,
        given=settings,
    )


@dataclass(frozen=True)
class _Captum:
    """One of captum's methods under its settings."""

    reference: Reference
    entry: Entry
    settings: Settings

    @property
    def where(self) -> str:
        return f"methods={str(self.reference)!r}"

    def values(self, subject: Subject) -> Tensor:
        """Return the method's values `[B, C, H, W]`."""
        self._refuse(subject.model)
        return run_foreign(subject, str(self.reference), self._of_batch)

    def check(self, model: PreparedModel) -> tuple[str, ...]:
        """Return notes about a model. Raises ValueError for one that the method cannot explain."""
        self._refuse(model)
        notes: list[str] = []
        side = model.classifier.image_size
        if self.entry.call is calls.occlusion:
            calls.window(self.where, side, self.settings.get("window_size"), self.settings.get("stride"))
        calls.segment_side(self.where, side, self.settings.get("segment_size"))
        if self._has_layer and self.settings.get(LAYER) is None:
            name, (height, width) = last_convolution(self.where, model, side, side)
            notes.append(
                f"{self.reference}: layer={name}, the last convolution above one pixel: {height} × {width}"
            )
        if self.entry.hooks:
            notes += self._try(model)
        return tuple(notes)

    @property
    def _has_layer(self) -> bool:
        return self.entry.call in (calls.layer_grad_cam, calls.guided_grad_cam)

    def _refuse(self, model: PreparedModel) -> None:
        """Raise ValueError for what a look at the network shows."""
        classifier = model.classifier
        if self.settings.get(LAYER) is not None:
            named_layer(self.where, classifier.network, self.settings[LAYER])
        if self.entry.needs_relu and not any(
            isinstance(each, nn.ReLU) for each in classifier.network.modules()
        ):
            raise ValueError(
                f"{self.where}: {classifier.name} has no nn.ReLU module, whose gradient it would change; "
                "accepted are networks that have some (not as functions, and of no other kind)"
            )

    def _try(self, model: PreparedModel) -> list[str]:
        """Explain an image of grey. Returns a note where the sum of DeepLift's values is not what it promises."""
        classifier = model.classifier
        side = classifier.image_size
        images = model.images(torch.full((1, classifier.channels, side, side), 0.5))
        logits = model.exact_logits(images)
        classes = logits.argmax(1)
        with model.lent(self.where) as lent:
            values = self._asked(PaddedNetwork(lent), images, classes, "predicted")
        if self.entry.call is not calls.deep_lift or not self.settings.get("multiply_by_inputs", True):
            return []
        start = torch.full_like(images, self.settings.get("baselines", 0.0))
        change = (logits - model.exact_logits(start))[0, int(classes)]
        gap = float((values.sum() - change).abs())
        if gap <= 0.01 * max(1.0, float(change.abs())):
            return []
        return [
            f"{self.reference}: on an image of grey the values add up to {values.sum():.3g}, the logit changes "
            f"by {change:.3g}: DeepLift promises that these agree, and here captum's rules do not keep it"
        ]

    def _of_batch(self, network: PaddedNetwork, part: Subject) -> Tensor:
        """Return values of a batch, in pieces that the network sees at once."""
        size = self._num_images(part.model)
        pieces = zip(torch.split(part.images, size), torch.split(part.classes, size), strict=True)
        return joined([self._asked(network, images, classes, part.target) for images, classes in pieces])

    def _asked(self, network: PaddedNetwork, images: Tensor, classes: Tensor, target: str) -> Tensor:
        """Return values of at most as many images as the network sees at once. Raises ValueError in one line."""
        count, size, model = len(images), self._num_images(network.model), network.model
        if self.entry.doubles_batch:
            model = PreparedModel(model.classifier, model.execution, 2 * size)
        if self.entry.hooks:  # they see the batch of the network, so that none may be added within
            images, classes = _padded(images, size), _padded(classes, size)
        asked = Asked(
            where=self.where,
            network=PaddedNetwork(model),
            images=images.clone().requires_grad_(),
            classes=classes,
            explains_loss=target == "loss",
            batch_size=model.batch_size,
        )
        try:
            with warnings.catch_warnings(), rewired(model.classifier) if self.entry.hooks else nullcontext():
                warnings.simplefilter("ignore")  # captum explains its hooks, each time
                values: Tensor = self.entry.call(asked, **self.settings)
        except Exception as error:  # a user's network may raise anything under hooks
            if is_device_failure(error) or str(error).startswith(self.where):
                raise
            raise ValueError(
                f"{self.where}: it fails on {model.classifier.name}: {in_one_line(error)}"
            ) from error
        return values.detach()[:count].expand(-1, images.shape[1], -1, -1)

    def _num_images(self, model: PreparedModel) -> int:
        """Return how many images captum gets at once."""
        return max(1, model.batch_size // 2) if self.entry.doubles_batch else model.batch_size


def _padded(tensor: Tensor, size: int) -> Tensor:
    """Return a tensor `[N, ...]` as `[size, ...]`, with copies of its last row."""
    missing = size - len(tensor)
    return torch.cat([tensor, tensor[-1:].expand(missing, *tensor.shape[1:])]) if missing > 0 else tensor
