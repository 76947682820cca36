"""What the classifier looks at, over whole test sets: methods x targets x images.

python sweeps/attribute_all.py --methods gradient_x_input,occlusion --output runs/attribute
python sweeps/attribute_all.py --methods all --target predicted,label --images 0-999 --output runs/attribute
python sweeps/attribute_all.py --methods integrated_gradients:num_steps=200,captum:DeepLift,mine.py:attribute
python sweeps/attribute_all.py --checkpoints trained,untrained,randomized:1-9 --output runs/attribute
python sweeps/attribute_all.py --scores deletion,insertion,infidelity,max_sensitivity,road --output runs/attribute
python sweeps/attribute_all.py --model resnet50 --dataset imagenet --data-root /data/imagenet --address auto
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import product

from pydantic import Field

from attrib_core.attribution import METHODS, SCORES, TARGETS, check_target, method_named
from attrib_core.classifiers import build_classifier, canonical_name
from attrib_core.classifiers.loading import UNTRAINED
from attrib_core.datasets import Dataset
from attrib_core.prepared import PreparedModel, prepare
from sweeps.attribute.boxes import definitions_of_boxes
from sweeps.attribute.columns import BYTES_A_VALUE, MOST_BYTES
from sweeps.attribute.job import AttributeJob, AttributeJobSettings
from sweeps.attribute.options import (
    REFERENCES,
    AttributionOptions,
    check_methods,
    definitions_of_methods,
    parse_methods,
    tried_methods,
)
from sweeps.attribute.scores import DirectoryScores, check_scores, definitions_of_scores, parse_scores
from sweeps.attribute.training_maps import ACCEPTED, TRAINING_METHODS, AttributeInputs, TrainingMaps
from sweeps.cli import output_field, run_command
from sweeps.images.actor import ActorSettings
from sweeps.images.checkpoints import TRAINED
from sweeps.images.data import SweepData, load_images
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.options import ImageOptions, parse_saved
from sweeps.model_options import ModelChoice
from sweeps.plan import Axes
from sweeps.ranges import parse_integers, parse_names
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.shard_sizes import shard_size_on_gpu
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size

KINDS = AXIS_KINDS["attribute"]
LOSS, ALL = "loss", "all"
# Images a shard: up to minutes of work on one CPU thread, for small images and for large ones.
SMALL_SHARD, LARGE_SHARD = 500, 32


class AttributeOptions(ImageOptions, AttributionOptions):
    """Options of static attribution."""

    output: str = output_field("attribute")
    methods: str = Field(
        "gradient_x_input,integrated_gradients,occlusion",
        description=f"Of {', '.join(METHODS)}, or `all`; {REFERENCES}.",
    )
    target: str = Field(
        "predicted",
        description=f"What is explained, of {', '.join(TARGETS)}: logit of the predicted class, of the label, "
        "the label's loss; loss_gradient and loss_gradient_x_input explain the loss in any case.",
    )
    checkpoints: str = Field(
        TRAINED,
        description="`trained` (--weights), `untrained`, `randomized:3` or `randomized:1-9` (so many last layers "
        "re-drawn), folders of checkpoints along a training, and run directories of attribute_training.py.",
    )
    scores: str | None = Field(
        None,
        description=f"Of {', '.join(SCORES)}; `all`, `none`; settings of their own as in "
        "`infidelity:num_samples=50`. Those of the run directory if not given, at first deletion and insertion. "
        "They may be added later.",
    )
    training: str | None = Field(
        None,
        description="Run directory of attribute_training.py, or `RUN#TRIAL`: its sums over training are methods "
        f"too, {' and '.join(TRAINING_METHODS)}, at the weights that it ended with.",
    )
    save_images: str = Field(
        "first", description="Images that are stored: `0-15`, `all`, `none`, or the `first` 16 of --images."
    )


def attribute_sweep(options: AttributeOptions) -> Sweep:
    """Resolve the options against model and data. Raises ValueError for whatever cannot work."""
    training = None if options.training is None else TrainingMaps.read(options.training)
    methods = _methods(options.methods, training)
    own = tuple(name for name in methods if name not in TRAINING_METHODS)
    targets = parse_names("target", options.target, TARGETS)
    for method, target in product(own, targets):
        check_target(method, target)
    run = RunDirectory(options.output)
    named = None if options.scores is None else parse_scores(options.scores)
    scores = DirectoryScores.of(run.read_sweep(), named)
    dataset, model = load_images(options), options.model_choice()
    images = _images(options.images, dataset, training)
    if training is not None:
        training.check(canonical_name(model.name), dataset, images)
        model = replace(model, weights=training.weights_or(model.weights))
    data = SweepData(dataset)
    read = read_inputs(
        dataset, model, options.checkpoints, labels=options.label_choice(), with_reference=True
    )
    inputs = AttributeInputs.of(read, training)
    settings = AttributeJobSettings(
        actor=ActorSettings(
            output=run.url,  # absolute: an actor works in another folder
            precision=options.precision,
            save_images=parse_saved("save_images", options.save_images, len(dataset), images),
            batch_size=chosen_batch_size(options),
        ),
        attribution=options.attribution_settings(),
        scores=scores,
    )
    check_methods(own, settings.attribution, inputs.image_shape)
    check_scores(scores.named, inputs.image_shape)
    own, notes = tried_methods(own, [partial(_tried_model, inputs)], are_all=options.methods == ALL)
    products = _products((*own, *(name for name in methods if name in TRAINING_METHODS)), targets)
    shard_size = SMALL_SHARD if inputs.is_small else LARGE_SHARD
    _check_memory(min(options.shard_size or shard_size, len(images)), products, inputs)
    on_gpu = shard_size_on_gpu(inputs.image_size, settings.actor.batch_size)
    kinds = replace(KINDS, later={"checkpoint": _first_checkpoint(model)})
    requested = tuple(
        product | {"checkpoint": tuple(inputs.checkpoints), "image_index": images} for product in products
    )
    return Sweep(
        name="attribute",
        kinds=kinds,
        requested=requested,
        beside=scores.side_table(requested),
        settings={
            **model.settings(),
            **data.settings(run, "attribute", kinds),
            **inputs.labelling.settings,
            **scores.setting,
            "seed": options.seed,
            "precision": options.precision,
        },
        definitions={
            **_weights(inputs),
            **inputs.model_definitions,
            **data.definitions,
            **definitions_of_methods(own, settings.attribution),
            **inputs.definitions,
            **definitions_of_scores(scores.named),
            **definitions_of_boxes(dataset, scores.named),
        },
        batch_size=settings.actor.batch_size,
        provenance=inputs.provenance(),
        notes=(*inputs.notes, *notes),
        shard_size=shard_size,
        shard_size_on_gpu=min(on_gpu, max(shard_size, _most_images(products, inputs))),
        factory=partial(AttributeJob, settings),
        shared=inputs,
        data=data,
        bytes_per_cell=max(_bytes_per_image(product, inputs) for product in products),
        warm_up=partial(_seconds_per_image, settings, inputs, products),
    )


def _methods(text: str, training: TrainingMaps | None) -> tuple[str, ...]:
    """Return the methods. Raises ValueError for one that needs a training where none is given."""
    known = (*METHODS, *TRAINING_METHODS) if training is not None or text != ALL else tuple(METHODS)
    methods = parse_methods(text, known)
    needing = [name for name in methods if name in TRAINING_METHODS]
    if needing and training is None:
        raise ValueError(f"methods={needing[0]!r}: it needs --training RUN; accepted is {ACCEPTED}")
    return methods


def _images(text: str, dataset: Dataset, training: TrainingMaps | None) -> tuple[int, ...]:
    """Return the images by index; of a training, all are those that it followed."""
    if text == ALL and training is not None:
        return tuple(training.images)
    return parse_integers("images", text, limit=len(dataset))


def _explains_loss(method: str) -> bool:
    return method in TRAINING_METHODS or method_named(method).explains_loss


def _products(methods: Sequence[str], targets: Sequence[str]) -> tuple[Axes, ...]:
    """Return targets x methods. Methods of the loss explain it whatever the targets are."""
    others = tuple(method for method in methods if not _explains_loss(method))
    of_loss = tuple(method for method in methods if _explains_loss(method) or LOSS in targets)
    of_logits = tuple(target for target in targets if target != LOSS)
    products: tuple[Axes, ...] = (
        {"target": of_logits, "method": others},
        {"target": (LOSS,), "method": of_loss},
    )
    return tuple(axes for axes in products if all(axes.values()))


def _first_checkpoint(model: ModelChoice) -> str:
    """Return the checkpoint whose rows run directories had before they could have others."""
    return UNTRAINED if model.weights == UNTRAINED else TRAINED


def _weights(inputs: ImageInputs) -> dict[str, str]:
    """Return the digests of the weights, for sweep.json; `weights` are the trained ones."""
    own = inputs.reference or inputs.checkpoints.get(UNTRAINED)
    others = {
        f"checkpoint {name}": each.digest for name, each in inputs.checkpoints.items() if each is not own
    }
    return ({} if own is None else {"weights": own.digest}) | others


def _tried_model(inputs: ImageInputs) -> PreparedModel:
    """Return the model on this machine's CPU, for methods that look at it before work starts."""
    return prepare(build_classifier(inputs.checkpoint), device="cpu", batch_size=2)


def _bytes_per_image(product: Axes, inputs: ImageInputs) -> int:
    return BYTES_A_VALUE * len(product["method"]) * math.prod(inputs.image_shape)


def _check_memory(shard_size: int, products: Sequence[Axes], inputs: ImageInputs) -> None:
    """Raise ValueError if no actor could hold a shard's attributions."""
    bytes_per_image = max(_bytes_per_image(product, inputs) for product in products)
    if shard_size > _most_images(products, inputs):
        raise ValueError(
            f"shard_size={shard_size}: its attributions are {shard_size * bytes_per_image / 1e9:.1f} GB in an "
            f"actor's memory; accepted are up to {_most_images(products, inputs)} images, or fewer methods"
        )


def _most_images(products: Sequence[Axes], inputs: ImageInputs) -> int:
    """Return of how many images an actor can hold the attributions."""
    return int(MOST_BYTES // max(_bytes_per_image(product, inputs) for product in products))


def _seconds_per_image(
    settings: AttributeJobSettings, inputs: AttributeInputs, products: Sequence[Axes]
) -> dict[str, float]:
    """Measure seconds an image by target, under all its methods, from a few images on this machine."""
    job, checkpoint = AttributeJob(settings, inputs), next(iter(inputs.checkpoints))
    return {
        str(target): job.seconds_per_image(checkpoint, [str(method) for method in product["method"]], target)  # type: ignore[arg-type]  # one of TARGETS
        for product in products
        for target in product["target"]
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(
        AttributeOptions, lambda options: run_sweep(attribute_sweep(options), options), arguments
    )


if __name__ == "__main__":
    sys.exit(main())
