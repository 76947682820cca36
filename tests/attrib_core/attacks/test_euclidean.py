"""Our attacks in the Euclidean norm: closed forms on a linear network, and foolbox on a small one."""

from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch
from attrib_core.attacks.inspection import num_nonzero
from attrib_core.attacks.iterated import BALLS, start_in_ball
from attrib_core.classifiers import Classifier
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness

NUM_IMAGES, EPSILON = 16, 0.5
STEPS = AttackSettings(num_steps=6)


@pytest.fixture
def linear(plain, linear_classifier) -> tuple[PreparedModel, Tensor]:
    """A linear network of two classes, and the difference of their weights."""
    weights = torch.randn(2, 16, generator=torch.Generator().manual_seed(5))
    return plain(linear_classifier(weights, torch.zeros(2))), weights[0] - weights[1]


@pytest.fixture
def grey(batch_of) -> AttackBatch:
    """Images near mid-grey, where nothing is clipped."""
    noise = torch.randn(NUM_IMAGES, 1, 4, 4, generator=torch.Generator().manual_seed(6))
    return batch_of(0.5 + 0.01 * noise, torch.arange(NUM_IMAGES) % 2)


def test_a_step_lowers_the_margin_by_epsilon_times_the_length_of_the_weights(linear, grey) -> None:
    model, difference = linear
    found = attack_batch(model, grey, "fgm_l2", [0.1, 0.5])
    drop = found.clean.margin[:, None] - found.adversarial.margin
    expected = torch.tensor([0.1, 0.5]) * torch.linalg.vector_norm(difference)
    torch.testing.assert_close(drop, expected.expand(NUM_IMAGES, -1), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.l2, torch.tensor([0.1, 0.5]).expand(NUM_IMAGES, -1), rtol=1e-5, atol=0)


def test_many_steps_reach_the_same_point_of_the_sphere_from_any_start(linear, grey) -> None:
    model, difference = linear
    found = attack_batch(model, grey, "pgd_l2:num_steps=200:step_size=0.05", [EPSILON])
    drop = (found.clean.margin[:, None] - found.adversarial.margin)[:, 0]
    expected = EPSILON * torch.linalg.vector_norm(difference)
    torch.testing.assert_close(drop, expected.expand(NUM_IMAGES), rtol=1e-3, atol=0)
    assert found.l2.max() <= EPSILON * (1 + 1e-5)


def test_a_tiny_gradient_has_a_direction(plain, linear_classifier, grey) -> None:
    tiny = plain(linear_classifier(1e-30 * torch.ones(2, 16) * torch.tensor([[1.0], [-1.0]]), torch.zeros(2)))
    found = attack_batch(tiny, grey, "fgm_l2", [0.1])
    torch.testing.assert_close(found.l2, torch.full((NUM_IMAGES, 1), 0.1), rtol=1e-5, atol=0)


def test_starts_are_uniform_in_the_ball() -> None:
    draws = BALLS["l2"].drawn(Randomness([("key", number) for number in range(2000)]), (1, 1, 2))
    radii = torch.linalg.vector_norm(draws.flatten(1), dim=1)
    assert radii.max() <= 1
    assert abs(radii.square().mean() - 0.5) < 0.03, "in two dimensions the square of the radius is uniform"
    assert draws.mean(0).abs().max() < 0.05


@pytest.fixture(scope="module")
def small() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, 5))
    return Classifier.wrap(network, image_size=8, channels=3)


@pytest.fixture(scope="module")
def batch(small: Classifier) -> AttackBatch:
    images = torch.rand(NUM_IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = small(images).argmax(1)
    return AttackBatch(images=images, labels=labels, keys=tuple(range(NUM_IMAGES)))


def ours(small: Classifier, batch: AttackBatch, method: str) -> Tensor:
    model = PreparedModel(small, Execution(torch.device("cpu"), channels_last=False), NUM_IMAGES)
    return attack_batch(model, batch, method, [EPSILON], STEPS, keep=range(NUM_IMAGES)).adversarial_images[
        :, 0
    ]


def theirs(foolbox: ModuleType, small: Classifier, batch: AttackBatch, attack: Any) -> Tensor:
    model = foolbox.PyTorchModel(small, bounds=(0, 1), device="cpu")
    return attack(model, batch.images, batch.labels, epsilons=EPSILON)[1]


def test_one_step_makes_foolbox_images(foolbox, small, batch) -> None:
    expected = theirs(foolbox, small, batch, foolbox.attacks.L2FastGradientAttack())
    torch.testing.assert_close(ours(small, batch, "fgm_l2"), expected, rtol=0, atol=1e-6)


def test_many_steps_from_our_start_make_foolbox_images(foolbox, small, batch) -> None:
    class FromOurStart(foolbox.attacks.L2PGD):
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(start_in_ball(batch, epsilon, STEPS, "l2"))

    peer = FromOurStart(steps=STEPS.num_steps, rel_stepsize=2.5 / STEPS.num_steps)
    expected = theirs(foolbox, small, batch, peer)
    torch.testing.assert_close(ours(small, batch, "pgd_l2"), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("num_values", [1, 784, 2**24, 2**24 + 1])
def test_changed_values_are_counted_exactly(num_values) -> None:
    values = torch.full((1, num_values), 1e-30)
    values[0, 0] = 0
    assert num_nonzero(values).tolist() == [num_values - 1]
    assert num_nonzero(torch.ones(1, num_values)).tolist() == [num_values]
