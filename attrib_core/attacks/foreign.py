"""Attacks that are not ours: of other libraries, and functions that users bring.

Such an attack may draw from the global generators of random numbers, and what it makes of an image may depend on
the images beside it. So it runs in a fork of the generators, seeded from the sweep's seed, its reference and the
key of the batch's first image, and batches are fixed parts of a shard. Where an image of a batch has to be left
out, the others may get other random numbers, always the same ones. Its passes are not filled up to the prepared
batch (`counted_model`). It is lent a copy of the model, which it must leave as it was. The attack sees one ε at a
time, so that the images of an ε do not depend on which others were asked for. At ε = 0 the image is the clean one;
nothing is run.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from traceback import extract_tb
from typing import Any

import torch
from torch import Tensor, nn

from attrib_core.attacks.batch import (
    AttackBatch,
    AttackSettings,
    Attempt,
    Clean,
    Failures,
    Method,
    Norm,
    Passes,
)
from attrib_core.attacks.counted_model import CountedModel
from attrib_core.attacks.loss_gradient import no_gradient
from attrib_core.errors import in_one_line
from attrib_core.execution import is_device_failure
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import derive_seed, global_randomness
from attrib_core.user_code.targets import failed_line

BEYOND = 1e-6  # what rounding may add to an image in [0, 1]


class ForeignAttackError(RuntimeError):
    """An attack of somebody else that failed, or gave what is no adversarial image."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an attack is asked for."""

    images: Tensor  # [B, C, H, W] in [0, 1], contiguous, of its own
    labels: Tensor  # [B]
    targets: Tensor | None  # [B]
    epsilon: float | None  # None for an attack that finds the minimum
    seed: int  # for attacks that want one; the global generators are seeded already


@dataclass(frozen=True, kw_only=True)
class Foreign(Method):
    """An attack by `run`, which returns adversarial images `[B, C, H, W]`."""

    reference: str
    run: Callable[[nn.Module, Request], object]
    definition: str  # which code it is
    where: str  # of whom an error says that it was theirs: `mine.py, line 12`, `foolbox.attacks.L2PGD`
    file: str | None = None  # the user's
    norm: Norm = "linf"
    seeks_minimum: bool = False
    takes_targets: bool = True
    needs_targets: bool = False
    given: Mapping[str, Any] = field(default_factory=dict)
    sees_neighbours = True

    def describe(self, settings: AttackSettings) -> str:
        return self.definition

    def attempt(
        self, model: PreparedModel, batch: AttackBatch, epsilons: Sequence[float], settings: AttackSettings
    ) -> Attempt:
        failures = Failures(batch)
        clean = no_gradient(model, batch, batch.images, failures)
        num_images, passes = len(batch.images), list[Passes]()
        asked = [None] if self.seeks_minimum else list(epsilons)
        own = [torch.nan] if self.seeks_minimum else list(epsilons)

        def points() -> Iterator[Tensor]:
            for epsilon in asked:
                images, counted = self._adversarial(model, batch, epsilon, settings, failures)
                passes.append(counted)
                yield images

        return Attempt(
            clean=Clean(batch.images, clean.logits),
            direction=None,
            epsilons=torch.tensor(own, dtype=torch.float64).expand(num_images, -1),
            points=points(),
            zero_gradient=clean.zero,
            fallbacks=[clean.fallback] * len(asked),
            passes=passes,
            failures=failures,
            found_norm=self.norm if self.seeks_minimum else None,
        )

    def _adversarial(
        self,
        model: PreparedModel,
        batch: AttackBatch,
        epsilon: float | None,
        settings: AttackSettings,
        failures: Failures,
    ) -> tuple[Tensor, Passes]:
        """Return the images of one ε and the passes of each; those that failed already stay as they are."""
        images = batch.images.clone()
        none = torch.zeros(len(images), dtype=torch.float64, device=images.device)
        rows = [row for row in range(len(images)) if row not in failures.reasons]
        if epsilon == 0 or not rows:
            return images, Passes(none, none)
        request = _request(
            batch, rows, epsilon, derive_seed(settings.seed, self.reference, batch.keys[rows[0]])
        )
        network, found = self._called(model, request)
        images[rows] = self._checked(found, batch.images[rows])
        forwards, backwards = none, none.clone()
        forwards[rows], backwards[rows] = network.passes_of(len(rows), images.device)
        return images, Passes(forwards, backwards)

    def _called(self, model: PreparedModel, request: Request) -> tuple[CountedModel, object]:
        """Return the network that the attack was lent, and what it returned. ValueError if it left it changed."""
        own = replace(request, images=request.images.clone(), labels=request.labels.clone())
        with (
            global_randomness(request.seed),
            torch.enable_grad(),
            model.lent(f"method={self.reference!r}: {self.where}") as lent,
        ):
            network = CountedModel(lent)
            try:
                return network, self.run(network, own)
            except (Exception, SystemExit) as error:
                if isinstance(error, Exception) and is_device_failure(error):
                    raise  # a smaller batch, or another process, may do
                raise ForeignAttackError(
                    f"method={self.reference!r}: {_place(error, self.file)}: {in_one_line(error)}"
                ) from error

    def _checked(self, found: object, clean: Tensor) -> Tensor:
        """Return the images, on the device of the clean ones. ForeignAttackError if they are no such images."""
        wrong = _what_is_wrong(found, clean)
        if wrong:
            raise ForeignAttackError(
                f"method={self.reference!r}: {self.where}: it returned {wrong}; accepted are adversarial images "
                f"{list(clean.shape)} in [0, 1], floating point"
            )
        assert isinstance(found, Tensor)
        return found.detach().to(clean.device, clean.dtype).clamp(0, 1)


def _request(batch: AttackBatch, rows: list[int], epsilon: float | None, seed: int) -> Request:
    return Request(
        images=batch.images[rows].clone(memory_format=torch.contiguous_format),
        labels=batch.labels[rows],
        targets=None if batch.targets is None else batch.targets[rows],
        epsilon=epsilon,
        seed=seed,
    )


def _what_is_wrong(found: object, clean: Tensor) -> str:
    if not isinstance(found, Tensor):
        return "None" if found is None else f"a {type(found).__name__}"
    if found.shape != clean.shape:
        return f"the shape {list(found.shape)}"
    if not found.is_floating_point():
        return f"numbers of {found.dtype}"
    low, high = (value.item() for value in found.detach().aminmax())
    if not (low >= -BEYOND and high <= 1 + BEYOND):  # also true for NaN
        return f"values from {low:g} to {high:g}"
    return ""


def _place(error: BaseException, file: str | None) -> str:
    """Return the last line of the user's file through which an error went, else the last of all."""
    if file is not None and (line := failed_line(error, Path(file).name)) is not None:
        return f"{file}, line {line}"
    frames = extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).name}, line {frames[-1].lineno}"
