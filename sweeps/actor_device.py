"""The device of an actor: its share of a GPU, whether it has the precision, and what it is, for sweep.json."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from obstore.exceptions import BaseError

from attrib_core.devices import check_precision, describe_device, limit_to_share
from attrib_core.execution import PRECISIONS, choose_execution
from cluster.pool import Job
from sweeps.store import RunDirectory

Device = dict[str, str]


@dataclass(frozen=True)
class DeviceShare:
    """How many GPUs an actor may use, as the driver has decided, and the precision that it computes in."""

    gpus: float
    precision: str

    def take(self) -> None:
        """Limit this process to the share, before it uses a GPU. Raises ValueError for a precision it lacks."""
        limit_to_share(self.gpus)
        offered = (*PRECISIONS, "mixed") if self.precision == "mixed" else PRECISIONS
        check_precision(choose_execution().device, self.precision, offered)

    def describe(self) -> Device:
        """Return what the device is; see `describe_device`."""
        return describe_device(choose_execution().device, self.precision)


class DescribedJob:
    """A job whose summaries say on what device it ran."""

    def __init__(self, job: Job, device: Device) -> None:
        self._job, self._device = job, device

    def prefetch(self, shard: Any) -> None:
        if prefetch := getattr(self._job, "prefetch", None):
            prefetch(shard)

    def compute(self, shard: Any) -> Any:
        return self._job.compute(shard)

    def commit(self, computed: Any, attempt: int) -> dict[str, Any]:
        return {**self._job.commit(computed, attempt), "device": self._device}


class DevicesSeen:
    """The kinds of devices that have committed to a run directory, which its sweep.json lists."""

    def __init__(self, run: RunDirectory, log: Callable[[str], None]) -> None:
        self._run, self._log = run, log
        self._seen: list[Device] = []

    def add(self, device: Device) -> None:
        """Add a device that is not listed yet. A list that cannot be written is no reason to stop."""
        if device in self._seen:
            return
        self._seen.append(device)
        try:
            self._run.update_sweep(lambda sweep: _with_device(sweep or {}, device))
        except (OSError, ValueError, BaseError) as error:
            self._log(f"{self._run.url}/sweep.json cannot be written: {error}")


def _with_device(sweep: dict[str, Any], device: Device) -> dict[str, Any]:
    devices = sweep.get("devices", [])
    return sweep if device in devices else sweep | {"devices": [*devices, device]}
