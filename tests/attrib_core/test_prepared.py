"""The network sees one batch shape, so that an image's results do not depend on its neighbours."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import METHODS as ATTACKS
from attrib_core.attacks import AttackSettings, attack
from attrib_core.attacks.mixed_precision import MixedPrecisionModel
from attrib_core.attribution import METHODS as ATTRIBUTIONS
from attrib_core.attribution import AttributionSettings, attribute, deletion_and_insertion
from attrib_core.classifiers import Classifier, Labels, Preprocessing, load_classifier
from attrib_core.classifiers.classifier import Identity
from attrib_core.datasets import View, load_dataset
from attrib_core.execution import choose_execution
from attrib_core.generation import Cell, evaluate, find_recipe, generate_batch, to_8_bits
from attrib_core.generation.modification import ModificationSettings, modify
from attrib_core.prepared import PreparedModel, default_batch_size, logit_of, loss_of, prepare, whole_batch

NUM_CLASSES, BATCH_SIZE = 10, 12


class Recording(nn.Module):
    """A network that notes the shapes of what it is shown, and runs out of memory beyond `most` images."""

    def __init__(self, network: nn.Module, most: int = 10**6) -> None:
        super().__init__()
        self.network, self.most, self.sizes = network, most, []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("injected")
        logits: Tensor = self.network(images)
        return logits


def small_network(channels: int) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = [nn.Conv2d(channels, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()]
        return nn.Sequential(*layers, nn.Linear(128, 50), nn.ReLU(), nn.Linear(50, NUM_CLASSES))


def recording(channels: int, most: int = 10**6) -> tuple[PreparedModel, list[int]]:
    network = Recording(small_network(channels), most)
    identity = Identity(
        name="recording",
        digest="0" * 64,
        preprocessing=Preprocessing(mean=(0.0,) * channels, std=(1.0,) * channels, image_size=8),
        labels=Labels.numbered(NUM_CLASSES),
    )
    model = prepare(Classifier(network, identity), device="cpu", batch_size=BATCH_SIZE)
    return model, network.sizes


def in_batches_of(batch_size: int) -> PreparedModel:
    return PreparedModel(recording(channels=1)[0].classifier, choose_execution("cpu"), batch_size)


def drawn(count: int, channels: int) -> Tensor:
    return torch.rand(count, channels, 8, 8, generator=torch.Generator().manual_seed(1))


def attacked(model: PreparedModel, method: str, count: int) -> None:
    labels = torch.arange(count) % NUM_CLASSES
    settings = AttackSettings(num_steps=2)
    attack(model, drawn(count, 1), labels, method, epsilons=[0.0, 0.003, 0.1], settings=settings)


def attributed(model: PreparedModel, method: str, count: int) -> None:
    labels = torch.arange(count) % NUM_CLASSES
    settings = AttributionSettings(num_steps=3, num_samples=5, window_size=4, stride=3)
    values = attribute(model, drawn(count, 1), labels, [method], settings=settings).values[method]
    deletion_and_insertion(model, drawn(count, 1), values, labels, num_steps=4)


def modified(model: PreparedModel, _method: str, count: int) -> None:
    targets = torch.arange(count) % NUM_CLASSES
    modify(model, drawn(count, 1), targets, settings=ModificationSettings(num_steps=2))


WORK: list[tuple[Callable[[PreparedModel, str, int], None], str]] = [
    *((attacked, method) for method in ATTACKS),
    *((attributed, method) for method in ATTRIBUTIONS),
    (modified, "modification"),
]


@pytest.mark.parametrize("count", [1, 5, 12, 31])
@pytest.mark.parametrize(("work", "method"), WORK, ids=[f"{w.__name__}-{m}" for w, m in WORK])
def test_the_network_sees_one_batch_shape(work, method, count) -> None:
    model, sizes = recording(channels=1)
    work(model, method, min(count, BATCH_SIZE) if work is modified else count)
    assert set(sizes) == {BATCH_SIZE}


@pytest.mark.parametrize("recipe", ["plain", "fast", "blur_resize"])
@pytest.mark.parametrize("count", [1, 7])
def test_generation_and_its_judges_see_one_batch_shape(recipe, count) -> None:
    model, sizes = recording(channels=3)
    cells = [Cell(class_index % NUM_CLASSES, 0) for class_index in range(count)]
    made = generate_batch(model, find_recipe(recipe).with_num_steps(4), cells, sweep_seed=0, image_size=32)
    judge, judge_sizes = recording(channels=3)
    evaluate(
        model, {"judge": judge}, to_8_bits(made.images), torch.tensor([cell.class_index for cell in cells])
    )
    assert set(sizes) == set(judge_sizes) == {BATCH_SIZE}


@pytest.fixture(scope="module")
def fashion() -> tuple[PreparedModel, Tensor, Tensor]:
    """The shipped network, and test images with their labels."""
    model = prepare(load_classifier("fashion_deep"), device="cpu")
    dataset = load_dataset("fashion_mnist")
    pixels = torch.from_numpy(dataset.images(range(32), View.of(model.classifier)))
    return model, pixels.float() / 255, torch.from_numpy(dataset.labels[:32])


def test_an_images_place_in_the_batch_changes_no_bit(fashion) -> None:
    """Of logits and gradients: what holds on this processor is what the promise rests on."""
    model, images, labels = fashion
    objectives = [lambda logits: loss_of(logits, labels[:1].expand(len(logits)))]
    expected = model.gradients(images[:1], objectives)
    for place in (1, 2, 3, 7, 31, model.batch_size - 1):
        neighbours = images[torch.arange(model.batch_size) % len(images)].clone()
        neighbours[place] = images[0]
        logits, (gradient,) = model.gradients(neighbours, objectives)
        assert torch.equal(logits[place], expected[0][0])
        assert torch.equal(gradient[place], expected[1][0][0])


def test_logits_and_gradients_are_the_classifiers(fashion) -> None:
    model, images, labels = fashion
    points = images.clone().requires_grad_()
    expected = model.classifier(points)
    (gradient,) = torch.autograd.grad(expected.gather(1, labels[:, None]).sum(), points)
    logits, (found,) = model.gradients(images, [lambda logits: logit_of(logits, labels)])
    torch.testing.assert_close(logits, expected.detach(), rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.logits(images), logits)
    assert torch.equal(model.in_float32().exact_logits(images), logits)


def test_many_images_are_cut_into_passes() -> None:
    model, sizes = recording(channels=1)
    images = drawn(30, 1)
    found = model.logits(images)
    assert sizes == [BATCH_SIZE] * 3
    assert torch.equal(found[24:], model.logits(images[24:]))


def test_where_memory_runs_out_the_batch_is_halved_for_good() -> None:
    model, sizes = recording(channels=1, most=6)
    found = model.logits(drawn(20, 1))
    assert model.batch_size == 4, "half, as a multiple of four"
    assert sizes == [BATCH_SIZE, *[4] * 5]
    torch.testing.assert_close(found, recording(channels=1)[0].logits(drawn(20, 1)))


def test_models_of_one_network_halve_together() -> None:
    model, sizes = recording(channels=1, most=6)
    mixed = MixedPrecisionModel(model, PreparedModel(model.classifier, model.execution, BATCH_SIZE))
    model.in_float32().exact_logits(drawn(BATCH_SIZE, 1))
    assert model.batch_size == mixed.batch_size == mixed.quick.batch_size == 4
    sizes.clear()
    mixed.exact_logits(drawn(8, 1))
    with model.lent("somebody's attack") as lent:
        assert lent.batch_size == 4
    assert sizes == [4, 4]


@pytest.mark.parametrize(
    ("capacity", "sizes"),
    [(100, [8, 2]), (8, [8, 2]), (7, [4, 4, 2]), (3, [2] * 5), (1, [1] * 10)],
)
def test_a_batch_that_does_not_fit_is_halved_for_good(capacity: int, sizes: list[int]) -> None:
    def run(items: range) -> list[int]:
        if len(items) > capacity:
            raise torch.OutOfMemoryError("injected")
        return list(items)

    model = in_batches_of(8)
    results = model.in_passes(10, run)
    assert [len(result) for result in results] == sizes
    assert [item for result in results for item in result] == list(range(10))
    assert model.batch_size == max(sizes)


def test_a_row_that_does_not_fit_alone_is_an_error() -> None:
    def run(items: range) -> None:
        raise torch.OutOfMemoryError("injected")

    with pytest.raises(torch.OutOfMemoryError):
        in_batches_of(4).in_passes(4, run)


def test_other_faults_are_raised_at_once() -> None:
    def run(items: range) -> None:
        raise RuntimeError("a fault")

    with pytest.raises(RuntimeError, match="a fault"):
        in_batches_of(4).in_passes(4, run)


def test_batch_sizes_are_multiples_of_four_and_smaller_for_larger_images() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    assert default_batch_size(cpu, (1, 28, 28)) == 200
    assert default_batch_size(cpu, (3, 224, 224)) == 8
    assert default_batch_size(gpu, (1, 28, 28)) > default_batch_size(gpu, (3, 224, 224)) > 32
    assert default_batch_size(gpu, (3, 299, 299)) % 4 == 0
    assert default_batch_size(cpu, (1, 28, 28), num_images=5) == 8
    assert [whole_batch(count) for count in (1, 4, 5)] == [4, 4, 8]


def test_a_batch_size_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"batch_size=0: accepted are 1 and more"):
        prepare(load_classifier("fashion_deep"), batch_size=0)
