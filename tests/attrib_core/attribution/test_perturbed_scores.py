"""Infidelity and maximum sensitivity: captum.metrics' numbers given the same draws, and closed forms."""

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution import (
    METHODS,
    AttributionSettings,
    attribute,
    method_named,
    score_named,
    scores_named,
)
from attrib_core.attribution.method import Method
from attrib_core.attribution.scores import InfidelitySettings, MaxSensitivitySettings
from attrib_core.prepared import PreparedModel

COMPARED = ("gradient", "gradient_x_input", "integrated_gradients", "loss_gradient")
BOTH = ("infidelity", "max_sensitivity")
FEW = AttributionSettings(num_steps=6, num_samples=3)
SEED = 4


@pytest.fixture(scope="session")
def metrics() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations of what captum imports
        import captum.metrics as metrics
    return metrics


@pytest.fixture(params=["grey", "colour"])
def case(request: pytest.FixtureRequest) -> tuple[PreparedModel, Tensor, Tensor]:
    """A classifier, some images, half of them with black pixels, and their labels."""
    if request.param == "grey":
        images, labels = request.getfixturevalue("images")
        plain = request.getfixturevalue("plain_fashion")
        return PreparedModel(plain.classifier, plain.execution, batch_size=8), images[:4], labels[:4]
    images, labels = request.getfixturevalue("small_images")
    images = images.clone()
    images[:4] *= images[:4] > 0.4
    images[0] = 0
    return request.getfixturevalue("in_batches_of")(request.getfixturevalue("small"), 8), images, labels


def forward_of(model: PreparedModel, method: str) -> Callable[..., Tensor]:
    """What captum follows; it has no notion of a loss."""

    def forward(points: Tensor, classes: Tensor) -> Tensor:
        logits = model.classifier(points)
        if METHODS[method].explains_loss:
            return F.cross_entropy(logits, classes, reduction="none")
        return logits.gather(1, classes[:, None])[:, 0]

    return forward


@pytest.mark.parametrize("settings", [InfidelitySettings(), InfidelitySettings(perturbation="normal")])
@pytest.mark.parametrize("method", COMPARED)
def test_infidelity_is_captums(method, settings, case, metrics) -> None:
    model, images, labels = case
    keys = range(10, 10 + len(images))
    reference = f"infidelity:perturbation={settings.perturbation}"
    own = AttributionSettings(num_steps=6, seed=SEED)
    found = attribute(
        model, images, labels, [method], target="label", scores=[reference], settings=own, keys=keys
    )
    draws = settings.perturbed(images, keys, seed=SEED)
    perturb = metrics.infidelity_perturb_func_decorator(METHODS[method].of_inputs)(
        lambda _images: draws.flatten(0, 1)
    )
    for column, normalize in (("infidelity", False), ("infidelity_scaled", True)):
        expected = metrics.infidelity(
            forward_of(model, method),
            perturb,
            images,
            found.values[method],
            additional_forward_args=labels,
            normalize=normalize,
        )
        # captum subtracts in float32: what it computes as 0 is a rounding of the numbers that it subtracts.
        unit = found.scores["infidelity_of_zero"][:, 0].max().item()
        torch.testing.assert_close(
            found.scores[column][:, 0], expected, rtol=1e-4, atol=1e-5 * max(unit, 1e-3)
        )


@pytest.mark.parametrize("method", COMPARED)
def test_maximum_sensitivity_is_captums(method, case, metrics) -> None:
    model, images, labels = case
    keys = range(3, 3 + len(images))
    own = AttributionSettings(num_steps=6, seed=SEED)
    found = attribute(
        model, images, labels, [method], target="label", scores=["max_sensitivity"], settings=own, keys=keys
    )
    draws = MaxSensitivitySettings().perturbed(images, keys, seed=SEED)
    expected = metrics.sensitivity_max(
        partial(explanation, model, method, own),
        images,
        lambda _images: draws.flatten(0, 1),
        target=labels,
    )
    torch.testing.assert_close(found.scores["max_sensitivity"][:, 0], expected, rtol=1e-4, atol=1e-6)


def explanation(
    model: PreparedModel, method: str, settings: AttributionSettings, points: Any, target: Tensor
) -> Any:
    """captum's attribution function; `points` leave [0, 1]."""
    from captum import attr

    if isinstance(points, tuple):  # the clean images come as one, and go back as one
        return (explanation(model, method, settings, *points, target),)
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        forward = forward_of(model, method)
        asked = {
            "gradient": partial(attr.Saliency(forward).attribute, abs=False),
            "loss_gradient": partial(attr.Saliency(forward).attribute, abs=False),
            "gradient_x_input": attr.InputXGradient(forward).attribute,
            "integrated_gradients": partial(
                attr.IntegratedGradients(forward).attribute, n_steps=settings.num_steps
            ),
        }[method]
        values: Tensor = asked(points, additional_forward_args=target)
    return values.detach().contiguous()


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_run_again_with_the_same_class_and_random_numbers(
    method, small, small_images
) -> None:
    """The definition: the method itself, called at each point."""
    settings = MaxSensitivitySettings(num_samples=2, radius=0.3)  # points that stay in [0, 1]
    pixels, labels = small_images[0] * 0.3 + 0.35, small_images[1]
    own = AttributionSettings(num_steps=4, num_samples=2, baseline="uniform", seed=SEED)
    at = partial(attribute, small, methods=[method], target="label", settings=own)
    found = at(pixels, labels, scores=["max_sensitivity:num_samples=2:radius=0.3"])
    phi = found.values[method]
    near = settings.perturbed(pixels, seed=SEED)
    moved = [(at(points, labels).values[method] - phi).flatten(1).norm(dim=1) for points in near.unbind(1)]
    expected = torch.stack(moved).amax(0) / phi.flatten(1).norm(dim=1)
    torch.testing.assert_close(found.scores["max_sensitivity"][:, 0], expected, rtol=1e-5, atol=0)


def test_methods_of_others_have_the_scores_of_the_same_method_of_ours(small, small_images, tmp_path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "import torch\n"
        "def gradient(model, images, targets):\n"
        "    images.requires_grad_()\n"
        "    return torch.autograd.grad(model(images).gather(1, targets[:, None]).sum(), images)[0]\n"
        "gradient.of_inputs = False\n"
    )
    methods = ["gradient_x_input", "captum:InputXGradient", "gradient", f"{file}:gradient"]
    for scores in (BOTH, ("infidelity:perturbation=normal",)):
        found = attribute(small, *small_images, methods, scores=scores).scores
        for numbers in found.values():
            torch.testing.assert_close(numbers[:, 1::2], numbers[:, ::2], rtol=1e-4, atol=1e-6)


def test_code_that_draws_for_a_whole_batch_draws_the_same_numbers_at_every_point(
    small, small_images, tmp_path
) -> None:
    file = tmp_path / "random_map.py"
    file.write_text(
        "import torch\ndef attribute(model, images, targets):\n    return torch.rand_like(images)\n"
    )
    found = attribute(small, *small_images, [f"{file}:attribute"], scores=["max_sensitivity"])
    assert found.scores["max_sensitivity"].tolist() == [[0.0]] * len(small_images[0])


def test_maps_that_were_computed_elsewhere_have_no_sensitivity(small, small_images, monkeypatch) -> None:
    maps = torch.rand(small_images[0].shape)
    monkeypatch.setitem(METHODS, "given", Method.of_maps(maps, explains_loss=False, of_inputs=True))
    found = attribute(small, *small_images, ["given", "gradient"], scores=BOTH).scores
    assert found["max_sensitivity"].isnan().tolist() == [[True, False]] * len(maps)
    assert found["infidelity"].isfinite().all()
    alone = attribute(small, *small_images, ["given"], scores=BOTH[1:]).scores
    assert alone["max_sensitivity"].isnan().all()


@pytest.mark.parametrize(
    ("name", "of_inputs"),
    [
        ("InputXGradient", True),
        ("DeepLift", True),
        ("DeepLift:multiply_by_inputs=false", False),
        ("IntegratedGradients:multiply_by_inputs=false", False),
        ("Occlusion", True),
        ("Saliency", False),
        ("Saliency:abs=false", False),
        ("GuidedBackprop", False),
        ("LayerGradCam", False),
    ],
)
def test_maps_of_captum_are_shares_or_changes_a_unit_as_captum_says(name, of_inputs) -> None:
    assert method_named(f"captum:{name}").of_inputs is of_inputs


def test_the_class_that_is_explained_stays_where_the_prediction_changes(linear_classifier) -> None:
    """Two classes whose logits are far steeper than the radius: the prediction changes, the gradient does not."""
    weights = torch.stack([torch.full((1, 4, 4), 100.0), torch.full((1, 4, 4), -100.0)])
    model = linear_classifier(weights, torch.tensor([-1600 * 0.5, 1600 * 0.5]))
    pixels, labels = torch.full((3, 1, 4, 4), 0.5), torch.zeros(3, dtype=torch.long)
    found = attribute(model, pixels, labels, ["gradient"], scores=["max_sensitivity"])
    assert found.scores["max_sensitivity"].tolist() == [[0.0]] * 3


def test_a_linear_model_has_no_infidelity(linear_classifier) -> None:
    weights = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    model = linear_classifier(weights, torch.randn(4))
    pixels = torch.rand(5, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    pixels[0, :, :5] = 0
    labels = torch.arange(5) % 4
    for reference, exact in (
        ("infidelity", ("gradient", "gradient_x_input", "integrated_gradients")),
        ("infidelity:perturbation=normal", ("gradient",)),
    ):
        found = attribute(
            model,
            pixels,
            labels,
            ["gradient", "gradient_x_input", "integrated_gradients"],
            scores=[reference],
        )
        for method, numbers in zip(found.values, found.scores["infidelity"].unbind(1), strict=True):
            if method in exact:
                assert numbers.max() < 1e-9, (reference, method)
        assert found.scores["infidelity_of_zero"].min() > 0


def test_a_map_that_is_wrong_by_a_factor_has_infidelity_but_none_scaled(linear_classifier, tmp_path) -> None:
    """With a map of c · w · x on a linear model, the infidelity is (c − 1)² of that of zeros."""
    file = tmp_path / "tripled.py"
    file.write_text(
        "import torch\n"
        "def attribute(model, images, targets):\n"
        "    images.requires_grad_()\n"
        "    chosen = model(images).gather(1, targets[:, None]).sum()\n"
        "    return 3 * torch.autograd.grad(chosen, images)[0] * images\n"
    )
    model = linear_classifier(torch.randn(4, 1, 6, 6), torch.zeros(4))
    pixels, labels = torch.rand(3, 1, 6, 6), torch.arange(3)
    found = attribute(model, pixels, labels, [f"{file}:attribute"], scores=["infidelity"]).scores
    torch.testing.assert_close(found["infidelity"], 4 * found["infidelity_of_zero"], rtol=1e-4, atol=0)
    assert found["infidelity_scaled"].max() < 1e-8


def test_maps_of_zeros_and_black_images_have_the_scores_of_captum(small, small_images, tmp_path) -> None:
    file = tmp_path / "zeros.py"
    file.write_text("def attribute(model, images, targets):\n    return 0 * images\n")
    pixels = small_images[0].clone()
    pixels[0] = 0
    found = attribute(small, pixels, small_images[1], [f"{file}:attribute"], scores=BOTH).scores
    assert torch.equal(found["infidelity"], found["infidelity_of_zero"])
    assert torch.equal(found["infidelity_scaled"], found["infidelity_of_zero"])
    assert found["infidelity_of_zero"][0].item() == 0
    assert found["infidelity_of_zero"][1:].min() > 0
    assert found["max_sensitivity"].max() == 0


def test_gradients_too_small_for_the_squares_of_float32_still_move(linear_classifier, explain) -> None:
    """‖map‖² underflows float32 for the loss of a confident image; then captum divides by 1."""
    weights = torch.zeros(2, 1, 4, 4)
    weights[1] = -4.0
    found = explain(
        linear_classifier(weights, torch.tensor([25.0, 0.0])),
        torch.full((1, 1, 4, 4), 0.5),
        torch.tensor([0]),
        ["loss_gradient"],
        scores=["max_sensitivity"],
    )
    assert 0 < found.values["loss_gradient"].abs().max() < 1e-20
    assert found.scores["max_sensitivity"].item() > 0.1


@pytest.mark.parametrize("network", ["fashion", "small"])
def test_neighbours_and_other_methods_change_no_bit(network, request, in_batches_of) -> None:
    model = in_batches_of(request.getfixturevalue(network), 12)
    pixels, labels = request.getfixturevalue("images" if network == "fashion" else "small_images")
    methods, rows = ["gradient_x_input", "loss_gradient", "integrated_gradients"], [5, 2, 7]
    scores = (*BOTH[1:], "infidelity", "deletion")
    together = attribute(model, pixels[:8], labels[:8], methods, scores=scores, settings=FEW).scores
    for wanted, chosen in ((rows, methods), ([3], methods[:1])):
        some = attribute(
            model, pixels[wanted], labels[wanted], chosen, scores=scores, settings=FEW, keys=wanted
        ).scores
        for column, numbers in some.items():
            assert torch.equal(numbers, together[column][wanted, : len(chosen)]), column


@pytest.mark.parametrize("network", ["fashion", "small"])
def test_the_size_of_a_pass_changes_nothing_but_roundings(network, request, in_batches_of) -> None:
    pixels, labels = request.getfixturevalue("images" if network == "fashion" else "small_images")
    classifier = request.getfixturevalue(network)
    several = [
        attribute(
            in_batches_of(classifier, size), pixels[:6], labels[:6], COMPARED, scores=BOTH, settings=FEW
        )
        for size in (4, 40)
    ]
    for column, numbers in several[0].scores.items():
        torch.testing.assert_close(numbers, several[1].scores[column], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("reference", [*BOTH, "infidelity:perturbation=normal"])
def test_draws_belong_to_seed_and_key(reference, small, small_images, in_batches_of) -> None:
    def score(seed: int, keys: Sequence[int]) -> Tensor:
        settings = AttributionSettings(seed=seed)
        found = attribute(
            in_batches_of(small, 8),
            *small_images,
            ["gradient"],
            scores=[reference],
            settings=settings,
            keys=keys,
        )
        return found.scores[score_named(reference).columns[0]]

    assert torch.equal(score(0, range(8)), score(0, ()))
    assert not torch.equal(score(0, range(8)), score(1, range(8)))
    assert not torch.equal(score(0, range(8)), score(0, range(8, 16)))


def test_windows_stand_everywhere_within_the_image_and_are_a_quarter_of_its_side() -> None:
    pixels = torch.ones(1, 2, 8, 12)
    blackened = InfidelitySettings(num_samples=400).perturbed(pixels)[0] == 0
    assert torch.equal(blackened[:, 0], blackened[:, 1])
    assert set(blackened[:, 0].sum((1, 2)).tolist()) == {4}
    assert len({tuple(each.nonzero()[0].tolist()) for each in blackened[:, 0]}) == 7 * 11
    whole = InfidelitySettings(num_samples=2, window_size=8).perturbed(pixels)[0, :, 0] == 0
    assert whole.sum((1, 2)).tolist() == [64, 64]


def test_points_stay_within_the_radius_and_are_not_clipped() -> None:
    near = MaxSensitivitySettings(num_samples=50, radius=0.1).perturbed(torch.ones(2, 1, 5, 5))
    assert near.shape == (2, 50, 1, 5, 5)
    assert 0.9 <= near.min() < 0.91
    assert 1.09 < near.max() <= 1.1


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("infidelity:num_samples=0", r"num_samples=0: accepted are 1 and more"),
        ("infidelity:perturbation=round", r"perturbation=round: Input should be 'square' or 'normal'"),
        ("infidelity:window_size=0", r"window_size=0: accepted are 1 and more"),
        ("infidelity:noise=0.2", r"noise=0.2: perturbation=square has none; .* perturbation=normal"),
        (
            "infidelity:perturbation=normal:window_size=3",
            r"window_size=3: perturbation=normal has none; .* perturbation=square",
        ),
        ("infidelity:perturbation=normal:noise=0", r"noise=0.0: accepted are numbers above 0"),
        ("infidelity:perturbation=normal:noise=nan", r"noise=nan: accepted are numbers above 0"),
        ("infidelity:perturbation=normal:noise=-0.1", r"noise=-0.1: accepted are numbers above 0"),
        ("infidelity:radius=0.1", r"no setting 'radius'; accepted are noise, num_samples"),
        ("max_sensitivity:num_samples=0", r"num_samples=0: accepted are 1 and more"),
        ("max_sensitivity:radius=0", r"radius=0.0: accepted are numbers above 0"),
        ("max_sensitivity:radius=inf", r"radius=inf: accepted are numbers above 0"),
        ("max_sensitivity:radius=-1", r"radius=-1.0: accepted are numbers above 0"),
        ("max_sensitivity:num_samples=ten", r"num_samples=ten: Input should be a valid integer"),
    ],
)
def test_settings_that_cannot_be(reference, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        score_named(reference)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"scores='{reference.partition(':')[0]}")


def test_settings_that_cannot_be_given_in_python() -> None:
    with pytest.raises(ValueError, match=r"perturbation='round': accepted are square, normal"):
        InfidelitySettings(perturbation="round")  # type: ignore[arg-type]


def test_a_window_larger_than_the_images(small, small_images) -> None:
    with pytest.raises(ValueError, match=r"window_size=11: accepted are 1 to 10 on images of 10 × 12"):
        attribute(small, *small_images, ["gradient"], scores=["infidelity:window_size=11"])


def test_two_references_of_one_score_fill_one_column() -> None:
    with pytest.raises(ValueError, match="fill one column, infidelity; name one of them"):
        scores_named(["infidelity", "infidelity:num_samples=20"])


@pytest.mark.parametrize(
    ("name", "score", "message"),
    [
        ("of_nan", "infidelity", "attribution: that of of_nan holds NaN or infinite values"),
        ("of_nan", "max_sensitivity", "attribution: that of of_nan holds NaN or infinite values"),
        (
            "of_nan_nearby",
            "max_sensitivity",
            "of_nan_nearby holds NaN or infinite values at points near an image",
        ),
    ],
)
def test_maps_that_are_no_numbers(name, score, message, small, small_images, monkeypatch) -> None:
    methods = {
        "of_nan": Method(lambda subject: subject.images.log().log(), None),
        "of_nan_nearby": Method(lambda subject: subject.images.sqrt(), None),  # points leave [0, 1]
    }
    monkeypatch.setitem(METHODS, name, methods[name])
    with pytest.raises(ValueError, match=message):
        attribute(small, *small_images, [name], scores=[score])
