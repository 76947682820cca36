"""Victims: other models that are shown adversarial images, against a pass of each image through them."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attacks import AttackSettings, attack, attack_batch, transfer
from attrib_core.attacks.mixed_precision import attacked_model
from attrib_core.attacks.victims import Onlooker, fitting_batch_size
from attrib_core.classifiers import Classifier, Labels
from attrib_core.prepared import PreparedModel, prepare

EPSILONS = [0.0, 4 / 255, 16 / 255]
NUM_IMAGES = 40


@pytest.fixture(scope="module")
def few(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return images[0][:NUM_IMAGES], images[1][:NUM_IMAGES]


def another(size: int, channels: int, interpolation: str = "bicubic") -> Classifier:
    """A random network for images of a size, with a normalisation of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(size)
        network = torch.nn.Sequential(
            torch.nn.Conv2d(channels, 8, 5, stride=2), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(3),
            torch.nn.Flatten(), torch.nn.Linear(72, 10),
        )  # fmt: skip
    mean, std = (0.3,) * channels, (0.4,) * channels
    return Classifier.wrap(network, mean=mean, std=std, image_size=size, channels=channels)


def as_seen(images: Tensor, size: int, channels: int) -> Tensor:
    """Images as the written rule makes them: antialiased, in the channels of the victim."""
    images = images.expand(-1, channels, -1, -1)
    if images.shape[-1] == size:
        return images
    return F.interpolate(images, (size, size), mode="bicubic", antialias=True).clamp(0, 1)


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (28, 3), (20, 1), (44, 3)])
def test_a_victim_answers_as_it_does_to_each_image_alone(size, channels, few, fashion) -> None:
    images, labels = few
    victim = another(size, channels)
    result = attack(fashion, images, labels, "fgsm", epsilons=EPSILONS)
    found = transfer({"other": victim}, images, result.adversarial_images, labels)["other"]
    with torch.no_grad():
        clean = victim(as_seen(images, size, channels))
        logits = torch.stack(
            [victim(as_seen(each, size, channels)) for each in result.adversarial_images.unbind(1)], 1
        )
    assert torch.equal(found.clean_prediction, clean.argmax(1))
    assert torch.equal(found.prediction, logits.argmax(2))
    label = labels[:, None, None].expand(-1, len(EPSILONS), 1)
    others = logits.scatter(2, label, -torch.inf).amax(2)
    torch.testing.assert_close(found.margin, logits.gather(2, label)[..., 0] - others)


def test_the_model_as_its_own_victim_answers_as_before(few, fashion) -> None:
    images, labels = few
    result = attack(fashion, images, labels, "pgd", epsilons=EPSILONS)
    found = transfer({"itself": fashion}, images, result.adversarial_images, labels)["itself"]
    assert torch.equal(found.prediction, result.adversarial.prediction)
    assert torch.equal(found.margin, result.adversarial.margin)
    assert torch.equal(found.clean_prediction, result.clean.prediction)


class Counted(PreparedModel):
    """A prepared model that counts its passes."""

    passes = 0

    def __call__(self, images: Tensor) -> Tensor:
        self.passes += 1
        return super().__call__(images)


def test_a_victim_costs_one_pass_an_epsilon_and_one_for_the_clean_images(
    few, fashion, plain, batch_of
) -> None:
    model, victim = plain(fashion), another(28, 1)
    counted = Counted(victim, prepare(victim).execution, model.batch_size)
    onlooker = Onlooker(counted, few[0])
    attack_batch(model, batch_of(*few), "fgsm", EPSILONS, onlookers=[onlooker])
    onlooker.answers(few[1])
    assert counted.passes == len(EPSILONS), "ε = 0 is the clean image"


@pytest.mark.parametrize(
    ("shown", "largest", "size"), [(200, 200, 200), (200, 48, 40), (64, 8, 8), (8, 200, 8)]
)
def test_the_last_pass_of_a_victim_is_nearly_full(shown, largest, size) -> None:
    assert fitting_batch_size(shown, largest) == size


def test_mixed_precision_predicts_for_victims_as_float32_does(few, fashion, plain, batch_of) -> None:
    victim, batch = another(28, 1), batch_of(*few)
    exact, quick = (
        Onlooker(attacked_model(victim, precision, batch, EPSILONS), few[0])
        for precision in ("float32", "mixed")
    )
    attack_batch(plain(fashion), batch, "fgsm", EPSILONS, onlookers=[exact, quick])
    expected, found = exact.answers(few[1]), quick.answers(few[1])
    assert torch.equal(found.prediction, expected.prediction)
    assert torch.equal(found.clean_prediction, expected.clean_prediction)


def test_logits_that_are_no_numbers_are_no_answer(few, fashion) -> None:
    class Fragile(torch.nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            bright = images.amax((1, 2, 3))[:, None]
            return torch.arange(10.0) * (bright - bright / (bright < 0.999))

    images, labels = few[0] * 0.99, few[1]
    victim = Classifier.wrap(Fragile(), image_size=28, channels=1)
    shown = torch.stack([images, images.clamp(max=0.5), images.clone()], 1)
    shown[3, 2, 0, 0, 0] = 1.0
    found = transfer({"fragile": victim}, images, shown, labels)["fragile"]
    assert found.prediction[3].tolist()[2] == -1
    assert found.margin[3, 2].isnan()
    assert (found.prediction[:3] >= 0).all()


def test_images_that_are_attacked_again_replace_what_was_seen(few, plain) -> None:
    """As on a GPU, where the host asks nothing on the way and settles some rows afterwards."""
    victim, rows = plain(another(28, 1)), [3, 17]
    first, second = few[0].flip(0), few[0].roll(1, 0)
    onlooker = Onlooker(victim, few[0])
    onlooker.show(first)
    again = onlooker.again(few[0][rows])
    again.show(second[rows])
    onlooker.replace(rows, again)
    expected = Onlooker(victim, few[0])
    mixed = first.clone()
    mixed[rows] = second[rows]
    expected.show(mixed)
    for name in ("prediction", "margin", "clean_prediction"):
        assert torch.equal(
            getattr(onlooker.answers(few[1]), name), getattr(expected.answers(few[1]), name)
        ), name


WRONG: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "channels": (
        lambda: {"victims": {"v": another(28, 2)}},
        "victim 'v': it takes 2 channels, the images have 1",
    ),
    "bare": (lambda: {"victims": {"v": torch.nn.Flatten()}}, "model: a Flatten; accepted is Classifier.wrap"),
    "shape": (
        lambda: {"adversarial_images": torch.zeros(2, 1, 28, 28)},
        r"adversarial_images \[2, 1, 28, 28\]",
    ),
    "labels": (lambda: {"labels": torch.tensor([3, 10])}, "labels: 10 at position 1; accepted are 0 to 9"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_shown_is_refused(case) -> None:
    given: dict[str, Any] = {
        "victims": {"v": another(28, 1)},
        "images": torch.zeros(2, 1, 28, 28),
        "adversarial_images": torch.zeros(2, 1, 1, 28, 28),
        "labels": torch.tensor([0, 1]),
    }
    change, message = WRONG[case]
    with pytest.raises(ValueError, match=message):
        transfer(**given | change())


def labelled(*names: str, wnids: tuple[str, ...] = ()) -> Labels:
    return Labels(class_names=names, wnids=wnids)


SAME = [
    (labelled("T-shirt/top", "Bag"), labelled("t shirt top", "bag")),
    (labelled("tench, Tinca tinca", "goldfish"), labelled("Tench", "goldfish, Carassius")),
    (labelled("0", "1"), labelled("cat", "dog")),
    (labelled("crane", "x", wnids=("n1", "n2")), labelled("bird", "y", wnids=("n1", "n2"))),
]
OTHER = [
    (labelled("cat", "dog"), labelled("dog", "cat"), "class 0 called 'cat', not 'dog'"),
    (labelled("cat", "dog"), labelled("cat"), "2 classes, not 1"),
    (
        labelled("a", "b", wnids=("n1", "n2")),
        labelled("a", "b", wnids=("n1", "n3")),
        "class 1 called 'n2', not 'n3'",
    ),
]


@pytest.mark.parametrize(("ours", "theirs"), SAME)
def test_the_same_classes_are_recognised(ours, theirs) -> None:
    assert ours.difference(theirs) is None


@pytest.mark.parametrize(("ours", "theirs", "words"), OTHER)
def test_other_classes_are_named(ours, theirs, words) -> None:
    assert ours.difference(theirs) == words


def test_settings_of_the_attack_are_those_of_the_onlookers(few, fashion, plain, batch_of) -> None:
    """Without clipping, a victim of the same size sees the images beyond [0, 1] as they are."""
    victim = another(28, 1)
    model = plain(fashion)
    onlooker = Onlooker(prepare(victim, batch_size=NUM_IMAGES), few[0])
    settings = AttackSettings(clip=False)
    result = attack_batch(
        model, batch_of(*few), "fgsm", [0.5], settings, keep=range(NUM_IMAGES), onlookers=[onlooker]
    )
    with torch.no_grad():
        logits = victim(result.adversarial_images[:, 0])
    assert torch.equal(onlooker.answers(few[1]).prediction[:, 0], logits.argmax(1))
