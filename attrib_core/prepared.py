"""A classifier made ready to run: on its device, in its memory format and precision, in batches of one shape.

The one place where images are laid out, padded, passed through the network and sliced back. Attacks, attribution
and generation all run on a `PreparedModel`.

A matrix product adds up in an order that depends on the number of its rows, and which orders agree depends on the
processor. So a network that sees batches of several sizes gives one image several results, which differ in their
last bits and, after a hundred steps, in more. Here the network sees one number of images in every pass: fewer are
padded with copies of the last one. An image's results then do not depend on its neighbours, on any processor.
"""

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers import Classifier
from attrib_core.classifiers.checks import check_images
from attrib_core.classifiers.ensembles import averages_losses
from attrib_core.errors import in_one_line
from attrib_core.execution import (
    BATCH_MULTIPLE,
    Execution,
    choose_execution,
    half_batch,
    is_device_failure,
    is_out_of_memory,
    release_memory,
)
from attrib_core.lending import Lending
from attrib_core.loss_scaling import scaled_gradient

# A CPU is fastest while a pass stays in its cache; a GPU wants to be full. Batch sizes are derived and not
# measured, so that all workers of a run, and a run that is resumed, use the same one.
CPU_PIXELS = 200 * 28 * 28
GPU_PIXELS = 2**23
SMALLEST_BATCH, LARGEST_BATCH = 8, 1024

Result = TypeVar("Result")
# What a backward pass starts from: one number for each row of logits `[N, K]`.
Objective = Callable[[Tensor], Tensor]


class RefusedSizeError(ValueError):
    """Images of a size that the network does not take."""


@dataclass
class BatchSize:
    """The number of images in a pass. Models of one network share it, so that a halving counts for all of them."""

    images: int


class PreparedModel:
    """A classifier, how it runs, and the number of images that its network sees in every pass.

    `batch_size` is halved, for good, only where memory runs out.
    """

    def __init__(self, classifier: Classifier, execution: Execution, batch_size: int) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: accepted are 1 and more")
        self.classifier, self.execution, self._size = classifier, execution, BatchSize(batch_size)
        self._lending = Lending()
        self._tried: dict[int, bool] = {}  # by the side of square images, whether the network takes them
        self._found: dict[Hashable, Any] = {}  # what was found out about the network's structure

    @property
    def device(self) -> torch.device:
        return self.execution.device

    @property
    def batch_size(self) -> int:
        return self._size.images

    @batch_size.setter
    def batch_size(self, images: int) -> None:
        self._size.images = images

    def in_float32(self) -> "PreparedModel":
        """Return this model in float32, whatever its precision is."""
        model = PreparedModel(self.classifier, replace(self.execution, precision="float32"), self.batch_size)
        model._tried, model._lending, model._size = self._tried, self._lending, self._size
        model._found = self._found
        return model

    def once(self, key: Hashable, find: Callable[[], Result]) -> Result:
        """Return what `find` finds out about the network, found out once. It may not depend on the weights."""
        if key not in self._found:
            self._found[key] = find()
        found: Result = self._found[key]
        return found

    @contextmanager
    def lent(self, by: str) -> Iterator["PreparedModel"]:
        """Lend a copy of this model to other people's code, which errors call `by`; in float32 instead of float16.

        Raises ValueError if the code leaves the copy, or a setting of torch, changed.
        """
        # The numerics are outside: code that leaves them changed is found out.
        lending = self._lending.copy_of(self.classifier, by, compiled=self.execution.compile)
        with self.execution.numerics(), lending as classifier:
            is_half = self.execution.precision == "float16"  # backward passes of their own are not scaled
            execution = replace(self.execution, precision="float32") if is_half else self.execution
            model = PreparedModel(classifier, execution, self.batch_size)
            model._size = self._size
            yield model

    def images(self, images: Tensor) -> Tensor:
        """Return images `[N, C, H, W]` on the device, in the memory format."""
        return self.execution.images(images)

    def __call__(self, images: Tensor) -> Tensor:
        """Return float32 logits `[N, K]` of at most `batch_size` images, in one pass; gradients flow through.

        Raises RefusedSizeError where the network fails on images of another size than its own.
        """
        return self.outputs_of(self.classifier, images)

    def answers(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the logits `[N, K]` whose objectives are averaged; gradients flow through.

        They are those of each member of an ensemble that averages losses, and of any other classifier its own.
        """
        network = averages_losses(self.classifier)
        if network is None:
            return (self(images),)
        return self.outputs_of(network.member_logits, images).unbind(1)

    def outputs_of(self, network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
        """Return in float32 what the network, or a part of it, gives for at most `batch_size` images `[N, ...]`.

        Raises RefusedSizeError as the model itself does.
        """
        batch = self._padded(self.execution.images(images))
        try:
            with self.execution.numerics(), self.execution.autocast():
                logits = network(batch)
        except Exception as error:  # a user's network may raise anything
            own = self.classifier.image_size
            if tuple(images.shape[-2:]) == (own, own) or is_device_failure(error):
                raise
            raise RefusedSizeError(
                f"images: {images.shape[-2]} x {images.shape[-1]} pixels, on which {self.classifier.name} fails; "
                f"accepted is its image_size, {own} x {own} ({in_one_line(error)})"
            ) from error
        return logits[: len(images)].float()

    def view_size(self, side: int) -> int:
        """Return the side at which the network is shown square views of this side: the same if it takes it.

        It is found by trying, once for each size, with images of grey. Views that a network refuses are enlarged
        to the first of twice, four times ... their side that it takes, or else brought to its own image size. A
        network that refuses half its own size, such as a ViT, is one of a fixed size: it may take some other
        size, but was not trained to. Its smaller views all get its own size.
        """
        own = self.classifier.image_size
        if side == own or (side < own and not self._takes(own // 2)):
            return own
        candidates = [side]
        while 2 * candidates[-1] < own:
            candidates.append(2 * candidates[-1])
        return next((each for each in candidates if self._takes(each)), own)

    def _takes(self, side: int) -> bool:
        """Return True if the network answers images of this size with finite logits."""
        if side not in self._tried:
            try:
                with torch.no_grad():
                    logits = self(torch.full((1, self.classifier.channels, side, side), 0.5))
                self._tried[side] = bool(logits.isfinite().all())
            except RefusedSizeError:
                self._tried[side] = False
        return self._tried[side]

    def logits(self, images: Tensor) -> Tensor:
        """Return logits `[N, K]` of any number of images, in as many passes as they need."""
        return self.exact_logits(images)

    @torch.no_grad()  # not inference mode, whose tensors cannot take part in a later backward pass
    def exact_logits(self, images: Tensor) -> Tensor:
        """Return logits `[N, K]` in the precision that gradients have, even where `logits` has a quicker one."""
        return joined(self.in_passes(len(images), lambda rows: self(images[rows.start : rows.stop])))

    def first_look(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits `[N, K]`, and for which rows `[N]` only `exact_logits` can be trusted: here for none."""
        return self.exact_logits(images), torch.zeros(len(images), dtype=torch.bool, device=self.device)

    def gradients(self, points: Tensor, objectives: Sequence[Objective]) -> tuple[Tensor, list[Tensor]]:
        """Return logits `[N, K]` of at most `batch_size` points, and the gradient of each objective there.

        One forward pass serves all objectives. Each gradient `[N, C, H, W]` belongs to its own image's number.
        Raises ValueError for a network whose logits do not depend on the images as autograd sees it.
        """
        points = self.execution.images(points).detach().requires_grad_()
        with self.execution.numerics():
            with torch.enable_grad():
                answers = self.answers(points)
                # Sums, not means: a gradient must not depend on how many neighbours its image has.
                sums = [averaged([objective(each) for each in answers]).sum() for objective in objectives]
                logits = averaged(answers)
            return logits.detach(), [
                self._gradient(each, logits, points, retain_graph=each is not sums[-1]) for each in sums
            ]

    def _gradient(self, objective: Tensor, logits: Tensor, points: Tensor, *, retain_graph: bool) -> Tensor:
        # `grad`, not `backward`: nothing may be written to weights, which can be those of a network in training.
        found = None
        if objective.requires_grad and self.execution.precision == "float16":
            found = scaled_gradient(objective, logits, points)
        elif objective.requires_grad:
            (found,) = torch.autograd.grad(objective, points, retain_graph=retain_graph, allow_unused=True)
        if found is None:
            raise ValueError(
                f"{self.classifier.name}: for autograd its logits do not depend on the images (torch.no_grad, "
                "detach); accepted is a network whose gradient can be taken"
            )
        return found

    def in_passes(
        self, num_rows: int, run: Callable[[range], Result], *, together: int = 1, num_passes: int = 1
    ) -> list[Result]:
        """Return what `run` gives for consecutive ranges of at most `num_passes` times `batch_size` rows.

        Where memory runs out, the batch size is halved, for good, and `run` sees the same rows again. Raises the
        failure where not even one row fits. Rows that belong together, each so many, stay in one pass.
        """
        assert together <= self.batch_size, f"{together} rows in a pass of {self.batch_size}"
        results: list[Result] = []
        start = 0
        while start < num_rows:
            rows_in_a_pass = self.batch_size // together * together
            rows = range(start, min(num_rows, start + num_passes * rows_in_a_pass))
            try:
                results.append(run(rows))
                start = rows.stop
                continue
            except (MemoryError, RuntimeError) as error:
                if half_batch(self.batch_size) < together or not is_out_of_memory(error):
                    raise
            # Outside the handler: the error's traceback would keep the failed batch's tensors alive.
            self.batch_size = half_batch(self.batch_size)
            release_memory()
        return results

    def _padded(self, images: Tensor) -> Tensor:
        missing = self.batch_size - len(images)
        assert missing >= 0, f"{len(images)} images in a pass of {self.batch_size}"
        return torch.cat([images, images[-1:].expand(missing, -1, -1, -1)]) if missing else images


def prepare(
    classifier: Classifier,
    *,
    device: torch.device | str | None = None,
    precision: str = "float32",
    batch_size: int | None = None,
    image_size: int | None = None,
    num_images: int | None = None,
) -> PreparedModel:
    """Move a classifier to `device` and lay it out for speed, in place.

    `device` None is a CUDA device if there is one, else the CPU. `batch_size` None is `default_batch_size` for
    images of `image_size`, by default the classifier's own, and no more than `num_images` need. Raises ValueError
    for a device that is not there and a precision that it does not have.
    """
    execution = choose_execution(device, precision)
    if batch_size is None:
        side = image_size or classifier.image_size
        batch_size = default_batch_size(execution.device, (side, side), num_images)
    return PreparedModel(execution.prepare(classifier), execution, batch_size)


def check_model(model: object) -> None:
    """Raise ValueError for a network that is not wrapped."""
    if not isinstance(model, Classifier | PreparedModel):
        raise ValueError(
            f"model: a {type(model).__name__}; accepted is Classifier.wrap(network, ...) or a prepared model"
        )


def prepared(
    model: Classifier | PreparedModel, images: Tensor, num_images: int | None = None
) -> PreparedModel:
    """Return a prepared model as it is; prepare a classifier for images such as these `[N, C, H, W]`.

    A pass holds no more than `num_images` need, if that is given. Raises ValueError for a network that is not
    wrapped, and for images that the classifier cannot take: see `check_images`.
    """
    check_model(model)
    check_images(model.classifier if isinstance(model, PreparedModel) else model, images)
    if isinstance(model, PreparedModel):
        return model
    return prepare(model, image_size=max(images.shape[-2:]), num_images=num_images)


def default_batch_size(
    device: torch.device, image_shape: Sequence[int], num_images: int | None = None
) -> int:
    """Return the number of images `[..., H, W]` in a pass: a multiple of four, no more than `num_images` need."""
    pixels = image_shape[-2] * image_shape[-1]
    fitting = (CPU_PIXELS if device.type == "cpu" else GPU_PIXELS) // pixels
    size = min(LARGEST_BATCH, max(SMALLEST_BATCH, fitting - fitting % BATCH_MULTIPLE))
    return size if num_images is None else min(size, whole_batch(num_images))


def whole_batch(count: int) -> int:
    """Return the smallest multiple of four that holds `count` images."""
    return -(-count // BATCH_MULTIPLE) * BATCH_MULTIPLE


def joined(parts: list[Tensor]) -> Tensor:
    """Return parts `[N, ...]` one after the other; one part is not copied."""
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def averaged(parts: Sequence[Tensor]) -> Tensor:
    """Return the mean of tensors of one shape; one alone is returned as it is."""
    return parts[0] if len(parts) == 1 else torch.stack(list(parts)).mean(0)


def logit_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the logit `[N]` of each row's class `[N]`."""
    return logits.gather(1, classes[:, None])[:, 0]


def loss_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the cross-entropy `[N]` of each row's class `[N]`."""
    return F.cross_entropy(logits, classes, reduction="none")


def probability_of(logits: Tensor, classes: Tensor) -> Tensor:
    """Return the softmax probability `[N]` of each row's class `[N]`."""
    # On a CPU faster than softmax over few classes.
    return 1 / (logits - logits.gather(1, classes[:, None])).exp_().sum(1)
