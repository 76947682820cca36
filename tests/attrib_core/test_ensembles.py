"""Ensembles as one classifier: predictions and gradients against autograd of the written formulas."""

from collections.abc import Callable, Sequence

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attacks import attack
from attrib_core.attacks.loss_gradient import loss_gradient
from attrib_core.attribution import attribute
from attrib_core.classifiers import (
    COMBINATIONS,
    Classifier,
    Labels,
    Preprocessing,
    canonical_name,
    load_classifier,
)
from attrib_core.classifiers.conversion import converted
from attrib_core.classifiers.ensembles import Ensemble
from attrib_core.classifiers.identity import Identity
from attrib_core.generation import generate
from attrib_core.prepared import logit_of, prepare

NUM_IMAGES, NUM_CLASSES, SIDE = 6, 5, 12


def member(seed: int, size: int = SIDE, channels: int = 1) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = nn.Sequential(
            nn.Conv2d(channels, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(54, NUM_CLASSES),
        )
        network[-1].weight.data *= 8  # unlike opinions
    mean, std = (0.1 * seed,) * channels, (0.2 + 0.1 * seed,) * channels
    return Classifier.wrap(network, mean=mean, std=std, image_size=size, channels=channels)


MEMBERS = {
    "alike": (member(1), member(2), member(3)),
    "of other sizes": (member(1), member(2, size=20), member(3, size=9, channels=3)),
}


def ensemble_of(members: Sequence[Classifier], combination) -> Classifier:
    identity = Identity(
        name="ensemble",
        digest="0",
        preprocessing=Preprocessing(mean=(0.1,), std=(0.3,), image_size=SIDE),
        labels=Labels.numbered(NUM_CLASSES),
    )
    return Ensemble(members, identity, combination)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(NUM_IMAGES, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(4))


LABELS = torch.arange(NUM_IMAGES) % NUM_CLASSES


def cross_entropy(logits: Tensor) -> Tensor:
    return F.cross_entropy(logits, LABELS, reduction="none")


def mean_logits(logits: list[Tensor]) -> Tensor:
    return sum(logits) / len(logits)


# The loss [B] of an attack, written from the members' logits.
LOSSES: dict[str, Callable[[list[Tensor]], Tensor]] = {
    "logits": lambda logits: cross_entropy(mean_logits(logits)),
    "probabilities": lambda logits: -(
        sum(each.softmax(1) for each in logits) / len(logits)
    )[range(NUM_IMAGES), LABELS].log(),
    "losses": lambda logits: sum(cross_entropy(each) for each in logits) / len(logits),
}  # fmt: skip


@pytest.mark.parametrize("members", MEMBERS)
@pytest.mark.parametrize("combination", COMBINATIONS)
def test_the_gradient_is_autograds_of_the_written_formula(combination, members, images) -> None:
    parts = MEMBERS[members]
    points = images.clone().requires_grad_()
    written = LOSSES[combination]([part(converted(points, part)) for part in parts])
    (expected,) = torch.autograd.grad(written.sum(), points)
    model = prepare(ensemble_of(parts, combination), device="cpu", batch_size=8)
    _, found = loss_gradient(model, images, LABELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6 * float(expected.abs().max()))


def test_the_three_gradients_differ(images) -> None:
    found = [
        loss_gradient(prepare(ensemble_of(MEMBERS["alike"], each), device="cpu"), images, LABELS)[1].sign()
        for each in COMBINATIONS
    ]
    assert not torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert not torch.equal(found[1], found[2])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_predictions_are_those_of_the_combined_answers(combination, images) -> None:
    parts = MEMBERS["alike"]
    with torch.no_grad():
        logits = [part(images) for part in parts]
        expected = {
            "logits": mean_logits(logits),
            "probabilities": (sum(each.softmax(1) for each in logits) / 3).log(),
            # The class whose mean loss is least.
            "losses": sum(each.log_softmax(1) for each in logits) / 3,
        }[combination]
        found = ensemble_of(parts, combination)(images)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    torch.testing.assert_close(found.log_softmax(1), expected.log_softmax(1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_attacks_attribution_and_generation_take_an_ensemble(combination, images) -> None:
    ensemble, labels = ensemble_of(MEMBERS["of other sizes"], combination), LABELS
    result = attack(ensemble, images, labels, "mifgsm:num_steps=2", epsilons=[0.0, 0.1])
    assert torch.equal(result.adversarial.prediction[:, 0], result.clean.prediction)
    assert (result.loss[:, 1] > result.loss[:, 0]).float().mean() > 0.5
    maps = attribute(ensemble, images, labels, ["gradient"], target="label")
    points = images.clone().requires_grad_()
    combined = [part(converted(points, part)) for part in MEMBERS["of other sizes"]]
    if combination != "probabilities":  # a mean of logits is linear in them, and so are both others
        explained = logit_of(mean_logits(combined), labels)
        (expected,) = torch.autograd.grad(explained.sum(), points)
        torch.testing.assert_close(maps.values["gradient"], expected, rtol=1e-3, atol=1e-5)
    pictures = generate(ensemble, classes=[1], seeds=[0], recipe="plain:num_steps=3")
    assert pictures.images.shape == (1, 1, SIDE, SIDE)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A reference to fashion_deep with other weights."""
    state = load_classifier("fashion_deep").network.state_dict()
    noise = torch.Generator().manual_seed(0)
    changed = {key: value + 0.02 * torch.randn(value.shape, generator=noise) for key, value in state.items()}
    file = tmp_path_factory.mktemp("weights") / "other.safetensors"
    safetensors.torch.save_file(changed, file)
    return f"fashion_deep:weights={file}"


def test_an_ensemble_is_named_by_its_members(other) -> None:
    ensemble = load_classifier(f"fashion_deep+{other}")
    assert (
        ensemble.name
        == canonical_name(f"fashion_deep+{other}")
        == "fashion_deep+fashion_deep:weights=other.safetensors"
    )
    assert ensemble.class_names == load_classifier("fashion_deep").class_names
    first, second = load_classifier("fashion_deep"), load_classifier(other)
    images = torch.rand(4, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(ensemble(images), (first(images) + second(images)) / 2)
    digests = {
        load_classifier(name, ensemble=how).digest
        for name, how in (
            (f"fashion_deep+{other}", "logits"),
            (f"fashion_deep+{other}", "losses"),
            (f"{other}+fashion_deep", "logits"),
            ("fashion_deep", "logits"),
        )
    }
    assert len(digests) == 4


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("fashion_deep+fashion_deep", {}, "two members have the same weights"),
        (
            "fashion_deep+efficientnet_lite0",
            {},
            "'efficientnet_lite0' has 1000 classes, not 10 as 'fashion_deep'",
        ),
        ("fashion_deep+nobody", {}, "model='nobody': unknown"),
        (
            "fashion_deep+fashion_alexnet",
            {"weights": "x"},
            "is an ensemble; accepted is NAME:weights=FILE for each",
        ),
    ],
)
def test_ensembles_that_cannot_be_are_refused(name, given, words) -> None:
    with pytest.raises(ValueError, match=words):
        load_classifier(name, **given)
