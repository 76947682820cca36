"""Images for whole label spaces, classes x seeds x recipes, and of units: channels of layers x seeds x recipes.

python sweeps/generate_all.py --classes 0-999 --seeds 0 --recipes default --output runs/generate
python sweeps/generate_all.py --recipes default,runs/tune_recipe/best_recipe.yaml
python sweeps/generate_all.py --recipes default:rotation=10,mine.py:my_objective
python sweeps/generate_all.py --address auto --output s3://bucket/generate
python sweeps/generate_all.py --list-layers
python sweeps/generate_all.py --units blocks.4.1:0-63 --output runs/units
"""

import sys
from collections.abc import Sequence
from functools import partial

from pydantic import Field

from attrib_core.classifiers import Checkpoint, InputScaling
from attrib_core.generation import RECIPES
from attrib_core.prepared import prepare
from attrib_core.units import choose_units
from sweeps.cli import default_output, output_field, run_command
from sweeps.generate.job import (
    DEFAULT_JUDGES,
    GenerateJob,
    GenerateSettings,
    Weights,
    build_generator,
    read_weights,
    try_recipes,
)
from sweeps.generate.recipe_sources import definitions_of_recipes, read_recipes
from sweeps.model_options import ModelOptions, model_definitions
from sweeps.ranges import format_integers, parse_integers
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AXIS_KINDS, AxisKinds
from sweeps.shard_sizes import shard_size_on_gpu
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size, recorded
from sweeps.units.job import UnitInputs, UnitJob, UnitSettings, recipe_notes, try_units
from sweeps.units.layer_list import layer_table

SHARD_SIZE = 16
KINDS = AXIS_KINDS["generate"]
# The members of a cell are made together, so that a shard has all of them.
UNIT_KINDS = AxisKinds(group=("recipe", "layer"), cells=("seed", "unit"), whole=("member",))


class GenerateOptions(ModelOptions):
    """Options of the generation sweep."""

    output: str = output_field("generate")
    model: str = Field("efficientnet_lite0", description="The generating classifier.")
    classes: str | None = Field(None, description="Target classes: `0-31,291` or `all`; all if not given.")
    units: str | None = Field(
        None,
        description="Instead of classes, channels of layers: `blocks.4.1:0-7,12`, `LAYER:all`; `LAYER:5:center`, "
        "the neuron in the middle; `LAYER:FILE.safetensors#key`, directions.",
    )
    diversity: int = Field(
        1, ge=1, description="Images of each unit and seed, made unlike each other (Gram matrices)."
    )
    list_layers: bool = Field(False, description="Print the layers that --units can name, and end.")
    seeds: str = Field("0", description="Seeds: `0-15`.")
    recipes: str = Field(
        "default",
        description=f"Of {', '.join(RECIPES)}, or `all`, with settings of their own, `default:num_steps=64`; YAML "
        "files, as tune_recipe.py writes them; recipes and objectives of yours, `FILE.py:NAME`.",
    )
    num_steps: int | None = Field(
        None, ge=1, description="Updates of an image; the recipe's own if not given."
    )
    image_size: int | None = Field(None, ge=16, le=4096, description="Pixels; the model's own if not given.")
    input_scaling: InputScaling = Field(
        "model", description="`model` normalises as the model was trained; `none`."
    )
    judges: str | None = Field(
        None,
        description="Classifiers that judge the images and take no part in making them, or `none`; "
        f"{','.join(DEFAULT_JUDGES)} if not given and the model has ImageNet's 1,000 classes.",
    )
    repeatable: bool = Field(
        True,
        description="On a GPU, add up gradients of views in a fixed order: without it a step may be quicker, and "
        "images differ from run to run.",
    )
    frames: str = Field("none", description="Classes of which frames are stored, with all logits.")
    frame_every: int = Field(10, ge=1, description="Steps between two frames.")


def generation_sweep(options: GenerateOptions) -> Sweep:
    """Resolve the options against the model. Raises ValueError for whatever cannot work."""
    if options.diversity > 1:
        raise ValueError(f"diversity={options.diversity}: it is of units; accepted is --units, or 1 without")
    recipes = read_recipes(options.recipes, recorded(options).get("definitions"))
    seeds = parse_integers("seeds", options.seeds)
    model = options.model_choice()
    weights = read_weights(model, options.judges)
    classifier = build_generator(weights.model)
    classes = parse_integers("classes", options.classes or "all", limit=classifier.num_classes)
    frames = _optional_integers("frames", options.frames, classifier.num_classes)
    image_size = options.image_size or classifier.image_size
    settings = GenerateSettings(
        output=RunDirectory(options.output).url,  # absolute: an actor works in another folder
        recipes=recipes,
        image_size=image_size,
        input_scaling=options.input_scaling,
        num_steps=options.num_steps,
        sweep_seed=options.seed,
        frames=frozenset(frames),
        frame_every=options.frame_every,
        batch_size=chosen_batch_size(options),
        precision=options.precision,
        repeatable=options.repeatable,
    )
    return Sweep(
        name="generate",
        kinds=KINDS,
        requested=({"recipe": tuple(recipes), "seed": seeds, "class_index": classes},),
        settings={
            **model.settings(),
            "model_digest": weights.model.digest,
            "image_size": image_size,
            "num_steps": options.num_steps,
            "input_scaling": options.input_scaling,
            "seed": options.seed,
            "precision": options.precision,
            "judges": {name: checkpoint.digest for name, checkpoint in weights.judges.items()},
            "frames": format_integers(frames),
            "frame_every": options.frame_every if frames else None,
            # Only where it is chosen: run directories without it go on.
            **({} if options.repeatable else {"repeatable": False}),
        },
        definitions=weights.model_definitions | definitions_of_recipes(recipes),
        batch_size=settings.batch_size,
        provenance={"num_classes": classifier.num_classes, "notes": list(weights.model.notes)},
        shard_size=SHARD_SIZE,
        shard_size_on_gpu=shard_size_on_gpu(image_size, settings.batch_size),
        factory=partial(GenerateJob, settings),
        shared=weights,
        bytes_per_cell=2
        * classifier.channels
        * image_size
        * image_size
        // 3,  # a PNG: two thirds of raw pixels
        notes=_notes(weights.model, options),
        check=partial(try_recipes, settings, weights),
        warm_up=partial(_seconds_per_cell, settings, weights),
    )


def unit_sweep(options: GenerateOptions) -> Sweep:
    """Resolve the options of a sweep of units. Raises ValueError for whatever cannot work."""
    assert options.units is not None
    refuse_options_of_classes(options)
    recipes = read_recipes(options.recipes, recorded(options).get("definitions"))
    seeds = parse_integers("seeds", options.seeds)
    model = options.model_choice()
    checkpoint = model.read()
    classifier = build_generator(checkpoint).with_input_scaling(options.input_scaling)
    image_size = options.image_size or classifier.image_size
    one = prepare(classifier, device="cpu", batch_size=1)
    # The driver's machine may be a small one, and the units are the same at any size.
    inputs = UnitInputs(
        model=checkpoint, units=choose_units(options.units, one, min(image_size, classifier.image_size))
    )
    settings = UnitSettings(
        output=RunDirectory(options.output).url,
        recipes=recipes,
        image_size=image_size,
        input_scaling=options.input_scaling,
        num_steps=options.num_steps,
        num_members=options.diversity,
        sweep_seed=options.seed,
        batch_size=chosen_batch_size(options),
        precision=options.precision,
        repeatable=options.repeatable,
    )
    members = tuple(range(options.diversity))
    return Sweep(
        name="units",
        kinds=UNIT_KINDS,
        requested=tuple(
            {"recipe": tuple(recipes), "layer": (layer,), "seed": seeds, "unit": units, "member": members}
            for layer, units in inputs.products()
        ),
        settings={
            **model.settings(),
            "model_digest": checkpoint.digest,
            "image_size": image_size,
            "num_steps": options.num_steps,
            "input_scaling": options.input_scaling,
            "diversity": options.diversity,
            "seed": options.seed,
            "precision": options.precision,
            **({} if options.repeatable else {"repeatable": False}),
        },
        definitions=model_definitions(checkpoint)
        | definitions_of_recipes(recipes)
        | inputs.units.definitions,
        batch_size=settings.batch_size,
        provenance={"num_classes": classifier.num_classes, "notes": list(checkpoint.notes)},
        shard_size=max(1, SHARD_SIZE // options.diversity),
        shard_size_on_gpu=max(1, shard_size_on_gpu(image_size, settings.batch_size) // options.diversity),
        factory=partial(UnitJob, settings),
        shared=inputs,
        bytes_per_cell=2 * options.diversity * classifier.channels * image_size * image_size // 3,
        notes=(*_notes(checkpoint, options), *recipe_notes(recipes)),
        check=partial(try_units, settings, inputs),
        warm_up=partial(_seconds_per_unit, settings, inputs),
    )


def _notes(checkpoint: Checkpoint, options: GenerateOptions) -> tuple[str, ...]:
    """Return the notes on a model, without that on the size of images where the command says one."""
    asked = options.image_size is not None
    return tuple(note for note in checkpoint.notes if not (asked and note.startswith("image_size ")))


def refuse_options_of_classes(options: GenerateOptions) -> None:
    """Raise ValueError for options that say something of classes, beside units."""
    if options.classes is not None:
        raise ValueError(
            f"units={options.units!r} and classes={options.classes!r}: accepted is one of them, a run is of units "
            "or of classes"
        )
    for name, value in (("judges", options.judges), ("frames", options.frames)):
        if value not in (None, "none"):
            raise ValueError(f"{name}={value!r}: with --units there are no classes; accepted is none")


def _optional_integers(field: str, text: str, limit: int) -> tuple[int, ...]:
    return () if text == "none" else parse_integers(field, text, limit=limit)


def _seconds_per_cell(settings: GenerateSettings, weights: Weights) -> dict[str, float]:
    """Measure seconds an image by recipe, from a few steps of each on this machine."""
    job = GenerateJob(settings, weights)
    return {name: job.seconds_per_cell(name) for name in settings.recipes}


def _seconds_per_unit(settings: UnitSettings, inputs: UnitInputs) -> dict[str, float]:
    """Measure seconds a cell by recipe, from a few steps of each on this machine."""
    job = UnitJob(settings, inputs)
    return {name: job.seconds_per_cell(name) for name in settings.recipes}


def run(options: GenerateOptions) -> int:
    """List the layers, or run the sweep of units or classes, and return the exit status."""
    if options.list_layers:
        classifier = build_generator(options.model_choice().read())
        print(layer_table(classifier, options.image_size or classifier.image_size))
        return 0
    if options.units is None:
        return run_sweep(generation_sweep(options), options)
    if options.output == default_output("generate"):
        options = options.model_copy(update={"output": default_output("units")})
    return run_sweep(unit_sweep(options), options)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(GenerateOptions, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
