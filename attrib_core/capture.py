"""Work that a GPU repeats, captured once as a CUDA graph and then replayed without Python.

A function can be captured if it reads and writes the same memory in every call, and neither waits for the device
nor uploads anything. What changes from call to call lies in tensors that the caller fills before (`copy_`). Its
results lie in the same memory after every call: the next call overwrites them. Random numbers may be drawn from
the device's default generator, which the caller may seed before a call.

The first calls run as they are, so a function that changes a state, such as an update of weights, may be captured:
each call is one update, whether it is run or replayed. Where nothing can be captured, the function is called.
"""

import logging
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

import torch

from attrib_core.execution import Execution

_logger = logging.getLogger(__name__)

# Libraries choose algorithms and set memory aside in the first calls, which a graph could not hold.
NUM_WARM_UP_CALLS = 3

Result = TypeVar("Result")


class Recorder(Protocol):
    """What records the work that a function gives to a device."""

    def run(self, function: Callable[[], Result]) -> Result:
        """Return what the function returns; it runs as it will when it is recorded."""

    def record(self, function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        """Return what replays the function's work, and the results that a replay writes.

        Raises RuntimeError for a function that cannot be recorded. The work is not done.
        """


class CudaGraphs:
    """Records CUDA graphs, on a stream beside the default one, as torch wants it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # torch leaves it so

    def run(self, function: Callable[[], Result]) -> Result:
        with torch.cuda.device(self._device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            with torch.cuda.stream(self._stream):
                result = function()
            current.wait_stream(self._stream)
        return result

    def record(self, function: Callable[[], Result]) -> tuple[Callable[[], None], Result]:
        graph = torch.cuda.CUDAGraph()
        # The outer context restores the stream after a failure, where `torch.cuda.graph` leaves its own. Other
        # threads may go on to use CUDA: they read images, or encode them.
        with (
            torch.cuda.device(self._device),
            torch.cuda.stream(torch.cuda.current_stream()),
            torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"),
        ):
            result = function()
        return graph.replay, result


class Captured(Generic[Result]):
    """A function without arguments that is recorded after some calls, and replayed from then on."""

    def __init__(self, function: Callable[[], Result], recorder: Recorder, name: str) -> None:
        self._function, self._recorder, self._name = function, recorder, name
        self._calls_until_recorded = NUM_WARM_UP_CALLS
        self._can_be_recorded = True
        self._replay: Callable[[], None] | None = None
        self._results: Any = None

    @property
    def is_recorded(self) -> bool:
        return self._replay is not None

    def __call__(self) -> Result:
        """Do the function's work once and return its results, which the next call overwrites."""
        if self._replay is None and self._can_be_recorded and self._calls_until_recorded == 0:
            self._record()
        if self._replay is not None:
            self._replay()
            results: Result = self._results
            return results
        self._calls_until_recorded = max(0, self._calls_until_recorded - 1)
        return self._recorder.run(self._function)

    def _record(self) -> None:
        try:
            self._replay, self._results = self._recorder.record(self._function)
        except RuntimeError as error:
            self._can_be_recorded = False
            reason = str(error).strip().partition("\n")[0]
            _logger.warning("%s: runs without a CUDA graph, more slowly: %s", self._name, reason)


def recorder_for(execution: Execution) -> Recorder | None:
    """Return what records work on a device; None where work is not to be recorded, or cannot be."""
    if execution.device.type != "cuda" or execution.compile:
        return None
    return CudaGraphs(execution.device)


def captured(function: Callable[[], Result], recorder: Recorder | None, name: str) -> Callable[[], Result]:
    """Return a function that does the same, captured by the recorder; without one, the function itself.

    `name` is what a message calls it if it cannot be captured.
    """
    return function if recorder is None else Captured(function, recorder, name)
