"""Iterated attacks whose images come back to where they were: the rest of their steps is known, not computed."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import AttackSettings, attack_batch
from attrib_core.attacks.iterated import BALLS
from attrib_core.attacks.loss_gradient import loss_gradient
from attrib_core.classifiers import Classifier
from attrib_core.prepared import PreparedModel, prepare

SIDE = 4
EPSILON, STEP = 1 / 8, 1 / 64  # dyadic, as the images are, so that a step back leads exactly back
NUM_STEPS = 61


class Valley(nn.Module):
    """Class 0 is best at a hyperplane through the images' middle, and loses on both sides of it."""

    def __init__(self, centre: float = 0.5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(1.0, SIDE * SIDE + 1).reshape(1, -1) / 64)
        self.centre = centre
        self.num_images = 0

    def forward(self, images: Tensor) -> Tensor:
        self.num_images += len(images)
        side = ((images.flatten(1) - self.centre) * self.weight).sum(1)
        return torch.stack([-side.abs(), side.abs()], 1)


class Slope(Valley):
    """A linear network: all steps go the same way, until the ball's corner."""

    def forward(self, images: Tensor) -> Tensor:
        self.num_images += len(images)
        side = ((images.flatten(1) - self.centre) * self.weight).sum(1)
        return torch.stack([side, -side], 1)


@pytest.fixture
def dyadic() -> tuple[Tensor, Tensor]:
    """Images `[24, 1, 4, 4]` on a grid of 1/64, some far from the valley, and labels of both classes."""
    generator = torch.Generator().manual_seed(3)
    images = torch.randint(16, 48, (24, 1, SIDE, SIDE), generator=generator) / 64
    return images, torch.arange(24) % 2


def stepped(
    model: PreparedModel,
    images: Tensor,
    labels: Tensor,
    norm: str,
    *,
    clip: bool,
    targets: Tensor | None = None,
) -> Tensor:
    """The same attack as a plain loop over all of its steps."""
    ball, point = BALLS[norm], images
    uphill = 1 if targets is None else -1
    for _ in range(NUM_STEPS):
        _, gradient = loss_gradient(model, point, labels if targets is None else targets)
        point = point + uphill * STEP * ball.direction(gradient)
        point = images + ball.projected(point - images, EPSILON)
        point = point.clamp(0, 1) if clip else point
    return point


@pytest.mark.parametrize("network", [Slope, Valley])
@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("targeted", [False, True])
def test_no_bit_changes_and_fewer_images_are_passed(
    network: type[Valley],
    clip: bool,
    targeted: bool,
    dyadic,
    classifier_of: Callable[..., Classifier],
    batch_of,
) -> None:
    images, labels = dyadic
    target = 1 if targeted else None
    batch = batch_of(images, labels, target)
    module = network()
    model = prepare(classifier_of(module, num_classes=2), device="cpu", batch_size=4)
    expected = stepped(model, images, labels, "linf", clip=clip, targets=batch.targets)
    module.num_images = 0
    settings = AttackSettings(num_steps=NUM_STEPS, step_size=STEP, clip=clip, rounding=False)
    found = attack_batch(model, batch, "bim", [EPSILON], settings, keep=range(len(images)))
    assert torch.equal(found.adversarial_images[:, 0], expected)
    assert (found.num_forwards == NUM_STEPS).all(), "the attack's steps, also those that were known"
    assert module.num_images < 0.75 * NUM_STEPS * len(images)


def test_an_image_goes_round_in_two_places(classifier_of: Callable[..., Classifier], batch_of) -> None:
    image = torch.full((1, 1, SIDE, SIDE), 0.5)
    image[0, 0, 0, 0] += STEP / 2
    labels = torch.tensor([1])  # it climbs down to the valley, and steps across it for ever
    model = prepare(classifier_of(Valley(), num_classes=2), device="cpu")
    ends = []
    for num_steps in (50, 51, 52, 53):
        settings = AttackSettings(num_steps=num_steps, step_size=STEP, rounding=False)
        found = attack_batch(model, batch_of(image, labels), "bim", [EPSILON], settings, keep=[0])
        ends.append(found.adversarial_images[0, 0])
    assert torch.equal(ends[0], ends[2])
    assert torch.equal(ends[1], ends[3])
    assert not torch.equal(ends[0], ends[1]), "the parity of the steps is kept"


def test_real_images_are_those_of_the_plain_loop(fashion, images, plain, batch_of) -> None:
    some = images[0][:40], images[1][:40]
    model, epsilon, num_steps = plain(fashion), 1 / 255, 40
    point = some[0]
    for _ in range(num_steps):
        _, gradient = loss_gradient(model, point, some[1])
        point = some[0] + (point + epsilon * gradient.sign() - some[0]).clamp(-epsilon, epsilon)
        point = point.clamp(0, 1)
    settings = AttackSettings(num_steps=num_steps, step_size=epsilon)
    found = attack_batch(model, batch_of(*some), "bim", [epsilon], settings, keep=range(40))
    assert torch.equal(found.adversarial_images[:, 0], point)


def test_an_image_that_fails_leaves_and_its_reason_stays(
    classifier_of: Callable[..., Classifier], batch_of
) -> None:
    class Breaks(Slope):
        def forward(self, images: Tensor) -> Tensor:
            logits = super().forward(images)
            return torch.where(images.flatten(1).amax(1, keepdim=True) > 0.9, torch.nan, logits)

    images = torch.full((6, 1, SIDE, SIDE), 0.5)
    images[2] = 0.95
    images[4] = 0.9 - STEP / 2  # fails on its way
    model = prepare(classifier_of(Breaks(), num_classes=2), device="cpu", batch_size=4)
    settings = AttackSettings(num_steps=NUM_STEPS, step_size=STEP, rounding=False)
    found = attack_batch(model, batch_of(images, torch.ones(6, dtype=torch.long)), "bim", [EPSILON], settings)
    failed = [row for row, reason in enumerate(found.failures) if reason]
    assert failed == [2, 4]
    assert "before step 2 at" in str(found.failures[4])
