"""Packs what `on_gpu.py` needs on a machine that has a GPU, Python, torch and timm, and nothing to install from.

    python benchmarks/gpu_bundle.py --output .gpu-bundle
    .gpu-bundle/run --output results          # there: unpacks into a temporary folder, then starts on_gpu.py

The archive holds this project's packages, the wheels that they need beside torch's and timm's, lite0's weights in
half precision, and the test images of Fashion-MNIST.
"""

import argparse
import io
import lzma
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import safetensors.torch
import torch

from attrib_core.classifiers import load_classifier
from attrib_core.datasets import fashion_mnist_files
from attrib_core.datasets.idx_files import find_file, read_bytes

REPOSITORY = Path(__file__).resolve().parents[1]
OURS = ("attrib_core", "sweeps", "cluster", "benchmarks")
KINDS_OF_FILES = (".py", ".safetensors")
# With what each of them requires, as pip resolves it. torch, timm, numpy, pandas and pyarrow are there already.
WHEELS = ("ray", "obstore", "pydantic", "tyro", "rich", "jsonschema", "safetensors")
# Parts of Ray that no sweep uses: three fifths of it.
LEFT_OUT = ("ray/jars/", "ray/rllib/", "ray/llm/", "ray/serve/", "ray/dashboard/client/")
PLATFORMS = ("manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
LARGEST = 60 * 2**20  # bytes; what can be taken to such a machine is limited
# Machine code packs better after the first of these.
FILTERS = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME}]
ARCHIVE, SCRIPT = "bundle.tar.xz", "run"
RUN = f"""\
#!/usr/bin/env bash
# Unpacks the bundle beside this file into a temporary folder and runs benchmarks/on_gpu.py from there.
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${{PYTHON:=python3}}" - "$here/{ARCHIVE}" "$folder" <<'END'
import sys, tarfile
with tarfile.open(sys.argv[1]) as archive:
    archive.extractall(sys.argv[2], filter="data")
END
export PYTHONPATH="$folder/repository:$folder/site${{PYTHONPATH:+:$PYTHONPATH}}"
"$PYTHON" "$folder/repository/benchmarks/on_gpu.py" \\
    --data "$folder/data" --weights "$folder/lite0.safetensors" "$@"
"""

Member = tuple[str, bytes, bool]  # path in the archive, content, whether it is a program


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=REPOSITORY / ".gpu-bundle", metavar="FOLDER")
    parser.add_argument("--python-version", default="3.12", help="of the machine with the GPU")
    return parser.parse_args()


def main() -> int:
    """Write the archive and the script beside it; return 1 if the archive is too large."""
    options = parse()
    options.output.mkdir(parents=True, exist_ok=True)
    archive = options.output / ARCHIVE
    with (
        lzma.open(archive, "wb", format=lzma.FORMAT_XZ, filters=FILTERS) as packed,
        tarfile.open(fileobj=packed, mode="w|") as tar,
    ):
        for member in members(options.python_version):
            _add(tar, member)
    script = options.output / SCRIPT
    script.write_text(RUN)
    script.chmod(0o755)
    size = archive.stat().st_size
    print(f"{archive}: {size / 2**20:.1f} MiB. On the machine with the GPU: {script} --output FOLDER")
    if size > LARGEST:
        print(f"error: more than {LARGEST / 2**20:.0f} MiB", file=sys.stderr)
    return int(size > LARGEST)


def members(python_version: str) -> Iterator[Member]:
    """Yield all files of the bundle."""
    with tempfile.TemporaryDirectory(prefix="gpu-bundle-") as folder:
        download(Path(folder), python_version)
        for wheel in sorted(Path(folder).glob("*.whl")):
            yield from of_wheel(wheel)
    for package in OURS:
        for path in sorted((REPOSITORY / package).rglob("*")):
            if path.suffix in KINDS_OF_FILES:
                yield f"repository/{path.relative_to(REPOSITORY).as_posix()}", path.read_bytes(), False
    yield "lite0.safetensors", half_precision_weights(), False
    source = fashion_mnist_files.find_folder(None, TEST_FILES)
    for name in TEST_FILES:
        path = find_file(source, name)
        assert path is not None, f"{name} is in {source} no more"
        yield f"data/{name}", read_bytes(path), False


def download(folder: Path, python_version: str) -> None:
    """Fetch the wheels for that Python, and those that they require, in the versions of constraints.txt."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", python_version]
    command += [f"--platform={platform}" for platform in PLATFORMS]
    command += ["--constraint", str(REPOSITORY / "constraints.txt"), "--dest", str(folder), *WHEELS]
    subprocess.run(command, check=True)


def of_wheel(wheel: Path) -> Iterator[Member]:
    """Yield the files of a wheel, where an installer would put them, without what is left out."""
    with zipfile.ZipFile(wheel) as content:
        for entry in content.infolist():
            name = re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", entry.filename)
            if entry.is_dir() or name.startswith(LEFT_OUT) or ".data/" in name:
                continue
            yield f"site/{name}", content.read(entry), bool(entry.external_attr >> 16 & 0o100)


def half_precision_weights() -> bytes:
    """Return lite0's weights as a safetensors file of half its size. It is for speed, not for results."""
    state = load_classifier("efficientnet_lite0").network.state_dict()
    halves = {
        name: each.to(torch.float16 if each.is_floating_point() else each.dtype).contiguous()
        for name, each in state.items()
    }
    assert all(each.isfinite().all() for each in halves.values()), "float16 is too narrow for the weights"
    return safetensors.torch.save(halves)


def _add(tar: tarfile.TarFile, member: Member) -> None:
    name, content, is_program = member
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o755 if is_program else 0o644
    tar.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
