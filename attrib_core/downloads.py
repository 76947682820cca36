"""Results that come down from a device while the host goes on."""

import torch
from torch import Tensor


class Download:
    """A tensor on its way to the CPU; the host waits for it only if it asks before the tensor is there."""

    def __init__(self, tensor: Tensor) -> None:
        # From CUDA torch copies into pinned memory, so that the host need not take part.
        self._copy = tensor.detach().to("cpu", non_blocking=True)
        self._arrival: torch.cuda.Event | None = None
        if tensor.device.type == "cuda":
            self._arrival = torch.cuda.Event()  # type: ignore[no-untyped-call]  # torch leaves it so
            self._arrival.record(torch.cuda.current_stream(tensor.device))

    def wait(self) -> Tensor:
        """Return the tensor, on the CPU; that of a CPU's tensor is the tensor itself."""
        if self._arrival is not None:
            self._arrival.synchronize()
        return self._copy
