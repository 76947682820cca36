"""Runs the notebooks and writes their outputs into them, free of what differs between two machines.

python tests/notebooks/execution.py [NAME...]
"""

import base64
import io
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image
from traitlets.config import Config

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# Of one cell, in seconds: on a busy machine a sweep takes many times longer than on a quiet one.
LONGEST = 500
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(path: Path, folder: Path) -> NotebookNode:
    """Return a notebook after all its cells have run in a folder. Raises nbclient's error for one that fails."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        # By default the kernel listens on TCP ports, unencrypted, where other users of the machine reach it. The
        # folder is one of its own because the paths of sockets must be short.
        transport = {"transport": "ipc", "ip": f"{sockets}/kernel"}
        client = NotebookClient(
            notebook,
            timeout=LONGEST,
            startup_timeout=LONGEST,
            kernel_name="python3",
            resources={"metadata": {"path": str(folder)}},
            record_timing=False,
            config=Config({"KernelManager": transport}),
        )
        client.execute()
    return notebook


def tidy(notebook: NotebookNode) -> NotebookNode:
    """Return the notebook without what its run left in metadata, and with each stream in one piece."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        if cell.cell_type == "code":
            cell.outputs = _joined(cell.outputs)
    return notebook


def outputs(notebook: NotebookNode) -> list[NotebookNode]:
    """Return the outputs of all cells."""
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def pictures(notebook: NotebookNode) -> list[str]:
    """Return the pictures among the outputs, in base 64."""
    data = [output.get("data", {}) for output in outputs(notebook)]
    return [each[kind] for each in data for kind in ("image/png", "image/jpeg") if kind in each]


def printed(notebook: NotebookNode) -> str:
    """Return all text among the outputs: what was printed, and the texts of what was shown."""
    return "\n".join(
        str(
            output["text"] if output.output_type == "stream" else output.get("data", {}).get("text/plain", "")
        )
        for output in outputs(notebook)
    )


def _joined(found: list[NotebookNode]) -> list[NotebookNode]:
    """Return outputs in which a stream follows no output of the same stream, and which hold no addresses."""
    joined: list[NotebookNode] = []
    for output in found:
        if joined and output.output_type == "stream" and joined[-1].get("name") == output.name:
            joined[-1].text += _without_folder(output.text)
            continue
        joined.append(_without_addresses(output))
    return joined


def _without_folder(text: str) -> str:
    """Return a text without the temporary folder that a notebook works in; paths are relative to it."""
    return re.sub(rf"{re.escape(tempfile.gettempdir())}/tmp\w+/", "", text)


def _without_addresses(output: NotebookNode) -> NotebookNode:
    # `<Figure object at 0x7f...>`, and the random names that pandas gives the cells of a styled table.
    data: dict[str, Any] = output.get("data", {})
    for kind, text in data.items():
        if kind.startswith("text/"):
            text = re.sub(r" at 0x[0-9a-f]+", "", text)
            data[kind] = re.sub(r"T_[0-9a-f]{5}", "T_table", text)
        elif kind == "image/png":
            data[kind] = _smaller(text)
    if output.output_type == "stream":
        output.text = _without_folder(output.text)
    if "metadata" in output:
        output.metadata = {}
    return output


def _smaller(png: str) -> str:
    """Return a PNG in base 64 with 256 colours, which charts and maps do with; photographs are stored as JPEG."""
    picture, file = Image.open(io.BytesIO(base64.b64decode(png))), io.BytesIO()
    if picture.mode == "P":
        return png
    picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def main() -> None:
    """Run the notebooks that are named, or all, and print how long each took."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if sys.argv[1:] and path.stem not in sys.argv[1:]:
            continue
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            notebook = tidy(executed(path, Path(folder)))
        nbformat.write(notebook, path)
        size = path.stat().st_size / 1000
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {size:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
