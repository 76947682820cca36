"""What a sweep uses beyond its own process: Ray, the run directory's storage, the default model and data set."""

import time
from collections.abc import Iterator
from pathlib import Path

from attrib_core.classifiers import read_checkpoint
from attrib_core.datasets import fashion_mnist_files
from attrib_core.datasets.idx_files import find_file
from cluster.session import connect
from sweeps.doctor.findings import Finding
from sweeps.store import RunDirectory

DEFAULT_MODEL = "efficientnet_lite0"


def ray_session(address: str | None) -> Finding:
    """Connect to Ray as a sweep does, which starts it on this machine where there is no cluster."""
    begun = time.monotonic()
    try:
        with connect(address) as session:
            where = "started here" if session.is_local else f"cluster at {session.address}"
            seconds = time.monotonic() - begun
            text = f"{where} in {seconds:.0f} s: {session.num_cpus:g} CPUs, {session.num_gpus:g} GPUs"
            return Finding("ok", "Ray", text)
    except ValueError as error:
        return Finding("wrong", "Ray", str(error))


def storage(output: str) -> Finding:
    """Write a file that is not there yet, as a commit does, and remove it."""
    try:
        run = RunDirectory(output)
        run.check_writable()
    except ValueError as error:
        return Finding("wrong", "storage", str(error))
    return Finding("ok", "storage", f"results can be written to {run.url}")


def defaults() -> Iterator[Finding]:
    """Yield whether the default model and data set are at hand. The data set is fetched when it is first used."""
    try:
        read_checkpoint(DEFAULT_MODEL)
    except ValueError as error:
        yield Finding("wrong", "model", str(error))
    else:
        yield Finding("ok", "model", f"{DEFAULT_MODEL}, the default, is installed")
    name = "t10k-images-idx3-ubyte"
    folders: tuple[Path, ...] = (fashion_mnist_files.SYSTEM_FOLDER, fashion_mnist_files.cache_folder())
    there = [folder for folder in folders if find_file(folder, name) is not None]
    if there:
        yield Finding("ok", "data set", f"fashion_mnist, the default, is in {there[0]}")
    else:
        yield Finding("note", "data set", "fashion_mnist, the default, is fetched when it is first used")
