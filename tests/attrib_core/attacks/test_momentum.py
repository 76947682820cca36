"""mifgsm, dim and tim against torchattacks on the same model, image by image, with the same draws."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from torch import Tensor

from attrib_core.attacks import AttackBatch, AttackSettings, attack_batch, method_named
from attrib_core.attacks.checks import check_request
from attrib_core.attacks.momentum import Views
from attrib_core.classifiers import Classifier, load_classifier
from attrib_core.execution import Execution
from attrib_core.prepared import PreparedModel
from attrib_core.seeding import Randomness

EPSILON, STEP, STEPS, NUM_IMAGES, NUM_FEW = 8 / 255, 2 / 255, 5, 12, 3
SETTINGS = AttackSettings(num_steps=STEPS, step_size=STEP)


@pytest.fixture(scope="module")
def some(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return images[0][:NUM_IMAGES], images[1][:NUM_IMAGES]


@pytest.fixture(scope="module")
def few(images: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return images[0][:NUM_FEW], images[1][:NUM_FEW]


@pytest.fixture(scope="module")
def model() -> PreparedModel:
    """In torchattacks' memory format, one image a pass, as torchattacks gets them here."""
    execution = Execution(torch.device("cpu"), channels_last=False)
    return PreparedModel(load_classifier("fashion_deep"), execution, 1)


def with_our_draws(monkeypatch: pytest.MonkeyPatch, key: int) -> None:
    """Lets torchattacks draw for one image what we draw: size, place, and whether it is resized at all."""
    randomness = Randomness([(SETTINGS.seed, "dim", key)])
    draws = [draw for _ in range(STEPS) for draw in randomness.uniform(0, 1, 4)[0].tolist()]

    def randint(low: int, high: int, **_rest: object) -> Tensor:
        return torch.tensor([low + int(draws.pop(0) * (high - low))], dtype=torch.int32)

    monkeypatch.setattr(torch, "randint", randint)
    monkeypatch.setattr(torch, "rand", lambda *_shape: torch.tensor([draws.pop(0)]))


class Grey(torchattacks.TIFGSM):
    """TIFGSM for images of one channel: its kernel is made for three."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.stacked_kernel = self.stacked_kernel[:1]


def one_group(convolve: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns a convolution that takes torchattacks' three groups for the one channel that there is."""

    def convolved(*args: Any, **rest: Any) -> Tensor:
        return convolve(*args, **rest | ({"groups": 1} if rest.get("groups") == 3 else {}))

    return convolved


def theirs(kind: Any, classifier: Classifier, some: tuple[Tensor, Tensor], **given: float) -> Tensor:
    found = []
    for key in range(NUM_IMAGES):
        peer = kind(classifier, eps=EPSILON, alpha=STEP, steps=STEPS, **given)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(torch.nn.functional, "conv2d", one_group(torch.nn.functional.conv2d))
            with_our_draws(patch, key)
            found.append(peer(some[0][key : key + 1], some[1][key : key + 1]))
    return torch.cat(found)


CASES: dict[str, tuple[Any, dict[str, float]]] = {
    "mifgsm": (torchattacks.MIFGSM, {}),
    "mifgsm:decay=0.9": (torchattacks.MIFGSM, {"decay": 0.9}),
    "dim": (torchattacks.DIFGSM, {}),
    "dim:decay=1:diversity_probability=0.8:resize_rate=0.7": (
        torchattacks.DIFGSM,
        {"decay": 1.0, "diversity_prob": 0.8, "resize_rate": 0.7},
    ),
    "tim": (Grey, {}),
    "tim:kernel_size=7:decay=1": (Grey, {"len_kernel": 7, "decay": 1.0}),
}


@pytest.mark.parametrize("method", CASES)
def test_images_are_those_of_torchattacks_with_the_same_draws(method, model, some) -> None:
    kind, given = CASES[method]
    batch = AttackBatch(images=some[0], labels=some[1], keys=tuple(range(NUM_IMAGES)))
    found = attack_batch(model, batch, method, [EPSILON], SETTINGS, keep=range(NUM_IMAGES))
    expected = theirs(kind, load_classifier("fashion_deep"), some, **given)
    # A sum in another order may turn the sign of nothing, and the steps after it.
    same = ((found.adversarial_images[:, 0] - expected).abs() < 1e-6).float().mean((1, 2, 3))
    assert (same == 1).float().mean() > 0.7, same
    assert same.mean() > 0.98
    assert torch.equal(
        found.adversarial.prediction[:, 0], load_classifier("fashion_deep")(expected).argmax(1)
    )


def test_momentum_of_nothing_is_bim(model, some, batch_of) -> None:
    still, bim = (
        attack_batch(model, batch_of(*some), method, [EPSILON], SETTINGS, keep=range(NUM_IMAGES))
        for method in ("mifgsm:decay=0", "bim")
    )
    assert torch.equal(still.adversarial_images, bim.adversarial_images)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 30, 41)])
def test_the_gradient_through_a_view_is_autograds(shape) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(6, *shape, generator=generator, requires_grad=True)
    settings = AttackSettings(resize_rate=0.6, diversity_probability=0.9)
    views = Views.drawn(torch.rand(6, 4, generator=generator), images.shape, settings)
    weights = torch.rand(6, *shape, generator=generator)
    (expected,) = torch.autograd.grad((views.of(images) * weights).sum(), images)
    torch.testing.assert_close(views.pulled_back(weights), expected)


@pytest.mark.parametrize(("side", "size"), [(28, 20), (28, 27), (31, 19)])
def test_a_view_is_torchs_resizing_and_padding(side, size) -> None:
    images = torch.rand(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    smallest, top, left = 18, 1, side - size - 1
    draw = torch.tensor(
        [
            [
                (size - smallest + 0.5) / (side - smallest),
                (top + 0.5) / (side - size),
                (left + 0.5) / (side - size),
                0.0,
            ]
        ]
    )
    views = Views.drawn(draw, images.shape, AttackSettings(resize_rate=(smallest + 0.5) / side))
    resized = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
    expected = F.pad(resized, (left, side - size - left, top, side - size - top))
    torch.testing.assert_close(views.of(images), expected)


@pytest.mark.parametrize(
    ("reference", "words"),
    {
        "mifgsm:decay=-1": "decay=-1.0: accepted are numbers in",
        "mifgsm:decay=1e300": "decay=1e\\+300: accepted are numbers in",
        "tim:kernel_size=4": "kernel_size=4: accepted are odd numbers from 1",
        "dim:resize_rate=2": "resize_rate=2.0: accepted are numbers in",
        "mifgsm:kernel_size=3": "no setting 'kernel_size'",
    }.items(),
)
def test_settings_that_cannot_be_are_refused(reference, words) -> None:
    with pytest.raises(ValueError, match=words):
        method_named(reference)


@pytest.mark.parametrize(("shape", "largest"), [((1, 28, 28), 55), ((3, 20, 31), 61), ((1, 4, 4), 15)])
def test_a_kernel_that_reaches_beyond_both_edges_is_refused(shape, largest) -> None:
    words = (
        rf"kernel_size={largest + 2}: accepted are odd numbers from 1 to {largest} for images of {shape[1]}"
    )
    method = method_named(name := f"tim:kernel_size={largest + 2}")
    with pytest.raises(ValueError, match=words):
        check_request(name, method, [EPSILON], shape, targeted=False, settings=AttackSettings())
    widest = method_named(name := f"tim:kernel_size={largest}")
    check_request(name, widest, [EPSILON], shape, targeted=False, settings=AttackSettings())


def test_a_kernel_of_the_librarys_settings_is_refused_too(model, batch_of, few) -> None:
    with pytest.raises(ValueError, match="kernel_size=57: accepted are odd numbers from 1 to 55"):
        attack_batch(model, batch_of(*few), "tim", [EPSILON], AttackSettings(kernel_size=57))


@pytest.mark.parametrize(
    "method",
    [
        "tim:kernel_size=1",
        "tim:kernel_size=55",
        "dim:resize_rate=0:diversity_probability=1",
        "dim:diversity_probability=0",
        "mifgsm:decay=1e9",
        "mifgsm:decay=1e38",
    ],
)
def test_settings_at_the_ends_of_their_ranges_give_images(method, model, batch_of, few) -> None:
    found = attack_batch(model, batch_of(*few), method, [EPSILON], SETTINGS, keep=range(NUM_FEW))
    assert found.failures == (None,) * NUM_FEW
    assert found.adversarial_images.isfinite().all()
    assert found.loss.isfinite().all()
    # Every step follows a gradient.
    torch.testing.assert_close(found.linf, torch.full((NUM_FEW, 1), EPSILON), atol=1e-6, rtol=0)


def test_views_that_are_never_resized_leave_bim(model, batch_of, few) -> None:
    never, bim = (
        attack_batch(model, batch_of(*few), method, [EPSILON], SETTINGS, keep=range(NUM_FEW))
        for method in ("dim:diversity_probability=0", "bim")
    )
    assert torch.equal(never.adversarial_images, bim.adversarial_images)


def test_a_velocity_beyond_all_numbers_keeps_to_the_first_gradient(model, batch_of, few) -> None:
    huge, first = (
        attack_batch(model, batch_of(*few), method, [EPSILON], settings, keep=range(NUM_FEW))
        for method, settings in (
            ("mifgsm:decay=1e38", SETTINGS),
            ("fgsm", AttackSettings()),
        )
    )
    moved = first.adversarial_images != first.clean_images[:, None]
    torch.testing.assert_close(
        huge.adversarial_images[moved], first.adversarial_images[moved], atol=1e-6, rtol=0
    )


def test_describes_its_settings() -> None:
    assert method_named("tim:decay=1:num_steps=4").describe(AttackSettings()) == (
        "4 steps of 2.5 epsilon / steps, decay 1, resized to 0.9 and more with probability 0.5, "
        "Gaussian kernel of 15"
    )
