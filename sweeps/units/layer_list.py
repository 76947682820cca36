"""The list of a network's layers, for `--list-layers`."""

from collections.abc import Sequence

from attrib_core.classifiers import Classifier
from attrib_core.prepared import prepare
from attrib_core.units import list_layers
from attrib_core.units.layers import Listed


def layer_table(classifier: Classifier, image_size: int) -> str:
    """Return a line for each layer: its name, its module, and what it gives for N images of this size."""
    listed = list_layers(prepare(classifier, device="cpu", batch_size=1), image_size)
    header = ("layer", "module", f"output for N images of {image_size} x {image_size}")
    return _aligned([header, *((each.name, each.kind, _output(each)) for each in listed)])


def _output(listed: Listed) -> str:
    return str(listed.layer) if listed.layer is not None else f"no units: {listed.reason.partition(';')[0]}"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
