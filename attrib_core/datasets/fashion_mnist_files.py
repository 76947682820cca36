"""The files of Fashion-MNIST: found in the user's folder, the system's or the cache, or else fetched.

Debian has them as a package that can be unpacked without root rights; torchvision downloads them.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from http.client import HTTPException
from pathlib import Path

from attrib_core.datasets.idx_files import find_file, read_bytes

PACKAGE = "dataset-fashion-mnist"
SYSTEM_FOLDER = Path("/usr/share/datasets/fashion-mnist")
LAYOUTS = ("", "FashionMNIST/raw", "fashion-mnist")  # below a root: flat, torchvision's, Debian's
FETCH_SECONDS = 600
FAILURES = (OSError, RuntimeError, ValueError, HTTPException, subprocess.SubprocessError)
SHA256 = {  # of the decompressed files
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
HOW_TO_GET = (
    f'run `apt-get install {PACKAGE}`, or `python -c "import torchvision; '
    "torchvision.datasets.FashionMNIST('data', download=True)\"` and give --data-root data"
)


def find_folder(root: Path | None, names: Sequence[str]) -> Path:
    """Return the folder that has all files of these names, with or without .gz; fetches them if root is None.

    Raises ValueError saying where it looked and how to get the files.
    """
    folders = [SYSTEM_FOLDER, cache_folder()] if root is None else [root / layout for layout in LAYOUTS]
    for folder in folders:
        if all(find_file(folder, name) for name in names):
            return folder
    if root is None:
        return _fetch(cache_folder())
    raise ValueError(
        f"data_root={str(root)!r}: lacks {' or '.join(names)} (with or without .gz), also below "
        f"{' and '.join(LAYOUTS[1:])}; {HOW_TO_GET}"
    )


def cache_folder() -> Path:
    """Return the folder in which fetched files are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "attrib-sweeps" / "fashion-mnist"


def _fetch(cache: Path) -> Path:
    """Fill the cache by the first way that works."""
    ways: dict[str, Callable[[Path], Path]] = {"apt-get": _from_debian, "torchvision": _from_torchvision}
    tried = [f"no files in {SYSTEM_FOLDER} or {cache}"]
    for way, fetch in ways.items():
        try:
            _fill(cache, fetch)
        except FAILURES as error:
            tried.append(f"{way}: {' '.join(str(error).split())[-300:]}")
        else:
            return cache
    raise ValueError(f"dataset='fashion_mnist': {'; '.join(tried)}. To get it, {HOW_TO_GET}")


def _fill(cache: Path, fetch: Callable[[Path], Path]) -> None:
    """Fetch next to the cache, then rename file by file, so that other processes see only complete files."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{cache.name}-", dir=cache.parent) as scratch:
        fetched = fetch(Path(scratch))
        for name, digest in SHA256.items():
            path = find_file(fetched, name)
            if path is None or hashlib.sha256(read_bytes(path)).hexdigest() != digest:
                raise ValueError(f"{name} is missing or not what it should be")
            path.replace(cache / path.name)


def _from_debian(scratch: Path) -> Path:
    for program in ("apt-get", "dpkg"):
        if shutil.which(program) is None:
            raise FileNotFoundError(f"no {program} here")
    try:
        _run(["apt-get", "download", PACKAGE], scratch)
    except OSError:  # a new machine has no list of packages yet
        _download_with_own_lists(scratch)
    for package in sorted(scratch.glob(f"{PACKAGE}_*.deb")):
        _run(["dpkg", "-x", package.name, "."], scratch)
    return scratch / SYSTEM_FOLDER.relative_to("/")


def _download_with_own_lists(scratch: Path) -> None:
    """Download with new package lists, because the system's may be empty; this needs no root rights."""
    (scratch / "lists" / "partial").mkdir(parents=True)
    own = [f"Dir::State::lists={scratch}/lists", f"Dir::Cache={scratch}/cache", "Debug::NoLocking=1"]
    options = [word for setting in own for word in ("-o", setting)]
    _run(["apt-get", *options, "update"], scratch)
    _run(["apt-get", *options, "download", PACKAGE], scratch)


def _run(command: list[str], folder: Path) -> None:
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=FETCH_SECONDS, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise OSError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")


def _from_torchvision(scratch: Path) -> Path:
    from torchvision.datasets import FashionMNIST

    FashionMNIST(str(scratch), download=True)
    return scratch / "FashionMNIST" / "raw"
