"""Attacks that users bring as functions: what they are given, and what is made of their mistakes."""

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import (
    AttackBatch,
    AttackResult,
    ForeignAttackError,
    attack,
    attack_batch,
    method_named,
)
from attrib_core.attacks.counted_model import CountedModel
from attrib_core.classifiers import Classifier
from attrib_core.prepared import PreparedModel, prepare

NUM_IMAGES = 6
_numbers = itertools.count()


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], str]:
    """Writes a file whose name no other test has, and returns its path."""

    def file(source: str) -> str:
        path = tmp_path / f"mine_{next(_numbers)}.py"
        path.write_text(f"import torch\n{source}")
        return str(path)

    return file


@pytest.fixture(scope="module")
def model() -> PreparedModel:
    """The class is the brightest of three columns of pixels; the batch is larger than the images are."""
    layer = nn.Linear(9, 3, bias=False)
    layer.weight.data = torch.eye(3).repeat(1, 3)
    network = nn.Sequential(nn.Flatten(), layer)
    return prepare(Classifier.wrap(network, image_size=3, channels=1), device="cpu", batch_size=8)


@pytest.fixture(scope="module")
def batch() -> AttackBatch:
    images = torch.full((NUM_IMAGES, 1, 3, 3), 0.4)
    images[:, :, :, 0] = torch.linspace(0.5, 0.9, NUM_IMAGES).view(-1, 1, 1)
    labels = torch.zeros(NUM_IMAGES, dtype=torch.long)
    return AttackBatch(images=images, labels=labels, keys=tuple(range(10, 10 + NUM_IMAGES)))


@pytest.fixture
def run(model: PreparedModel, batch: AttackBatch) -> Callable[..., AttackResult]:
    def attacked(
        reference: str, epsilons: tuple[float, ...] = (0.1,), rows: slice = slice(None)
    ) -> AttackResult:
        part = AttackBatch(images=batch.images[rows], labels=batch.labels[rows], keys=batch.keys[rows])
        return attack_batch(model, part, reference, epsilons, keep=range(len(part.keys)))

    return attacked


DARKER = """
def darker(model, inputs, labels, *, epsilon, targets=None, column: int = 0, times: float = 1):
    changed = inputs.clone()
    changed[..., column] -= times * epsilon
    return changed.clamp(0, 1)
"""


def test_a_function_gets_epsilon_and_its_settings_and_norms_are_measured(write, run, batch) -> None:
    found = run(f"{write(DARKER)}:darker:times=2", (0.05, 0.2))
    expected = batch.images.clone()
    expected[..., 0] -= 0.4
    torch.testing.assert_close(found.adversarial_images[:, 1], expected)
    torch.testing.assert_close(found.linf, torch.tensor([[0.1, 0.4]]).expand(NUM_IMAGES, -1))
    torch.testing.assert_close(found.l1, torch.tensor([[0.3, 1.2]]).expand(NUM_IMAGES, -1))
    torch.testing.assert_close(found.l2, torch.tensor([[0.03, 0.48]]).sqrt().expand(NUM_IMAGES, -1))
    assert (found.l0 == 3).all()
    assert (found.num_forwards == 0).all(), "it never asked the network"
    assert found.epsilons.tolist() == [[0.05, 0.2]] * NUM_IMAGES


def test_the_library_takes_a_reference_too(write, batch) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 3))
    model = Classifier.wrap(network, image_size=3, channels=1)
    result = attack(model, batch.images, batch.labels, f"{write(DARKER)}:darker", epsilons=[0.1])
    assert result.linf.shape == (NUM_IMAGES, 1)


def test_what_a_minimum_found_is_measured_in_its_norm_and_null_where_it_failed(write, run) -> None:
    source = """
def step(model, inputs, labels, targets=None):
    changed = inputs.clone()
    changed[..., 0] = 0.3
    return torch.where(inputs[..., :1, :1] > 0.8, inputs, changed)
step.finds_minimum = True
step.norm = "l2"
"""
    reference = f"{write(source)}:step"
    found = run(reference)
    assert method_named(reference).seeks_minimum
    sizes = [3**0.5 * (0.5 + 0.08 * number - 0.3) for number in range(NUM_IMAGES)]
    torch.testing.assert_close(
        found.epsilons[:4, 0], torch.tensor(sizes[:4], dtype=torch.float64), atol=1e-6, rtol=0
    )
    assert found.epsilons[4:].isnan().all(), "they were left as they are"


def test_the_model_takes_any_number_of_images_and_counts_them(write, run) -> None:
    source = """
def curious(model, inputs, labels, *, epsilon, targets=None):
    assert isinstance(model, torch.nn.Module) and not model.training
    assert next(model.parameters()).device == inputs.device
    many = inputs.repeat(5, 1, 1, 1).requires_grad_()
    logits = model(many)
    assert logits.shape == (5 * len(inputs), 3)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), many)
    assert gradient.is_contiguous()
    with torch.no_grad():
        model(inputs[:1])
        assert model(inputs[:0]).shape == (0, 3)
    return inputs - epsilon * gradient[: len(inputs)].sign()
"""
    found = run(f"{write(source)}:curious")
    assert torch.allclose(found.num_forwards, torch.tensor(5 + 1 / NUM_IMAGES, dtype=torch.float64))
    assert (found.num_backwards == 5).all()


def test_passes_are_not_filled_up(batch) -> None:
    """An attack that takes image after image would be as many times slower, and its images would differ."""
    seen: list[int] = []

    class Seeing(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            seen.append(len(images))
            return images.flatten(1)[:, :3]

    classifier = Classifier.wrap(Seeing(), image_size=3, channels=1)
    network = CountedModel(prepare(classifier, device="cpu", batch_size=16))
    seen.clear()
    for count in (1, 2, 6, 20):
        network(batch.images[:1].expand(count, -1, -1, -1))
    assert seen == [1, 2, 6, 16, 4]
    assert network.num_forwards == 29


NOISE = """
import random
import numpy as np
def noise(model, inputs, labels, *, epsilon, targets=None):
    draws = torch.rand_like(inputs) + np.random.rand() + random.random()
    return (inputs - epsilon * draws / 3).clamp(0, 1)
"""


def test_random_numbers_are_those_of_seed_reference_and_first_key(write, run) -> None:
    reference = f"{write(NOISE)}:noise"
    both, one = run(reference, (0.05, 0.2)), run(reference, (0.2,))
    assert torch.equal(both.adversarial_images[:, 1], one.adversarial_images[:, 0]), (
        "whatever else is asked for"
    )
    others = run(reference, (0.2,), slice(1, None))
    assert not torch.equal(others.adversarial_images[:, 0], one.adversarial_images[1:, 0]), (
        "another first image"
    )


def test_the_path_to_a_file_is_no_part_of_its_random_numbers(write, run) -> None:
    path = write(NOISE)
    by_path, by_name = run(f"{path}:noise"), run(f"{Path(path).name}:noise")
    assert torch.equal(by_path.adversarial_images, by_name.adversarial_images)


def test_inputs_are_the_attacks_own(write, run, batch) -> None:
    before = batch.images.clone()
    source = "def rude(model, inputs, labels, *, epsilon):\n    labels[:] = 2\n    return inputs.zero_()\n"
    found = run(f"{write(source)}:rude")
    assert torch.equal(batch.images, before)
    assert (batch.labels == 0).all()
    assert (found.adversarial_images == 0).all()


BAD_RESULTS = {
    "raises": ("raise ZeroDivisionError('oh')", r"line 3: ZeroDivisionError: oh"),
    "leaves": ("raise SystemExit(3)", r"line 3: SystemExit: 3"),
    "none": ("pass", r"line 2: it returned None; accepted are adversarial images \[6, 1, 3, 3\]"),
    "tuple": ("return inputs, labels", r"line 2: it returned a tuple"),
    "shape": ("return inputs[:2]", r"line 2: it returned the shape \[2, 1, 3, 3\]"),
    "bytes": ("return (255 * inputs).byte()", r"line 2: it returned numbers of torch.uint8"),
    "nan": ("return inputs * float('nan')", r"line 2: it returned values from nan to nan"),
    "range": ("return inputs + 1", r"line 2: it returned values from 1.4 to 1.9"),
    "in the model": ("return model(inputs[:, 0])", r"line 3: ValueError: images \[6, 3, 3\]"),
}


@pytest.mark.parametrize(("body", "message"), BAD_RESULTS.values(), ids=BAD_RESULTS)
def test_what_is_no_adversarial_image_is_an_error_with_file_and_line(body, message, write, run) -> None:
    path = write(f"def bad(model, inputs, labels, *, epsilon, targets=None):\n    {body}\n")
    with pytest.raises(ForeignAttackError, match=message) as failed:
        run(f"{path}:bad")
    name = Path(path).name
    assert str(failed.value).startswith(f"method='{name}:bad': {name}, line ")


def test_rounding_beyond_the_range_is_cut_off(write, run) -> None:
    source = "def full(model, inputs, labels, *, epsilon, targets=None):\n    return inputs * 0 + 1 + 5e-7\n"
    assert (run(f"{write(source)}:full").adversarial_images == 1).all()


BAD_FUNCTIONS = {
    "no function": ("bad = 3", r"it is a int; accepted is a function attack\(model, inputs, labels"),
    "a class": ("class bad: ...", r"it is a type; accepted is a function"),
    "nothing taken": ("def bad(): ...", r"its function takes nothing; accepted is attack\(model"),
    "no epsilon": ("def bad(model, inputs, labels): ...", r"takes no epsilon; .* or finds_minimum = True"),
    "norm": (
        "def bad(m, x, y, epsilon): ...\nbad.norm = 'l3'",
        r"its norm is 'l3'; accepted are linf, l2, l1, l0",
    ),
    "more": (
        "def bad(m, x, y, *, epsilon, budget): ...",
        r"it needs budget; accepted is .*:bad:budget=VALUE",
    ),
    "a minimum of an epsilon": (
        "def bad(m, x, y, *, epsilon): ...\nbad.finds_minimum = True",
        r"mine_\d+\.py, line 2: its function needs epsilon, and with finds_minimum = True it gets none",
    ),
    "syntax": ("def bad(:", r"line 2, cannot be imported: SyntaxError"),
    "another name": ("def worse(m, x, y, epsilon): ...", r"no name 'bad'"),
}


@pytest.mark.parametrize(("source", "message"), BAD_FUNCTIONS.values(), ids=BAD_FUNCTIONS)
def test_a_function_that_cannot_be_an_attack_is_refused(source, message, write) -> None:
    path = write(source)
    with pytest.raises(ValueError, match=message) as refused:
        method_named(f"{path}:bad", "methods")
    assert str(refused.value).startswith(f"methods='{path}:bad': ")


def test_a_minimum_may_leave_epsilon_to_its_default(write, run) -> None:
    source = """
def same(model, inputs, labels, *, epsilon=None):
    assert epsilon is None
    return inputs
same.finds_minimum = True
"""
    assert (run(f"{write(source)}:same").l0 == 0).all()


def test_a_setting_that_a_function_lacks_is_refused(write) -> None:
    with pytest.raises(ValueError, match=r"no setting 'colum'; near matches are column"):
        method_named(f"{write(DARKER)}:darker:colum=1")


def test_an_image_without_logits_costs_itself_alone(write, batch) -> None:
    class Root(nn.Module):
        """No number for images whose first pixel is below 0.55."""

        def forward(self, images: Tensor) -> Tensor:
            return images.flatten(1)[:, :3] + 0 * (images[:, 0, 0, :1] - 0.55).sqrt()

    model = Classifier.wrap(Root(), image_size=3, channels=1)
    found = attack(model, batch.images, batch.labels, f"{write(DARKER)}:darker", epsilons=[0.01])
    assert [reason is not None for reason in found.failures] == [True] + [False] * (NUM_IMAGES - 1)
    assert (found.linf[1:] > 0).all()
