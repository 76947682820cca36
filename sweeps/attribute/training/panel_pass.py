"""A panel of images, and a look at it: its logits and attributions at the weights of this moment."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from attrib_core.attribution import AttributionSettings, Target, method_named, scores_named
from attrib_core.attribution.scores import Scored
from attrib_core.attribution.subject import Subject, clean_pass, explained_classes
from attrib_core.capture import captured, recorder_for
from attrib_core.classifiers.checks import check_logits
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, probability_of
from attrib_core.training import SUMMED_METHODS

# One forward and backward pass a state: cheaper as the training passes than to train again for it.
ONE_PASS_METHODS = frozenset(
    {
        "gradient",
        "abs_gradient_x_input",
        "gradient_x_input",
        "loss_gradient",
        "loss_gradient_x_input",
        *SUMMED_METHODS,
    }
)


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Images `[P, C, H, W]` in [0, 1] with their labels, on the device, and where they are from."""

    indices: tuple[int, ...]
    pixels: NDArray[np.uint8]  # [P, C, H, W]
    images: Tensor
    labels: Tensor

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`[C, H, W]`."""
        return self.pixels.shape[1], self.pixels.shape[2], self.pixels.shape[3]

    @classmethod
    def read(cls, dataset: Dataset, indices: Sequence[int], view: View, execution: Execution) -> "Panel":
        """Read images of a data set by index."""
        pixels = dataset.images(indices, view)
        return cls(
            indices=tuple(indices),
            pixels=pixels,
            images=execution.images(torch.from_numpy(pixels)).float() / 255,
            labels=execution.to_device(torch.from_numpy(dataset.labels[list(indices)]).long()),
        )


@dataclass(frozen=True, kw_only=True)
class FollowSettings:
    """What is computed at a state. `every` is in updates; sums over training take every state."""

    methods: tuple[str, ...]
    target: Target
    every: int
    attribution: AttributionSettings
    scores: tuple[str, ...] = ()

    @property
    def methods_by_state(self) -> tuple[str, ...]:
        """Those with an attribution of their own at each state."""
        return tuple(method for method in self.methods if method not in SUMMED_METHODS)

    @property
    def summed_methods(self) -> tuple[str, ...]:
        """Those that add up over states."""
        return tuple(method for method in self.methods if method in SUMMED_METHODS)


@dataclass(frozen=True, kw_only=True)
class Look:
    """What was seen at one state, on the CPU."""

    logits: Tensor  # [P, K]
    values: dict[str, Tensor]  # [P, C, H, W] by method
    scores: dict[str, dict[str, Tensor]]  # [P] by method and column

    def prediction(self) -> Tensor:
        """Return the classes `[P]` of the largest logits."""
        return self.logits.argmax(1)

    def confidence(self) -> Tensor:
        """Return the softmax probabilities `[P]` of the predictions."""
        return probability_of(self.logits, self.prediction())


class PanelPass:
    """Attributes a panel by some methods, without a wait of the host.

    All that comes of it is packed into one tensor, so that it comes down in one copy.
    """

    def __init__(
        self,
        model: PreparedModel,
        panel: Panel,
        settings: FollowSettings,
        methods: Sequence[str],
        *,
        is_scored: bool = False,
    ) -> None:
        self._model, self._panel, self._settings = model, panel, settings
        self._methods = {name: method_named(name) for name in methods}
        self._scored = settings.methods_by_state if is_scored else ()
        self._scores = scores_named(settings.scores if is_scored else ())
        # Others choose images to look at by their content, draw random numbers on the CPU, or are not ours.
        is_one_pass = ONE_PASS_METHODS.issuperset(methods) and not self._scores
        recorder = recorder_for(model.execution) if is_one_pass else None
        self._run: Callable[[], Tensor] = captured(self._packed, recorder, "attributions of the panel")
        self._is_overwritten = recorder is not None

    def __call__(self) -> Tensor:
        """Return what the panel shows now, packed into float32 numbers `[L]` on the device."""
        packed = self._run()
        return packed.clone() if self._is_overwritten else packed

    def look(self, packed: Tensor) -> Look:
        """Return what was packed, from the CPU."""
        shape = len(self._panel.indices), *self._panel.image_shape
        columns = [column for score in self._scores.values() for column in score.columns]
        sizes = [torch.Size(shape).numel()] * len(self._methods)
        sizes += [shape[0] * len(self._scored)] * len(columns)
        logits, *parts = torch.split(packed, [len(packed) - sum(sizes), *sizes])
        values, scores = parts[: len(self._methods)], parts[len(self._methods) :]
        tables = {
            column: each.view(shape[0], len(self._scored))
            for column, each in zip(columns, scores, strict=True)
        }
        return Look(
            logits=logits.view(shape[0], -1),
            values={name: each.view(shape) for name, each in zip(self._methods, values, strict=True)},
            scores={
                name: {column: table[:, place] for column, table in tables.items()}
                for place, name in enumerate(self._scored)
            },
        )

    def check(self, look: Look) -> None:
        """Raise ValueError for logits that are no numbers, or probabilities."""
        check_logits(look.logits, self._model.classifier.name)

    def _packed(self) -> Tensor:
        model, panel, settings = self._model, self._panel, self._settings
        wanted = {method.gradient_of for method in self._methods.values()}
        logits, gradients = clean_pass(
            model, panel.images, panel.labels, settings.target, wanted, is_checked=False
        )
        subject = Subject(
            model=model,
            settings=settings.attribution,
            target=settings.target,
            images=panel.images,
            keys=panel.indices,
            classes=explained_classes(settings.target, logits, panel.labels),
            labels=panel.labels,
            logits=logits,
            gradients=gradients,
        )
        values = {name: method.values(subject).detach().float() for name, method in self._methods.items()}
        scores = self._scores_of(subject, values)
        return torch.cat([each.float().reshape(-1) for each in (logits, *values.values(), *scores)])

    def _scores_of(self, subject: Subject, values: Mapping[str, Tensor]) -> list[Tensor]:
        """Return the numbers `[P, M]` of each column of the scores."""
        if not self._scores:
            return []
        scored = Scored(
            subject=subject,
            methods={name: self._methods[name] for name in self._scored},
            values={name: values[name].contiguous() for name in self._scored},
            classes=subject.logits.argmax(1),
        )
        return [
            found[column]
            for score in self._scores.values()
            for found in [score(scored)]
            for column in score.columns
        ]
