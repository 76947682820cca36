"""What the jobs of all sweeps over images share: they hold an `ImageActor`."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import torch
from torch import Tensor

from attrib_core.classifiers import build_classifier
from attrib_core.datasets import UnreadableImagesError
from attrib_core.datasets.read_ahead import ReadAhead
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel, prepare, whole_batch
from sweeps.images.failures import image_failures
from sweeps.images.inputs import ImageInputs, floats
from sweeps.store import ImageFailure, RunDirectory

NUM_WARM_UP_IMAGES = 4
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class ActorSettings:
    """What every job over images needs to know; weights and data come apart from it, through the object store."""

    output: str
    precision: str
    save_images: frozenset[int]  # by index in the data set
    batch_size: int | None
    device: str | None = None


class ImageActor:
    """Models by checkpoint, images of the data set and the run directory; lives as long as the process."""

    def __init__(self, settings: ActorSettings, inputs: ImageInputs) -> None:
        self.settings, self.inputs = settings, inputs
        self._models: dict[str, PreparedModel] = {}
        self._ahead: ReadAhead | None = None

    @cached_property
    def run(self) -> RunDirectory:
        return RunDirectory(self.settings.output)

    @property
    def batch_size(self) -> int | None:
        """The batch size that the user gave, as a multiple of four; None leaves it to the prepared model."""
        size = self.settings.batch_size
        return None if size is None else whole_batch(size)

    def model(self, checkpoint: str | None = None) -> PreparedModel:
        """Return the network under one set of weights, by default the first, prepared once."""
        name = checkpoint or next(iter(self.inputs.checkpoints))
        if name not in self._models:
            self._models[name] = prepare(
                build_classifier(self.inputs.weights(name)),
                device=self.settings.device,
                precision=self.settings.precision,
                batch_size=self.batch_size,
            )
        return self._models[name]

    def images(self, indices: Sequence[int], device: torch.device) -> Tensor:
        """Return images `[B, C, H, W]` in [0, 1], on the device."""
        if self._ahead is None:
            return self.inputs.images(indices, device)
        return floats(self._ahead.take(indices), device)

    def expect(self, indices: Sequence[int]) -> None:
        """Have the images of a shard that waits read, while another one computes; may be called in any thread."""
        if self._ahead is not None:
            self._ahead.expect(indices)

    def labels(self, indices: Sequence[int], device: torch.device) -> Tensor:
        """Return labels `[B]`, on the device."""
        return Execution(device).to_device(torch.from_numpy(self.inputs.labels[list(indices)]))

    def stored_rows(self, indices: Sequence[int], stored: Collection[int] | None = None) -> tuple[int, ...]:
        """Return the rows of a batch whose images are stored, by default those of `save_images`."""
        chosen = self.settings.save_images if stored is None else stored
        return tuple(row for row, index in enumerate(indices) if index in chosen)

    def in_batches(
        self,
        model: PreparedModel,
        indices: Sequence[int],
        work: Callable[[Sequence[int]], Result],
        num_passes: int = 1,
    ) -> tuple[list[Result], dict[int, str]]:
        """Return what `work` makes of the images, in batches of so many of the model's passes, and which failed.

        Images that an UnreadableImagesError of `work` names, because they cannot be decoded or worked on, are
        failures, by index with the reason. Their batch is done again without them, and is left out if nothing
        remains. Rows keep their bits: whatever the batch, the network sees passes of one size.
        """
        failures: dict[int, str] = {}
        self._read_ahead(model, indices)

        def attempt(rows: range) -> Result | None:
            wanted = [index for index in indices[rows.start : rows.stop] if index not in failures]
            while wanted:
                try:
                    return work(wanted)
                except UnreadableImagesError as error:
                    if not (named := error.reasons.keys() & set(wanted)):
                        raise
                    failures.update({index: error.reasons[index] for index in named})
                    wanted = [index for index in wanted if index not in named]
            return None

        results = model.in_passes(len(indices), attempt, num_passes=num_passes)
        return [result for result in results if result is not None], failures

    def _read_ahead(self, model: PreparedModel, indices: Sequence[int]) -> None:
        """Begin to read the images, in the model's batches, unless the processor computes, which has no time."""
        if model.device.type == "cpu" or not ReadAhead.helps(self.inputs.dataset):
            return
        if self._ahead is None or self._ahead.batch_size != model.batch_size:
            self._ahead = ReadAhead(
                self.inputs.dataset,
                self.inputs.view,
                model.batch_size,
                pin_memory=model.device.type == "cuda",
            )
        self._ahead.expect(indices)

    def image_failures(self, reasons: Mapping[int, str]) -> list[ImageFailure]:
        """Return the failures of a shard's images as its commit records them."""
        return image_failures(self.inputs.dataset, reasons)

    def seconds_per_image(
        self, model: PreparedModel, work: Callable[[Sequence[int]], object], num_images: int | None = None
    ) -> float:
        """Measure the seconds that an image takes, from one batch, or fewer images, after some to warm up."""
        indices = self.inputs.spread(min(num_images or model.batch_size, model.batch_size))
        work(indices if num_images is None else indices[:NUM_WARM_UP_IMAGES])
        start = time.perf_counter()
        work(indices)
        return (time.perf_counter() - start) / len(indices)
