"""Real images, changed until the classifier sees another class in them: images x target classes.

python sweeps/modify_all.py --images 0-15 --output runs/modify
python sweeps/modify_all.py --images 0-999 --targets 3,5 --num-steps 60 --save-images 0-15
python sweeps/modify_all.py --model efficientnet_lite0 --dataset imagefolder:/data/photos --targets 291
"""

import sys
from collections.abc import Sequence
from functools import partial

from pydantic import Field
from tyro.conf import FlagCreatePairsOff

from attrib_core.generation.modification import ModificationSettings
from sweeps.cli import output_field, run_command
from sweeps.images.actor import ActorSettings
from sweeps.images.data import SweepData, load_images
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.options import ImageOptions, parse_saved
from sweeps.modify.job import ModifyJob, ModifyJobSettings, try_modification
from sweeps.ranges import parse_integers
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.shard_sizes import shard_size_on_gpu
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size

KINDS = AXIS_KINDS["modify"]
# Images a shard: seconds of work on one CPU thread, for small images and for large ones.
SMALL_SHARD, LARGE_SHARD = 500, 16


class ModifyOptions(ImageOptions):
    """Options of the sweep that modifies real images."""

    output: str = output_field("modify")
    images: str = Field("0-15", description="Images by index: `0-999` or `all`.")
    targets: str = Field("all", description="Classes to aim at: `0-9` or `all`.")
    num_steps: int = Field(30, ge=1, description="Steps from the image as it is.")
    step_size: float = Field(0.01, gt=0, le=1, description="By which a step moves each pixel, in [0, 1].")
    no_clip: FlagCreatePairsOff[bool] = Field(
        False, description="Let modified images leave [0, 1] on their way."
    )
    save_images: str = Field(
        "all", description="Images whose clean and modified versions are stored: `0-15`, `all` or `none`."
    )


def modify_sweep(options: ModifyOptions) -> Sweep:
    """Resolve the options against model and data. Raises ValueError for whatever cannot work."""
    dataset, model = load_images(options), options.model_choice()
    data = SweepData(dataset)
    inputs = read_inputs(dataset, model, labels=options.label_choice())
    images = parse_integers("images", options.images, limit=len(dataset))
    targets = parse_integers("targets", options.targets, limit=inputs.num_classes)
    settings = ModifyJobSettings(
        actor=ActorSettings(
            output=RunDirectory(options.output).url,  # absolute: an actor works in another folder
            precision=options.precision,
            save_images=parse_saved("save_images", options.save_images, len(dataset)),
            batch_size=chosen_batch_size(options),
        ),
        modification=_modification(options),
    )
    return Sweep(
        name="modify",
        kinds=KINDS,
        requested=({"target": targets, "image_index": images},),
        settings={
            **model.settings(),
            **data.settings(RunDirectory(options.output), "modify", KINDS),
            **inputs.labelling.settings,
            "num_steps": options.num_steps,
            "step_size": options.step_size,
            "clip": not options.no_clip,
            "seed": options.seed,
            "precision": options.precision,
        },
        definitions=inputs.model_definitions | {"weights": inputs.checkpoint.digest} | data.definitions,
        batch_size=settings.actor.batch_size,
        provenance=inputs.provenance(),
        notes=inputs.notes,
        shard_size=SMALL_SHARD if inputs.is_small else LARGE_SHARD,
        shard_size_on_gpu=shard_size_on_gpu(inputs.image_size, settings.actor.batch_size),
        factory=partial(ModifyJob, settings),
        shared=inputs,
        data=data,
        bytes_per_cell=_bytes_per_image(inputs, options.num_steps, settings.actor.save_images, images),
        check=partial(try_modification, settings, inputs),
        warm_up=partial(_seconds_per_image, settings, inputs, targets),
    )


def _modification(options: ModifyOptions) -> ModificationSettings:
    return ModificationSettings(
        num_steps=options.num_steps, step_size=options.step_size, clip=not options.no_clip
    )


def _bytes_per_image(
    inputs: ImageInputs, num_steps: int, save_images: frozenset[int], images: Sequence[int]
) -> int:
    """Estimate two PNG for a stored image, about seven bits a value; 5 bytes a step and 100 a row."""
    stored = len(save_images.intersection(images)) / len(images)
    return int(stored * 1.75 * inputs.channels * inputs.image_size**2) + 5 * num_steps + 100


def _seconds_per_image(
    settings: ModifyJobSettings, inputs: ImageInputs, targets: Sequence[int]
) -> dict[str, float]:
    """Measure seconds an image, the same for each target, from one batch on this machine."""
    seconds = ModifyJob(settings, inputs).seconds_per_image()
    return {str(target): seconds for target in targets}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(ModifyOptions, lambda options: run_sweep(modify_sweep(options), options), arguments)


if __name__ == "__main__":
    sys.exit(main())
