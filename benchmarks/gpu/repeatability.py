"""Does the device compute the same twice, bit for bit, alone and among others?"""

from collections.abc import Iterator

import torch
from torch import Tensor

from attrib_core.attacks import AttackBatch, attack_batch
from attrib_core.attribution import METHODS, attribute
from attrib_core.classifiers import with_folded_batch_norms
from attrib_core.generation import Cell, find_recipe, generate_batch
from attrib_core.prepared import PreparedModel, prepare
from gpu.bench import EPSILONS, Bench, relative_error, same_bits
from gpu.results import Check, Result

# One recipe for each way to write an image, and for each kind of view.
RECIPES = ("default", "fast", "blur_resize_jitter", "lucid")


def run(bench: Bench) -> list[Iterator[Result]]:
    """Run everything twice, then in another company."""
    return [piece(bench) for piece in (_generation, _attack, _attribution)]


def _generation(bench: Bench) -> Iterator[Result]:
    count, size = bench.size(64, 8), bench.size(224, 64)
    classifier = with_folded_batch_norms(bench.large_model)
    model = prepare(classifier, device=bench.device, batch_size=count, image_size=size)
    cells = [Cell(17 * number, number) for number in range(count)]
    for name in RECIPES if not bench.quick else RECIPES[:1]:
        once, again, few = (_images(bench, model, name, each, size) for each in (cells, cells, cells[:3]))
        yield _same(f"`{name}` twice", again, once)
        yield _same(f"`{name}` alone and among others", few, once[:3])


def _images(bench: Bench, model: PreparedModel, name: str, cells: list[Cell], size: int) -> Tensor:
    recipe = find_recipe(name)
    recipe = recipe.with_num_steps(bench.size(4, 1) * len(recipe.stages))
    return generate_batch(model, recipe, cells, sweep_seed=0, image_size=size).images


def _attack(bench: Bench) -> Iterator[Result]:
    model = prepare(bench.small_model, device=bench.device, batch_size=len(bench.images))
    rows = torch.arange(len(bench.images))
    for method, epsilons in (("fgsm", EPSILONS), ("pgd", EPSILONS[5:6])):
        once, again, few = (
            _adversarial(bench, model, method, epsilons, each) for each in (rows, rows, rows[:5])
        )
        yield _same(f"{method} twice", again, once)
        yield _same(f"{method} alone and among others", few, once[:5])


def _adversarial(
    bench: Bench, model: PreparedModel, method: str, epsilons: tuple[float, ...], rows: Tensor
) -> Tensor:
    batch = AttackBatch(
        images=model.images(bench.images[rows]),
        labels=bench.labels[rows].to(model.device),
        keys=tuple(rows.tolist()),
    )
    return attack_batch(model, batch, method, epsilons, keep=range(len(rows))).adversarial_images


def _attribution(bench: Bench) -> Iterator[Result]:
    model = prepare(bench.small_model, device=bench.device, batch_size=32)
    images, labels = bench.images[:32], bench.labels[:32]
    once, again, few = (
        attribute(model, images[:each], labels[:each], tuple(METHODS)).values for each in (32, 32, 5)
    )
    for name in METHODS:
        yield _same(f"{name} twice", again[name], once[name])
        yield _same(f"{name} alone and among others", few[name], once[name][:5])


def _same(name: str, found: Tensor, expected: Tensor) -> Check:
    passed = same_bits(found, expected)
    note = "the same bits" if passed else f"relative error {relative_error(found, expected):.1e}"
    return Check(name=f"{name}, bit for bit", passed=passed, note=note)
