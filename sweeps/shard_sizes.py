"""How many cells a shard has on a GPU, where a pass takes as long with one image as with a full batch."""

import torch

from attrib_core.prepared import default_batch_size, whole_batch
from sweeps.cli import SweepOptions


def shard_size_on_gpu(image_size: int, batch_size: int | None, num_batches: int = 1) -> int:
    """Return the cells of a shard whose passes are all full; `batch_size` is the user's, if there is one."""
    if batch_size is None:
        batch = default_batch_size(torch.device("cuda"), (image_size, image_size))
    else:
        batch = whole_batch(batch_size)
    return num_batches * batch


def uses_gpus(options: SweepOptions) -> bool:
    """Return whether workers on a machine like this one use GPUs, by the options alone."""
    gpus = options.gpus_per_worker
    return torch.cuda.is_available() if gpus is None else gpus > 0
