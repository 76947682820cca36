"""How busy the card is, as its driver says, while something runs."""

import statistics
import subprocess
import threading
import time

PAUSE = 0.2  # seconds; the driver looks back over about as long


class Utilization:
    """A thread that notes the card's busy share; a context manager. It notes nothing where there is no driver."""

    def __init__(self, *, is_cuda: bool) -> None:
        self._is_cuda = is_cuda
        self._stop = threading.Event()
        self._seen: list[tuple[float, float]] = []  # time of day in seconds, percent

    def __enter__(self) -> "Utilization":
        self._thread = threading.Thread(target=self._watch, daemon=True)
        if self._is_cuda:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._is_cuda:
            self._thread.join()

    def mean(self, start: float, end: float) -> float | None:
        """Return the mean busy share between two times of day; None if nothing was noted."""
        seen = [percent for when, percent in self._seen if start <= when <= end]
        return statistics.fmean(seen) / 100 if seen else None

    def _watch(self) -> None:
        try:
            read = _by_library()
        except Exception:  # a library of the driver's may fail in its own way
            read = _by_command
        while not self._stop.wait(PAUSE):
            try:
                self._seen.append((time.time(), read()))
            except (OSError, ValueError, subprocess.SubprocessError):
                return


def _by_library():  # type: ignore[no-untyped-def]
    import pynvml

    pynvml.nvmlInit()
    handle = pynvml.nvmlDeviceGetHandleByIndex(0)
    return lambda: float(pynvml.nvmlDeviceGetUtilizationRates(handle).gpu)


def _by_command() -> float:
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--id=0"]
    return float(subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout)
