"""Against foolbox and torchattacks on the same model and images, ε by ε; all 10,000 stand in benchmarks/."""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
import torchattacks
from torch import Tensor

from attrib_core.attacks import METHODS, AttackResult, AttackSettings, attack_batch
from attrib_core.attacks.iterated import start_in_ball
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel

NUM_IMAGES = 64
STEPS = AttackSettings(num_steps=5, step_size=0.02)


@pytest.fixture(scope="module")
def some(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return images[0][:NUM_IMAGES], images[1][:NUM_IMAGES]


@pytest.fixture(scope="module")
def peer_model(foolbox: ModuleType) -> Any:
    """A copy of its own, laid out as its users would have it."""
    return foolbox.PyTorchModel(load_classifier("fashion_deep"), bounds=(0, 1), device="cpu")


@pytest.fixture
def ours(some, batch_of, epsilons) -> Callable[..., AttackResult]:
    """Our attack by a method, with all adversarial images.

    In the peers' memory format: another one rounds otherwise, and steps along signs amplify the sign of nothing.
    """
    execution = Execution(torch.device("cpu"), channels_last=False)
    model = PreparedModel(load_classifier("fashion_deep"), execution, NUM_IMAGES)

    def run(method: str, target: int | None = None) -> AttackResult:
        return attack_batch(model, batch_of(*some, target), method, epsilons, STEPS, keep=range(NUM_IMAGES))

    return run


@pytest.fixture
def theirs(some, peer_model, epsilons) -> Callable[..., Tensor]:
    """The adversarial images `[B, E, C, H, W]` of one of foolbox's attacks."""

    def run(peer: Any, criterion: Any = None) -> Tensor:
        criterion = some[1] if criterion is None else criterion
        _, clipped, _ = peer(peer_model, some[0], criterion, epsilons=list(epsilons))
        return torch.stack(clipped, 1)

    return run


@torch.no_grad()
def predictions(classifier: Classifier, adversarial: Tensor) -> Tensor:
    return torch.stack([classifier(images).argmax(1) for images in adversarial.unbind(1)], 1)


def test_fgsm_makes_foolbox_images_and_predictions_at_every_epsilon(fashion, foolbox, ours, theirs) -> None:
    expected = theirs(foolbox.attacks.LinfFastGradientAttack())
    found = ours("fgsm")
    assert torch.equal(found.adversarial_images, expected)
    assert torch.equal(found.adversarial.prediction, predictions(fashion, expected))


def test_fgsm_predicts_the_same_in_the_memory_format_that_is_fastest(
    some, plain, batch_of, ours, epsilons
) -> None:
    fast = attack_batch(plain(load_classifier("fashion_deep")), batch_of(*some), "fgsm", epsilons)
    assert torch.equal(fast.adversarial.prediction, ours("fgsm").adversarial.prediction)


def test_fgsm_predicts_what_torchattacks_predicts_at_every_epsilon(fashion, some, ours, epsilons) -> None:
    copy = load_classifier("fashion_deep")
    expected = torch.stack([torchattacks.FGSM(copy, eps=epsilon)(*some) for epsilon in epsilons], 1)
    assert torch.equal(ours("fgsm").adversarial.prediction, predictions(fashion, expected))


def test_targeted_fgsm_predicts_what_torchattacks_predicts(fashion, some, ours, epsilons) -> None:
    copy, targets = load_classifier("fashion_deep"), torch.full((NUM_IMAGES,), 3)
    images = []
    for epsilon in epsilons:
        peer = torchattacks.FGSM(copy, eps=epsilon)
        peer.set_mode_targeted_by_label(quiet=True)
        images.append(peer(some[0], targets))
    expected = predictions(fashion, torch.stack(images, 1))
    assert torch.equal(ours("fgsm", target=3).adversarial.prediction, expected)


def test_bim_takes_foolbox_steps(fashion, foolbox, ours, theirs) -> None:
    expected = theirs(
        foolbox.attacks.LinfBasicIterativeAttack(
            steps=STEPS.num_steps, abs_stepsize=STEPS.step_size, random_start=False
        )
    )
    found = ours("bim")
    assert torch.equal(found.adversarial_images, expected)
    assert torch.equal(found.adversarial.prediction, predictions(fashion, expected))


def test_pgd_takes_foolbox_steps_from_the_same_start(fashion, some, batch_of, foolbox, ours, theirs) -> None:
    batch = batch_of(*some)

    class FromOurStart(foolbox.attacks.LinfPGD):
        def get_random_start(self, x0: Any, epsilon: float) -> Any:
            return type(x0)(start_in_ball(batch, epsilon, STEPS))

    expected = theirs(FromOurStart(steps=STEPS.num_steps, abs_stepsize=STEPS.step_size))
    found = ours("pgd")
    assert torch.equal(found.adversarial_images, expected)
    assert torch.equal(found.adversarial.prediction, predictions(fashion, expected))


def test_five_steps_fool_more_images_than_one(some, ours, epsilons) -> None:
    column = epsilons.index(8 / 255)
    right = {
        method: (ours(method).adversarial.prediction[:, column] == some[1]).sum()
        for method in ("fgsm", "bim")
    }
    assert right["bim"] < right["fgsm"]


def test_every_method_is_held_against_an_oracle() -> None:
    """A new method belongs into a table of this folder."""
    assert set(METHODS) == {
        *("fgsm", "bim", "pgd"),  # peers
        *("mifgsm", "dim", "tim"),  # peers in test_momentum.py
        *("fgm_l2", "pgd_l2"),  # closed forms, and peers in test_euclidean.py
        *("max_norm", "max_norm_signed", "gradient_alone"),  # formulas
        *("minimum_fgsm", "minimum_max_norm", "minimum_fgm_l2"),  # closed forms
        "random_sign",  # what its definition says
    }
