"""foolbox, torchattacks and adv-lib through us: the images that they make when called directly."""

import inspect
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import (
    AttackBatch,
    AttackResult,
    attack_batch,
    method_named,
)
from attrib_core.attacks.adapters import advlib_attacks, foolbox_attacks, import_library
from attrib_core.attacks.foreign import Foreign, Request
from attrib_core.classifiers import Classifier
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel
from attrib_core.references import parse_reference
from attrib_core.seeding import derive_seed

NUM_IMAGES = 8
# By reference: the ε, and what the same call is given directly; None for an attack that finds the minimum.
FIXED = {
    "foolbox:LinfPGD:steps=5": 0.05,
    "foolbox:L2PGD:steps=5": 0.6,
    "foolbox:L1PGD:steps=5": 6.0,
    "foolbox:LinfFastGradientAttack": 0.05,
    "foolbox:L2AdditiveGaussianNoiseAttack": 2.0,
    "torchattacks:PGD:steps=5": 0.05,
    "torchattacks:PGDL2:steps=5": 0.6,
    "torchattacks:APGD:norm=L2:steps=5": 0.6,
    "torchattacks:Square:n_queries=20": 0.1,
    "torchattacks:AutoAttack:version=rand": 0.05,
    "advlib:apgd:norm=1:n_iter=5": 6.0,
    "advlib:pgd_linf:steps=5": 0.05,
}
MINIMUM = {
    "foolbox:L2DeepFoolAttack:steps=10": "l2",
    "foolbox:L2CarliniWagnerAttack:binary_search_steps=2:steps=10": "l2",
    "foolbox:EADAttack:binary_search_steps=2:steps=10:initial_stepsize=0.1": "l1",
    "foolbox:LInfFMNAttack:steps=10": "linf",
    "torchattacks:CW:steps=10:lr=0.1": "l2",
    "torchattacks:DeepFool:steps=5": "l2",
    "torchattacks:Pixle:restarts=2:max_iterations=2": "l0",
    "advlib:fmn:norm=0": "l0",
    "advlib:fmn:norm=1": "l1",
    "advlib:fmn:norm=2": "l2",
    "advlib:fmn:norm=inf": "linf",
    "advlib:ddn:steps=10": "l2",
    "advlib:alma:distance=l1:num_steps=20": "l1",
    "advlib:sigma_zero:num_steps=20": "l0",
}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    """A small network of three channels, so that layouts of memory matter, and of classes that it mixes up."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(384, 5))
    head = network[-1]
    with torch.no_grad():
        head.weight *= 4
        head.bias -= network(drawn_images()).mean(0)
    return Classifier.wrap(network, image_size=8, channels=3)


def drawn_images() -> Tensor:
    return torch.rand(NUM_IMAGES, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def images() -> Tensor:
    return drawn_images()


@pytest.fixture(scope="module")
def labels(classifier: Classifier, images: Tensor) -> Tensor:
    """What the network says of the images: all are right."""
    with torch.no_grad():
        return classifier(images).argmax(1)


@pytest.fixture(scope="module")
def ours(classifier: Classifier, images: Tensor, labels: Tensor) -> Callable[..., AttackResult]:
    """The attack through us; the network sees one batch of all images, in the peers' layout of memory."""
    model = PreparedModel(classifier, Execution(torch.device("cpu"), channels_last=False), NUM_IMAGES)

    def run(reference: str, epsilons: Any = (0.1,), targets: Tensor | None = None) -> AttackResult:
        batch = AttackBatch(images=images, labels=labels, targets=targets, keys=tuple(range(NUM_IMAGES)))
        return attack_batch(model, batch, reference, list(epsilons), keep=range(NUM_IMAGES))

    return run


def settings_of(reference: str) -> tuple[str, str, dict[str, Any]]:
    """Family, name and settings, as a user of the library would write them."""
    family, name, *settings = reference.split(":")
    numbers = {"inf": float("inf"), "L2": "L2", "l1": "l1", "rand": "rand"}
    pairs = [each.split("=") for each in settings]
    return (
        family,
        name,
        {key: numbers.get(text) or (float(text) if "." in text else int(text)) for key, text in pairs},
    )


def directly(
    reference: str,
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    epsilon: float | None,
    targets: Tensor | None = None,
) -> Tensor:
    """The images of the library's own call, under the seed that we take for a batch whose first key is 0."""
    family, name, settings = settings_of(reference)
    seed = derive_seed(0, str(parse_reference("method", reference)), 0)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        return CALLS[family](name, settings, model, images.clone(), labels, epsilon, targets, seed)


def call_foolbox(name, settings, model, images, labels, epsilon, targets, seed) -> Tensor:
    foolbox = library("foolbox")
    wrapped = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    criterion = labels if targets is None else foolbox.criteria.TargetedMisclassification(targets)
    return getattr(foolbox.attacks, name)(**settings)(wrapped, images, criterion, epsilons=epsilon)[1]


def call_torchattacks(name, settings, model, images, labels, epsilon, targets, seed) -> Tensor:
    kind = getattr(library("torchattacks"), name)
    if epsilon is not None:
        settings["max_epsilon" if name == "PIFGSMPP" else "eps"] = epsilon
    if "n_classes" in inspect.signature(kind).parameters:
        settings["n_classes"] = 5
    if name == "AutoAttack":
        settings["seed"] = seed % 2**31
    attack = kind(model, **settings)
    if targets is None:
        return attack(images, labels)
    if name not in STARTING_FROM_LABELS:
        attack.set_mode_targeted_by_label(quiet=True)
        return attack(images, targets)
    attack.set_mode_targeted_by_function(lambda _images, _labels: targets, quiet=True)
    return attack(images, labels)


def call_advlib(name, settings, model, images, labels, epsilon, targets, seed) -> Tensor:
    with advlib_attacks._without_visdom():
        function = getattr(library("adv_lib.attacks"), name)
    if epsilon is not None:
        settings["ε" if name == "pgd_linf" else "eps"] = epsilon
    classes = labels if targets is None else targets
    return function(model, images, classes, targeted=targets is not None, **settings)


CALLS = {"foolbox": call_foolbox, "torchattacks": call_torchattacks, "advlib": call_advlib}


def library(name: str) -> Any:
    return import_library("method", parse_reference("method", name), name, "")


@pytest.mark.parametrize(("reference", "epsilon"), FIXED.items())
def test_an_attack_at_an_epsilon_makes_the_images_of_a_direct_call(
    reference, epsilon, classifier, images, labels, ours
) -> None:
    found = ours(reference, [epsilon / 2, epsilon, 0.0])
    assert torch.equal(
        found.adversarial_images[:, 1], directly(reference, classifier, images, labels, epsilon)
    )
    assert torch.equal(found.adversarial_images[:, 2], images), "at 0 nothing is run"
    assert found.num_forwards[:, 2].tolist() == [0.0] * NUM_IMAGES
    norms = getattr(found, method_named(reference).norm)
    assert norms[:, 1].max() <= epsilon * (1 + 1e-5)
    assert norms[:, 1].max() > norms[:, 0].max()


@pytest.mark.parametrize(("reference", "norm"), MINIMUM.items())
def test_a_minimum_is_that_of_a_direct_call_in_the_attacks_norm(
    reference, norm, classifier, images, labels, ours
) -> None:
    found = ours(reference)
    expected = directly(reference, classifier, images, labels, None)
    assert torch.equal(found.adversarial_images[:, 0], expected)
    with torch.no_grad():
        misled = classifier(expected).argmax(1) != labels
    change = (expected - images).flatten(1)
    measured = {"linf": torch.inf, "l2": 2, "l1": 1, "l0": 0}[norm]
    sizes = torch.linalg.vector_norm(change, measured, dim=1).double()
    torch.testing.assert_close(found.epsilons[misled, 0], sizes[misled], rtol=1e-4, atol=1e-5)
    assert found.epsilons[~misled, 0].isnan().all()
    assert misled.any()


TARGETED = {
    "foolbox:L2PGD:steps=5": 0.6,
    "torchattacks:PGD:steps=5": 0.05,
    "torchattacks:Jitter:steps=5": 0.05,
    "torchattacks:SPSA:max_batch_size=1:nb_iter=3:nb_sample=8": 0.05,
    "torchattacks:PIFGSMPP": 0.05,
    "torchattacks:Square:n_queries=20": 0.1,
    "torchattacks:CW:steps=10:lr=0.1": None,
    "advlib:ddn:steps=10": None,
}
# torchattacks wants the labels of these besides the targets.
STARTING_FROM_LABELS = ("Jitter", "FAB")


@pytest.mark.parametrize(("reference", "epsilon"), TARGETED.items())
def test_a_targeted_attack_gets_its_targets(reference, epsilon, classifier, images, labels, ours) -> None:
    targets = (labels + 1) % 5
    found = ours(reference, [epsilon or 0.1], targets)
    expected = directly(reference, classifier, images, labels, epsilon, targets)
    assert torch.equal(found.adversarial_images[:, 0], expected)
    assert (found.adversarial.prediction[:, 0] == targets).any()


def test_an_attack_from_the_label_to_the_target_gets_both(classifier, images, labels, ours) -> None:
    """FAB mixes up the targets of several classes, so that the direct calls have one each."""
    reference, epsilon = "torchattacks:FAB:steps=10", 0.2
    targets = (labels + 1) % 5
    found = ours(reference, [epsilon], targets)
    expected = torch.stack(
        [
            directly(reference, classifier, images[[row]], labels[[row]], epsilon, targets[[row]])[0]
            for row in range(NUM_IMAGES)
        ]
    )
    torch.testing.assert_close(found.adversarial_images[:, 0], expected, atol=1e-5, rtol=0)
    assert (found.adversarial.prediction[:, 0] == targets).sum() > NUM_IMAGES // 2
    assert (found.num_backwards > 0).all()


class ReachedError(Exception):
    """The network was asked."""


class Failing(nn.Module):
    """A network that only shows that an attack came so far."""

    classifier = SimpleNamespace(num_classes=5)

    def forward(self, images: Tensor) -> Tensor:
        raise ReachedError


def is_refused(method: Foreign, request: Request) -> bool:
    """Whether the library itself does not run the attack like this."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            method.run(Failing().eval(), replace(request, images=request.images.clone()))
        except ReachedError:
            return False
        except (AssertionError, ValueError) as error:
            return isinstance(error, AssertionError) or "unsupported criterion" in str(error)
    return any("untargeted only" in str(each.message) for each in said)


NEEDED = {
    **dict.fromkeys(("apgd", "apgd_targeted", "fab", "fmn", "pdpgd"), ":norm=2"),
    "VirtualAdversarialAttack": ":steps=1",
}
ADAPTERS = {
    "foolbox": (foolbox_attacks, "foolbox", 60),
    "advlib": (advlib_attacks, "adv_lib.attacks", 19),
}


@pytest.mark.parametrize("family", ADAPTERS)
def test_targets_are_refused_where_the_library_would_not_aim_at_them(family, images, labels) -> None:
    adapter, package, num_attacks = ADAPTERS[family]
    with advlib_attacks._without_visdom():
        names = list(adapter._attacks(library(package)))
    assert len(names) >= num_attacks
    request = Request(images=images, labels=labels, targets=None, epsilon=0.1, seed=0)
    for name in names:
        if name == "PointwiseAttack" or "BrendelBethge" in name:
            continue  # cannot be asked for: it says no distance, or needs numba, which is not installed
        try:
            method = method_named(f"{family}:{name}{NEEDED.get(name, '')}")
        except ValueError:
            method = method_named(f"{family}:{name}:distance=l2")
        assert method.needs_targets == is_refused(method, request), name
        assert method.takes_targets != is_refused(method, replace(request, targets=labels)), name


def test_passes_equal_a_count_by_hand(images, labels, ours) -> None:
    counted = {}
    for reference in ("fgsm", "pgd:num_steps=7", "foolbox:LinfPGD:steps=7", "torchattacks:FGSM"):
        found = ours(reference, [0.05])
        counted[reference] = (found.num_forwards.unique().tolist(), found.num_backwards.unique().tolist())
    assert counted == {
        "fgsm": ([1.0], [1.0]),
        "pgd:num_steps=7": ([7.0], [7.0]),
        "foolbox:LinfPGD:steps=7": ([7.0], [7.0]),
        "torchattacks:FGSM": ([1.0], [1.0]),
    }


def test_passes_of_deepfool_are_those_of_its_loop(images, labels, classifier, ours) -> None:
    """The first look, then a pass for each of the four other classes and back, until all images are misled."""
    steps = 3
    found = ours(f"foolbox:L2DeepFoolAttack:steps={steps}")
    foolbox = library("foolbox")
    model = foolbox.PyTorchModel(classifier, bounds=(0, 1), device="cpu")
    done = next(
        (
            k
            for k in range(steps)
            if not _right(foolbox.attacks.L2DeepFoolAttack(steps=k), model, images, labels)
        ),
        steps,
    )
    last_look = 1 if done < steps else 0
    assert found.num_forwards.unique().tolist() == [1 + 4 * done + last_look]
    assert found.num_backwards.unique().tolist() == [4 * done + last_look]


def _right(attack: Any, model: Any, images: Tensor, labels: Tensor) -> bool:
    return not bool(attack(model, images, labels, epsilons=None)[2].all())


def test_global_generators_are_left_as_they_were(ours) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    expected = torch.rand(2), np.random.rand(2), random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    random.seed(3)
    ours("foolbox:LinfPGD:steps=1")
    ours("torchattacks:Pixle:restarts=1:max_iterations=1")
    found = torch.rand(2), np.random.rand(2), random.random()
    assert torch.equal(found[0], expected[0])
    assert np.array_equal(found[1], expected[1])
    assert found[2] == expected[2]


@pytest.mark.parametrize(
    ("reference", "epsilons", "targeted", "message"),
    [
        ("foolbox:LinfPGD", [2.0], False, r"epsilons: 2; accepted are numbers in \[0, 1\], .* for foolbox"),
        ("foolbox:L2PGD", [20.0], False, r"epsilons: 20; accepted are numbers in \[0, 13.85\d*\]"),
        ("torchattacks:APGD", [0.1], True, r"targets: torchattacks:APGD takes none"),
        ("advlib:df", [0.1], True, r"targets: advlib:df takes none; accepted is an untargeted attack"),
        ("foolbox:FGSM", [0.1], True, r"targets: foolbox:FGSM takes none"),
        ("foolbox:GenAttack", [0.1], False, r"targets: foolbox:GenAttack needs some; accepted are the classes"),
    ],
)  # fmt: skip
def test_a_request_that_cannot_be_is_refused(reference, epsilons, targeted, message, ours) -> None:
    targets = torch.zeros(NUM_IMAGES, dtype=torch.long) if targeted else None
    with pytest.raises(ValueError, match=message):
        ours(reference, epsilons, targets)


WRONG_SETTINGS = {
    "torchattacks:APGD:norm=L7": "norm=L7: accepted are Linf, L2",
    "torchattacks:APGD:loss=foo": "loss=foo: accepted are ce, dlr",
    "torchattacks:TIFGSM:kernel_name=foo": "kernel_name=foo: accepted are gaussian, linear, uniform",
    "torchattacks:PGD:steps=-3": "steps=-3: accepted are whole numbers from 1",
    "torchattacks:PGD:steps=2.5": "steps=2.5: accepted are whole numbers from 1",
    "torchattacks:BIM:steps=-1": "steps=-1: accepted are whole numbers from 0",
    "foolbox:LinfPGD:steps=0": "steps=0: accepted are whole numbers from 1",
    "foolbox:LinfPGD:steps=-1": "steps=-1: accepted are whole numbers from 1",
    "foolbox:LinfPGD:steps=true": "steps=true: Input should be a valid integer",
    "advlib:fmn:norm=7": "norm=7: accepted are 0, 1, 2, inf",
    "advlib:tr:p=1": "p=1: accepted are 2, inf",
    "advlib:alma:distance=foo": "distance=foo: accepted are l1, l2, ssim",
    "advlib:pgd_linf:loss_function=foo": "loss_function=foo: accepted are ce, dl, dlr",
    "advlib:sigma_zero:num_steps=0": "num_steps=0: accepted are whole numbers from 1",
}


@pytest.mark.parametrize(("reference", "message"), WRONG_SETTINGS.items())
def test_a_setting_that_cannot_be_is_refused_before_anything_runs(reference, message) -> None:
    with pytest.raises(ValueError, match=message) as refused:
        method_named(reference, "methods")
    assert str(refused.value).startswith(f"methods={reference!r}: ")


@pytest.mark.parametrize("reference", ["torchattacks:BIM:steps=0", "advlib:pgd_linf:loss_function=DLR"])
def test_a_setting_that_the_library_reads_in_its_own_way_is_taken(reference, ours) -> None:
    assert (ours(reference, [0.1]).num_backwards > 0).all()
