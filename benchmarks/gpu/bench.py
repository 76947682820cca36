"""What all parts work on: the device, models, images and sizes."""

import statistics
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.datasets import Dataset, View, load_dataset
from attrib_core.execution import choose_execution
from gpu.results import Failure

EPSILONS = tuple(each / 255 for each in (0, 0.25, 0.5, 1, 2, 2.55, 4, 8, 16, 25.5, 32, 64))
TRIALS = 3
GRAPH_RUNS = 20


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The device and its models; `quick` has sizes that only show that everything runs.

    `data` is the folder of Fashion-MNIST, and `weights` a file for lite0; None is where they usually are.
    """

    device: torch.device
    quick: bool
    data: Path | None
    weights: Path | None
    failures: list[Failure] = field(default_factory=list)  # of what a part goes on without

    @property
    def is_cuda(self) -> bool:
        return self.device.type == "cuda"

    def size(self, full: int, quick: int) -> int:
        """Return a size of the work."""
        return quick if self.quick else full

    @property
    def small_model(self) -> Classifier:
        """A new copy of the network for Fashion-MNIST."""
        return load_classifier("fashion_deep")

    @property
    def large_model(self) -> Classifier:
        """A new copy of EfficientNet-lite0."""
        return load_classifier(
            "efficientnet_lite0", weights=None if self.weights is None else str(self.weights)
        )

    @cached_property
    def dataset(self) -> Dataset:
        """Test images of Fashion-MNIST."""
        return load_dataset("fashion_mnist", split="test", root=self.data)

    @cached_property
    def images(self) -> Tensor:
        """Images `[N, 1, 28, 28]` in [0, 1], on the CPU."""
        pixels = self.dataset.images(range(self.size(1000, 64)), View.of(self.small_model))
        return torch.from_numpy(pixels).float() / 255

    @cached_property
    def labels(self) -> Tensor:
        """Their labels `[N]`."""
        return torch.from_numpy(self.dataset.labels[: len(self.images)].copy())

    def large_images(self, count: int) -> Tensor:
        """Return images `[count, 3, 224, 224]` in [0, 1] for lite0, on the CPU."""
        return F.interpolate(self.images[:count].expand(-1, 3, -1, -1), size=224, mode="bilinear")

    def synchronize(self) -> None:
        """Wait until the device has done its work."""
        if self.is_cuda:
            torch.cuda.synchronize()

    def seconds(self, run: Callable[[], object]) -> float:
        """Return the median seconds of a run, after one to warm up."""
        run()
        seconds = []
        for _ in range(1 if self.quick else TRIALS):
            self.synchronize()
            start = time.perf_counter()
            run()
            self.synchronize()
            seconds.append(time.perf_counter() - start)
        return statistics.median(seconds)

    def graphed(self, step: Callable[[], object]) -> float | None:
        """Return how often a second `step` runs as a CUDA graph; None on the CPU, or where that fails."""
        if not self.is_cuda:
            return None
        try:
            return self._graph_rate(step)
        except RuntimeError:
            self.failures.append(Failure(name="CUDA graph of a bare loop", error=traceback.format_exc()))
            return None

    def _graph_rate(self, step: Callable[[], object]) -> float:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            step()
        runs = self.size(GRAPH_RUNS, 2)
        return runs / self.seconds(lambda: [graph.replay() for _ in range(runs)])

    def host_waits(self, run: Callable[[], object]) -> Counter[str]:
        """Return how often the host waited for the device, by file and line, as torch itself counts."""
        if not self.is_cuda:
            return Counter()
        run()  # what happens once does not count
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                run()
            finally:
                torch.cuda.set_sync_debug_mode("default")
        return Counter(
            f"{Path(each.filename).name}:{each.lineno}" for each in seen if "synchroniz" in str(each.message)
        )


def chosen_device(name: str) -> torch.device:
    """Return the device, the only one of its kind that is used. Raises ValueError if it is not there."""
    return choose_execution(name).device


def relative_error(found: Tensor, expected: Tensor) -> float:
    """Return the length of the difference over that of what is expected."""
    found, expected = found.double().cpu(), expected.double().cpu()
    return ((found - expected).norm() / expected.norm().clamp_min(1e-30)).item()


def relative_errors(found: Tensor, expected: Tensor) -> Tensor:
    """Return the same for each image `[N, ...]`."""
    found, expected = found.double().cpu().flatten(1), expected.double().cpu().flatten(1)
    return (found - expected).norm(dim=1) / expected.norm(dim=1).clamp_min(1e-30)


def share_of_equal(found: Tensor, expected: Tensor) -> float:
    """Return the share of values that are the same."""
    return (found.cpu() == expected.cpu()).double().mean().item()


def same_bits(found: Tensor, expected: Tensor) -> bool:
    """Return whether two tensors hold the same values."""
    return torch.equal(found.cpu(), expected.cpu())
