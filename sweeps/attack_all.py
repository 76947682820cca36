"""Adversarial images over whole test sets: checkpoints x methods x targets x images, at every ε.

python sweeps/attack_all.py --methods fgsm,max_norm,random_sign --output runs/attack
python sweeps/attack_all.py --methods pgd:num_steps=40,foolbox:L2DeepFoolAttack,my_file.py:my_attack
python sweeps/attack_all.py --checkpoints untrained,trained --epsilons 0,1/255,0.1 --output runs/attack
python sweeps/attack_all.py --model resnet50 --dataset imagenet --data-root /data/imagenet --address auto
"""

import math
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import Field
from tyro.conf import FlagCreatePairsOff

from attrib_core.attacks import METHODS, AttackSettings, Method, UnknownMethodError, method_named
from attrib_core.attacks.adapters import FAMILIES
from attrib_core.attacks.checks import check_request
from attrib_core.attacks.foreign import Foreign
from attrib_core.attacks.minimum import GRID
from attrib_core.attacks.mixed_precision import AttackPrecision
from sweeps.attack.job import AttackJob, AttackJobSettings
from sweeps.attack.rows import UNTARGETED, epsilon_text
from sweeps.attack.victims import AttackInputs, DirectoryVictims, read_victims
from sweeps.cli import output_field, run_command
from sweeps.images.actor import ActorSettings
from sweeps.images.data import SweepData, load_images
from sweeps.images.inputs import ImageInputs, read_inputs
from sweeps.images.options import ImageOptions, parse_saved
from sweeps.plan import Axes
from sweeps.ranges import parse_integers, parse_numbers, parse_references, refuse_same
from sweeps.runner import run_sweep
from sweeps.schemas.axis_kinds import AXIS_KINDS
from sweeps.shard_sizes import shard_size_on_gpu
from sweeps.store import RunDirectory
from sweeps.sweep import Sweep, chosen_batch_size

EPSILONS = "0,0.25/255,0.5/255,1/255,2/255,0.01,4/255,8/255,16/255,0.1,32/255,64/255"
KINDS = AXIS_KINDS["attack"]
# A method that seeks the minimum has one row an image, whose ε it finds.
MINIMUM = "minimum"
# Images a shard: seconds of work on one CPU thread, for small images and for large ones.
SMALL_SHARD, LARGE_SHARD = 1000, 64
BATCHES_ON_GPU = 4  # of a shard: about a second of work


class AttackOptions(ImageOptions):
    """Options of the adversarial sweep."""

    output: str = output_field("attack")
    checkpoints: str = Field(
        "trained",
        description="`trained` (--weights), `untrained`, folders of checkpoints along a training, and run "
        "directories of attribute_training.py.",
    )
    methods: str = Field(
        "fgsm",
        description=f"Of {', '.join(METHODS)}, or `all` of these; {':NAME, '.join(FAMILIES)}:NAME, or "
        "FILE.py:FUNCTION; settings of their own as in `pgd:num_steps=40`.",
    )
    epsilons: str = Field(
        EPSILONS,
        description="Sizes of the perturbation: `0,0.25/255,0.01`; in [0, 1] for the max norm, beyond for others.",
    )
    evaluate_on: str = Field(
        "none",
        description="Other models that are shown the adversarial images, such as "
        "`fashion_alexnet:weights=FILE`, or `none`. They may be added later.",
    )
    targets: str = Field("none", description="Classes to aim at: `0-9`, `all`, or `none` (untargeted).")
    no_clip: FlagCreatePairsOff[bool] = Field(
        False, description="Let adversarial images leave [0, 1], as the original work did."
    )
    save_images: str = Field(
        "first",
        description="Images whose clean and adversarial versions are stored: `0-15`, `all`, `none`, or the "
        "`first` 16 of --images.",
    )
    save_perturbations: str = Field(
        "all", description="Images whose sign map or direction is stored: `0-15`, `all` or `none`."
    )
    num_steps: int = Field(10, ge=1, description="Steps of an iterated attack.")
    step_size: float | None = Field(
        None, gt=0, le=1, description="Of an iterated attack, in [0, 1]; 2.5 ε / steps if not given."
    )
    tolerance: float = Field(0.01 / 255, gt=0, le=1, description="To which a minimum ε is found.")
    precision: AttackPrecision = Field(  # type: ignore[assignment]  # wider than the other sweeps'
        "float32", description="`mixed`: quick passes, and float32 for all that they leave in doubt."
    )


def attack_sweep(options: AttackOptions) -> Sweep:
    """Resolve the options against model and data. Raises ValueError for whatever cannot work."""
    methods = _methods(options.methods)
    _refuse_own_losses(options, methods)
    on_grid = {name: method for name, method in methods.items() if not method.seeks_minimum}
    largest = 1.0 if all(each.norm == "linf" for each in on_grid.values()) else math.inf
    epsilons = _epsilons(options.epsilons, largest)
    dataset, model = load_images(options), options.model_choice()
    data = SweepData(dataset)
    own_inputs = read_inputs(dataset, model, options.checkpoints, labels=options.label_choice())
    named, accuracies = read_victims(options.evaluate_on, own_inputs)
    victims = DirectoryVictims.of(RunDirectory(options.output).read_sweep(), named)
    inputs = AttackInputs.of(own_inputs, named, tuple(victims.columns))
    images = parse_integers("images", options.images, limit=len(dataset))
    settings = AttackJobSettings(
        actor=ActorSettings(
            output=RunDirectory(options.output).url,  # absolute: an actor works in another folder
            precision=options.precision,
            save_images=parse_saved("save_images", options.save_images, len(dataset), images),
            batch_size=chosen_batch_size(options),
        ),
        attack=_attack_settings(options),
        save_perturbations=parse_saved("save_perturbations", options.save_perturbations, len(dataset)),
    )
    targets = _targets(options.targets, inputs.num_classes)
    for name, method in methods.items():
        check_request(
            name,
            method,
            epsilons if name in on_grid else GRID,
            inputs.image_shape,
            targeted=targets != (UNTARGETED,),
            settings=settings.attack,
        )
    requested = _products(methods, tuple(inputs.checkpoints), targets, images, epsilons)
    return Sweep(
        name="attack",
        kinds=KINDS,
        requested=requested,
        settings={
            **model.settings(),
            **data.settings(RunDirectory(options.output), "attack", KINDS),
            **inputs.labelling.settings,
            **victims.setting,
            "clip": not options.no_clip,
            "seed": options.seed,
            "precision": options.precision,
        },
        definitions=inputs.model_definitions
        | inputs.victim_definitions
        | _definitions(inputs, methods, settings.attack)
        | data.definitions,
        batch_size=settings.actor.batch_size,
        provenance=inputs.provenance(),
        notes=(*inputs.notes, *accuracies),
        beside=victims.side_table(requested, tuple(named)),
        check_first=partial(victims.check, tuple(named)),
        shard_size=SMALL_SHARD if inputs.is_small else LARGE_SHARD,
        shard_size_on_gpu=shard_size_on_gpu(inputs.image_size, settings.actor.batch_size, BATCHES_ON_GPU),
        factory=partial(AttackJob, settings),
        shared=inputs,
        data=data,
        bytes_per_cell=_bytes_per_image(inputs, len(epsilons)),
        warm_up=partial(_seconds_per_image, settings, inputs, tuple(methods), epsilons),
    )


def _methods(text: str) -> dict[str, Method]:
    """Return the methods by their references. ValueError names one that is wrong, before any work starts."""
    methods = {name: _method(name) for name in parse_references("methods", text, tuple(METHODS))}
    refuse_same("methods", {name: method.given for name, method in methods.items()})
    return methods


def _refuse_own_losses(options: AttackOptions, methods: Mapping[str, Method]) -> None:
    """Raise ValueError for attacks of others on an ensemble of losses: they see one set of logits."""
    own = [name for name, method in methods.items() if isinstance(method, Foreign)]
    if options.ensemble == "losses" and own:
        raise ValueError(
            f"ensemble='losses': {own[0]} computes a loss of its own; accepted are logits and probabilities"
        )


def _method(name: str) -> Method:
    try:
        return method_named(name, "methods")
    except UnknownMethodError as error:
        raise ValueError(
            f"methods: unknown name {name!r}; accepted: names or references, {error.accepted}"
        ) from None


def _epsilons(text: str, largest: float) -> tuple[float, ...]:
    """Return the ε. ValueError names two that the keys of their images could not tell apart."""
    epsilons = parse_numbers("epsilons", text, low=0, high=largest)
    first: dict[str, float] = {}
    for each in epsilons:
        other = first.setdefault(epsilon_text(each), each)
        if other != each:
            raise ValueError(
                f"epsilons: {other!r} and {each!r} agree in nine digits, so one ε is listed twice; "
                "list each value once"
            )
    return epsilons


def _attack_settings(options: AttackOptions) -> AttackSettings:
    return AttackSettings(
        clip=not options.no_clip,
        num_steps=options.num_steps,
        step_size=options.step_size,
        tolerance=options.tolerance,
        seed=options.seed,
    )


def _products(
    methods: Mapping[str, Method],
    checkpoints: tuple[str, ...],
    targets: tuple[int | str, ...],
    images: tuple[int, ...],
    epsilons: tuple[float, ...],
) -> tuple[Axes, ...]:
    """Return two products: methods that take the ε of the grid, and methods that find their own."""
    on_grid = tuple(name for name, method in methods.items() if not method.seeks_minimum)
    seeking = tuple(name for name, method in methods.items() if method.seeks_minimum)
    common: Axes = {"checkpoint": checkpoints, "target": targets, "image_index": images}
    products: tuple[Axes, ...] = (
        {"method": on_grid, **common, "epsilon": epsilons},
        {"method": seeking, **common, "epsilon": (MINIMUM,)},
    )
    return tuple(product for product in products if product["method"])


def _definitions(
    inputs: ImageInputs, methods: Mapping[str, Method], settings: AttackSettings
) -> dict[str, str]:
    checkpoints = {f"checkpoint {name}": each.digest for name, each in inputs.checkpoints.items()}
    return checkpoints | {
        f"method {name}": text for name, method in methods.items() if (text := method.describe(settings))
    }


def _targets(text: str, num_classes: int) -> tuple[int | str, ...]:
    return (UNTARGETED,) if text == "none" else parse_integers("targets", text, limit=num_classes)


def _bytes_per_image(inputs: ImageInputs, num_epsilons: int) -> int:
    """Estimate a sign map as PNG, about two bits a value, and some 40 bytes a row."""
    return inputs.channels * inputs.image_size**2 // 4 + 40 * num_epsilons


def _seconds_per_image(
    settings: AttackJobSettings, inputs: AttackInputs, methods: Sequence[str], epsilons: tuple[float, ...]
) -> dict[str, Any]:
    """Measure seconds an image by method, from one batch of each on this machine."""
    job = AttackJob(settings, inputs)
    return {method: job.seconds_per_image(method, epsilons) for method in methods}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, the process's own if none is given, and return the exit status."""
    return run_command(AttackOptions, lambda options: run_sweep(attack_sweep(options), options), arguments)


if __name__ == "__main__":
    sys.exit(main())
