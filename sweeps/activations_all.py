"""The images of a data set that activate units or classes most, found by forward passes alone.

python sweeps/activations_all.py --classes 0-9 --output runs/activations
python sweeps/activations_all.py --units conv3:0-15,relu9:all --top 16 --output runs/strongest
python sweeps/activations_all.py --model efficientnet_lite0 --units blocks.4.1:0-63 --dataset imagefolder:/photos
"""

import sys
from collections.abc import Sequence
from functools import partial

from pydantic import Field

from attrib_core.classifiers import build_classifier
from attrib_core.prepared import prepare
from attrib_core.units import Units, choose_units
from sweeps.activations.job import (
    CLASS_AXIS,
    UNIT_AXIS,
    ActivationInputs,
    ActivationJob,
    ActivationJobSettings,
    axis_of,
)
from sweeps.activations.rows import Measured
from sweeps.cli import output_field, run_command
from sweeps.images.actor import ActorSettings
from sweeps.images.data import SweepData, load_images
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.options import ImageOptions
from sweeps.plan import IMAGE_AXIS, Value
from sweeps.ranges import parse_integers
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AxisKinds
from sweeps.shard_sizes import shard_size_on_gpu
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size

# Images a shard: up to a minute of work on one CPU thread, for small images and for large ones. Each shard keeps
# `top` images of each unit, so that larger ones keep fewer in all.
SMALL_SHARD, LARGE_SHARD = 2000, 256
BATCHES_ON_GPU = 8
BYTES_A_ROW = 60


class ActivationOptions(ImageOptions):
    """Options of the sweep that looks for the strongest images."""

    output: str = output_field("activations")
    units: str | None = Field(
        None,
        description="Channels of layers, as generate_all.py takes them: `blocks.4.1:0-63`, `LAYER:all`, "
        "`LAYER:5:center`, `LAYER:FILE.safetensors`.",
    )
    classes: str | None = Field(
        None, description="Classes, by their logits: `0-9`, `all`; all if no units are given."
    )
    top: int = Field(9, ge=1, description="Images that are kept of each unit or class, in each shard.")


def activations_sweep(options: ActivationOptions) -> Sweep:
    """Resolve the options against model and data. Raises ValueError for whatever cannot work."""
    if options.units is not None and options.classes is not None:
        raise ValueError(
            f"units={options.units!r} and classes={options.classes!r}: accepted is one of them, a run is of units "
            "or of classes"
        )
    dataset, model = load_images(options), options.model_choice()
    data, run = SweepData(dataset), RunDirectory(options.output)
    images = parse_integers("images", options.images, limit=len(dataset))
    read = read_inputs(dataset, model, labels=options.label_choice())
    units = None if options.units is None else _units(options.units, read)
    inputs = ActivationInputs.of(read, units)
    classes = _classes(options, inputs)
    name = CLASS_AXIS if units is None else UNIT_AXIS
    axis: tuple[Value, ...] = classes if units is None else axis_of(units)
    refuse_other_axis(run, name)
    kinds = AxisKinds(group=(), cells=(IMAGE_AXIS,), whole=(name,))
    measured = Measured(units=units, classes=classes)
    settings = ActivationJobSettings(
        actor=ActorSettings(
            output=run.url,  # absolute: an actor works in another folder
            precision=options.precision,
            save_images=frozenset(),
            batch_size=chosen_batch_size(options),
        ),
        top=options.top,
    )
    shard_size = SMALL_SHARD if inputs.is_small else LARGE_SHARD
    return Sweep(
        name="activations",
        kinds=kinds,
        requested=({IMAGE_AXIS: images, name: axis},),
        settings={
            **model.settings(),
            **data.settings(run, "activations", kinds),
            **inputs.labelling.settings,
            "top": options.top,
            "precision": options.precision,
        },
        definitions={
            **inputs.model_definitions,
            "weights": inputs.checkpoint.digest,
            **data.definitions,
            **inputs.definitions,
        },
        batch_size=settings.actor.batch_size,
        provenance=inputs.provenance(),
        notes=inputs.notes,
        shard_size=shard_size,
        shard_size_on_gpu=shard_size_on_gpu(inputs.image_size, settings.actor.batch_size, BATCHES_ON_GPU),
        factory=partial(ActivationJob, settings),
        shared=inputs,
        data=data,
        bytes_per_cell=_bytes_per_image(inputs, options.shard_size or shard_size, len(axis), options.top),
        check_first=inputs.check,
        warm_up=partial(_seconds_per_image, settings, inputs, measured),
    )


def refuse_other_axis(run: RunDirectory, axis: str) -> None:
    """Raise ValueError for a directory of classes where units are asked for, and the other way round."""
    words = {UNIT_AXIS: "units", CLASS_AXIS: "classes"}
    before = (run.read_sweep() or {}).get("axis_kinds", {}).get("whole", [])
    if other := [words[each] for each in before if each in words and each != axis]:
        raise ValueError(
            f"{words[axis]}: the directory {run.url} is of {other[0]}; accepted is --{other[0]}, or "
            "another --output"
        )


def _units(text: str, inputs: ImageInputs) -> Units:
    """Return the units of a text, found in the network on this machine's CPU. ValueError for unknown ones."""
    model = prepare(build_classifier(inputs.checkpoint), device="cpu", batch_size=1)
    return choose_units(text, model, inputs.image_size)


def _classes(options: ActivationOptions, inputs: ImageInputs) -> tuple[int, ...]:
    """Return the classes that are asked for; none in a run of units."""
    if options.units is not None:
        return ()
    return parse_integers("classes", options.classes or "all", limit=inputs.num_classes)


def _bytes_per_image(inputs: ImageInputs, shard_size: int, num_measured: int, top: int) -> int:
    """Estimate the rows and the PNG, about seven bits a value, that an image of a shard has on average."""
    rows = num_measured * min(1.0, top / shard_size)
    png = 7 * inputs.channels * inputs.image_size**2 // 8
    return int(rows * BYTES_A_ROW + min(1.0, rows) * png)


def _seconds_per_image(
    settings: ActivationJobSettings, inputs: ActivationInputs, measured: Measured
) -> dict[str, float]:
    """Measure seconds an image from a few images on this machine; one pass serves all units."""
    return {"": ActivationJob(settings, inputs).seconds_per_image(measured)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(
        ActivationOptions, lambda options: run_sweep(activations_sweep(options), options), arguments
    )


if __name__ == "__main__":
    sys.exit(main())
