"""Real images on their way to another class: the formula, what is measured, independence of the batch."""

import pytest
import torch
from torch import Tensor, nn

from attrib_core.classifiers import Classifier, Labels, Preprocessing, load_classifier
from attrib_core.classifiers.classifier import Identity
from attrib_core.datasets import View, load_dataset
from attrib_core.generation.modification import NEVER, ModificationSettings, Modified, modify
from attrib_core.prepared import PreparedModel, prepare

SIZE, NUM_CLASSES = 4, 3


def linear(weight: Tensor) -> Classifier:
    """Logits `weight @ image` of grey images of 4 × 4."""
    layer = nn.Linear(SIZE * SIZE, NUM_CLASSES, bias=False)
    layer.weight.data = weight
    identity = Identity(
        name="linear",
        digest="",
        preprocessing=Preprocessing(mean=(0.0,), std=(1.0,), image_size=SIZE),
        labels=Labels.numbered(NUM_CLASSES),
    )
    return Classifier(nn.Sequential(nn.Flatten(), layer), identity)


@pytest.fixture
def weight() -> Tensor:
    return torch.randn(NUM_CLASSES, SIZE * SIZE, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def fashion() -> PreparedModel:
    return prepare(load_classifier("fashion_deep"), device="cpu", batch_size=24)


@pytest.fixture(scope="module")
def test_images(fashion) -> tuple[Tensor, Tensor]:
    """The first 120 test images of Fashion-MNIST and their labels."""
    dataset = load_dataset("fashion_mnist")
    pixels = torch.from_numpy(dataset.images(range(120), View.of(fashion.classifier)))
    return pixels.float() / 255, torch.from_numpy(dataset.labels[:120])


def modified(model: Classifier | PreparedModel, images: Tensor, targets: Tensor, **settings) -> Modified:
    settings = ModificationSettings(**settings)
    return modify(model, images, targets, settings=settings)


def test_a_linear_classifier_moves_every_pixel_by_the_sign_of_its_weight(weight) -> None:
    images = torch.rand(5, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([0, 1, 2, 1, 0])
    found = modified(linear(weight), images, targets, num_steps=7, step_size=0.1)
    # |200 - logit| falls by the weight's sign, unless the weight is smaller than the pull of 0.001 · |a|.
    signs = (weight[targets] - 0.001).sign().view_as(images)
    torch.testing.assert_close(found.images, (images + 0.7 * signs).clamp(0, 1), rtol=0, atol=1e-6)
    assert torch.equal(found.images_u8, (found.images * 255).round().byte())


def test_a_pixel_whose_weight_is_zero_fades(weight) -> None:
    weight[1, 0] = 0
    images = torch.full((1, 1, SIZE, SIZE), 0.5)
    found = modified(linear(weight), images, torch.tensor([1]), num_steps=3, step_size=0.1)
    assert found.images[0, 0, 0, 0].item() == pytest.approx(0.2)


def test_a_logit_beyond_200_is_pulled_back(weight) -> None:
    images = torch.rand(1, 1, SIZE, SIZE)
    steep = linear(weight.abs() * 1000)
    found = modified(steep, images, torch.tensor([0]), num_steps=1)
    torch.testing.assert_close(found.images, (images - 0.01).clamp(0, 1))


def test_without_clipping_no_pixel_is_held_back(weight) -> None:
    images = torch.rand(4, 1, SIZE, SIZE)
    targets = torch.tensor([0, 1, 2, 2])
    free = modified(linear(weight), images, targets, num_steps=20, step_size=0.1, clip=False)
    held = modified(linear(weight), images, targets, num_steps=20, step_size=0.1)
    torch.testing.assert_close(free.change.linf, torch.full((4,), 2.0))
    assert held.images.min() >= 0
    assert held.images.max() <= 1
    assert (held.change.linf <= 1).all()
    assert torch.equal(free.images_u8, (free.images.clamp(0, 1) * 255).round().byte())


def test_what_is_measured_is_what_the_classifier_says(fashion, test_images) -> None:
    images, labels = test_images[0][:6], test_images[1][:6]
    targets = (labels + 3) % 10
    found = modified(fashion, images, targets, num_steps=12)
    with torch.inference_mode():
        logits = fashion(found.images_u8.float() / 255)
    torch.testing.assert_close(found.final.model.logits, logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        found.final.logit, logits.gather(1, targets[:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    assert torch.equal(found.initial.model.top1, found.argmax_by_step[:, 0])
    change = (found.images - images).flatten(1)
    torch.testing.assert_close(found.change.linf, change.abs().amax(1))
    torch.testing.assert_close(found.change.l2, change.norm(dim=1))
    torch.testing.assert_close(found.change.l1, change.abs().sum(1))


def test_the_first_hit_is_where_a_shorter_modification_ends(fashion, test_images) -> None:
    images, labels = test_images[0][:24], test_images[1][:24]
    targets = (labels + 1) % 10
    found = modified(fashion, images, targets)
    assert NEVER in found.first_hit_step.tolist()
    for row in range(4):
        step = int(found.first_hit_step[row])
        assert step > 0
        until = modified(fashion, images[row : row + 1], targets[row : row + 1], num_steps=step)
        assert int(until.first_hit_step) == step, "the last of all steps counts too"
        assert torch.equal(until.change.l2, until.change_at_hit.l2)
        assert until.change.l2.item() == pytest.approx(found.change_at_hit.l2[row].item(), rel=1e-5)
        assert (found.argmax_by_step[row, :step] != targets[row]).all()


def test_an_image_is_the_same_alone_and_among_others(fashion, test_images) -> None:
    images, targets = test_images[0][:11], torch.arange(11) % 10
    together = modified(fashion, images, targets, num_steps=8)
    for rows in (slice(8, 9), slice(4, 7), slice(4, 9)):
        alone = modified(fashion, images[rows], targets[rows], num_steps=8)
        assert torch.equal(alone.images, together.images[rows])
        assert torch.equal(alone.final.model.logits, together.final.model.logits[rows])
        assert torch.equal(alone.logit_by_step, together.logit_by_step[rows])


def test_the_true_label_is_nearer_than_other_classes(fashion, test_images) -> None:
    """The original work's claim, on images that the classifier gets wrong: others are at their label already."""
    images, labels = test_images
    prediction = fashion.logits(images).argmax(1)
    wrong = (prediction != labels).nonzero()[:, 0][:8]
    assert len(wrong) == 8
    distances = {True: [], False: []}
    for target in range(10):
        found = modified(fashion, images[wrong], torch.full((8,), target))
        reached = (found.first_hit_step != NEVER) & (prediction[wrong] != target)
        for row in reached.nonzero()[:, 0]:
            distances[target == int(labels[wrong[row]])].append(float(found.change_at_hit.l2[row]))
    to_label, to_others = (sum(found) / len(found) for found in (distances[True], distances[False]))
    assert to_label < 0.7 * to_others
    rights = modified(fashion, images[:8], prediction[:8])
    assert (rights.change_at_hit.l2 == 0).all()
    assert (rights.first_hit_step == 0).all()


def test_a_target_that_is_no_class_is_named(fashion, test_images) -> None:
    with pytest.raises(ValueError, match=r"targets: 10; fashion_deep has classes 0 to 9"):
        modified(fashion, test_images[0][:2], torch.tensor([3, 10]))


def test_more_images_than_a_pass_takes_are_refused(fashion, test_images) -> None:
    with pytest.raises(ValueError, match=r"images: 25 of them; accepted are 1 to the model's 24"):
        modified(fashion, test_images[0][:25], test_images[1][:25])


@pytest.mark.parametrize("settings", [{"num_steps": 0}, {"step_size": 0.0}, {"step_size": 2.0}])
def test_settings_that_cannot_be_are_named(settings) -> None:
    [(name, value)] = settings.items()
    with pytest.raises(ValueError, match=f"{name}={value}: accepted are"):
        ModificationSettings(**settings)
