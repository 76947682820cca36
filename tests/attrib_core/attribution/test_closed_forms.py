"""What is known beforehand: everything on a linear classifier, complete sums on a piecewise linear one."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attribution import METHODS, AttributionSettings, attribute
from attrib_core.attribution.baselines import baselines

SHAPE = (2, 6, 7)  # channels, height, width
NUM_CLASSES = 4


def drawn(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


@pytest.fixture
def weights() -> Tensor:
    return drawn(NUM_CLASSES, *SHAPE)


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    images = drawn(8, *SHAPE).mul(0.2).add(0.5).clamp(0, 1)
    images[:, :, :3, :3] = 0  # black, where nothing can be occluded
    return images, torch.arange(8) % NUM_CLASSES


@pytest.fixture
def linear(weights, linear_classifier):
    return linear_classifier(weights, drawn(NUM_CLASSES))


def explained_weights(weights: Tensor, target: str, prediction: Tensor, labels: Tensor) -> Tensor:
    """The rows of the weights whose logit is explained, `[B, C, H, W]`."""
    return weights[prediction if target == "predicted" else labels]


@pytest.mark.parametrize("target", ["predicted", "label"])
def test_the_gradient_family_is_the_row_of_the_weights(target, weights, batch, linear, explain) -> None:
    images, labels = batch
    # A linear network has no layer of places.
    methods = [name for name in METHODS if "layer" not in METHODS[name].settings]
    found = explain(linear, images, labels, methods, target=target)
    row = explained_weights(weights, target, found.prediction, labels)
    expected = {
        "gradient": row,
        "abs_gradient_x_input": row.abs() * images,
        "gradient_x_input": row * images,
        "integrated_gradients": row * images,
        "smooth_grad": row,
    }
    for method, values in expected.items():
        torch.testing.assert_close(found.values[method], values, rtol=1e-5, atol=1e-6, msg=method)


def test_the_loss_gradient_is_probability_minus_one_hot_times_the_weights(
    weights, batch, linear, explain
) -> None:
    images, labels = batch
    found = explain(linear, images, labels, ["loss_gradient", "loss_gradient_x_input"])
    with torch.no_grad():
        errors = linear(images).softmax(1) - F.one_hot(labels, NUM_CLASSES)
    expected = torch.einsum("bk,kchw->bchw", errors, weights)
    torch.testing.assert_close(found.values["loss_gradient"], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(found.values["loss_gradient_x_input"], expected * images, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("baseline", ["black", "blurred", "uniform"])
def test_integrated_gradients_are_the_weights_times_the_way_from_the_baseline(
    baseline, weights, batch, linear, explain
) -> None:
    images, labels = batch
    settings = AttributionSettings(baseline=baseline, seed=7)
    keys = tuple(range(100, 108))
    found = explain(
        linear, images, labels, ["integrated_gradients"], target="label", settings=settings, keys=keys
    )
    expected = weights[labels] * (images - baselines(baseline, images, keys, seed=7))
    torch.testing.assert_close(found.values["integrated_gradients"], expected, rtol=1e-5, atol=1e-6)
    assert found.completeness_gap.abs().max() < 1e-4


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (3, 2), (4, 4), (6, 1)])
def test_occlusion_is_the_sum_over_each_window_averaged_over_the_windows_of_a_pixel(
    size, stride, weights, batch, linear, explain
) -> None:
    images, labels = batch
    settings = AttributionSettings(window_size=size, stride=stride)
    found = explain(linear, images, labels, ["occlusion"], target="label", settings=settings)
    total, count = torch.zeros(8, *SHAPE[1:]), torch.zeros(SHAPE[1:])
    contributions = (weights[labels] * images).sum(1)
    for top in range(0, SHAPE[1] - size + stride, stride):
        for left in range(0, SHAPE[2] - size + stride, stride):
            window = (slice(top, top + size), slice(left, left + size))
            total[:, *window] += contributions[:, *window].sum((1, 2))[:, None, None]
            count[window] += 1
    expected = (total / count)[:, None].expand(-1, SHAPE[0], -1, -1)
    torch.testing.assert_close(found.values["occlusion"], expected, rtol=1e-4, atol=1e-5)
    assert (found.values["occlusion"][:, :, 0, 0] == 0).all() or size > 3, "black windows change nothing"


def test_occlusion_combined_with_gradient_x_input_has_both_at_full_scale(
    weights, batch, linear, explain
) -> None:
    images, labels = batch
    methods = ["occlusion_gradient_x_input", "occlusion", "gradient_x_input"]
    values = explain(linear, images, labels, methods).values
    largest = {name: values[name].abs().amax((1, 2, 3), keepdim=True) for name in methods}
    expected = sum(values[name] / largest[name] for name in methods[1:]) / 2
    torch.testing.assert_close(values["occlusion_gradient_x_input"], expected)
    assert (largest["occlusion_gradient_x_input"] <= 1).all()


def test_a_black_image_has_nothing_to_attribute_and_no_division_by_zero(linear, explain) -> None:
    black, labels = torch.zeros(4, *SHAPE), torch.zeros(4, dtype=torch.long)
    found = explain(linear, black, labels, ["occlusion", "occlusion_gradient_x_input", "gradient_x_input"])
    for method, values in found.values.items():
        assert (values == 0).all(), method


def test_sums_are_complete_on_a_piecewise_linear_network_without_biases(classifier_of, explain) -> None:
    """Without biases the path from black crosses no kink, so that the quadrature is exact."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        layers = [nn.Conv2d(2, 6, 3, padding=1, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        network = nn.Sequential(*layers, nn.Linear(6 * 3 * 3, NUM_CLASSES, bias=False))
    classifier = classifier_of(network, num_classes=NUM_CLASSES, channels=2, image_size=6)
    images = drawn(8, 2, 6, 6).abs().clamp(0, 1)
    found = explain(classifier, images, torch.arange(8) % 4, ["integrated_gradients"], target="label")
    with torch.no_grad():
        logits = classifier(images).gather(1, (torch.arange(8) % 4)[:, None])[:, 0]
    torch.testing.assert_close(found.values["integrated_gradients"].sum((1, 2, 3)), logits)
    assert found.completeness_gap.abs().max() < 1e-5


def test_the_gap_shrinks_with_the_number_of_steps(images, fashion, explain) -> None:
    gaps = [
        explain(fashion, *images, ["integrated_gradients"], settings=AttributionSettings(num_steps=steps))
        .completeness_gap.abs()
        .mean()
        for steps in (2, 10, 100)
    ]
    assert gaps[0] > gaps[1] > gaps[2]


def test_smooth_grad_is_the_mean_gradient_under_noise(small, small_images, explain) -> None:
    few = AttributionSettings(num_samples=2000, noise=0.1)
    values = explain(small, *small_images, ["smooth_grad"], target="label", settings=few).values
    noise = torch.randn(2000, *small_images[0].shape[1:], generator=torch.Generator().manual_seed(9))
    for row in range(2):
        label = small_images[1][row]
        copies = (small_images[0][row] + 0.1 * noise).requires_grad_()
        (gradients,) = torch.autograd.grad(small(copies)[:, label].sum(), copies)
        expected = gradients.mean(0)
        error = 4 * gradients.std(0) * (2 / 2000) ** 0.5
        assert ((values["smooth_grad"][row] - expected).abs() < error + 1e-7).float().mean() > 0.99


def test_smooth_grad_without_noise_is_the_gradient(small, small_images, explain) -> None:
    still = AttributionSettings(noise=0.0, num_samples=4)
    values = explain(small, *small_images, ["gradient", "smooth_grad"], settings=still).values
    torch.testing.assert_close(values["smooth_grad"], values["gradient"])


def test_the_loss_gradient_is_autograds_of_the_summed_cross_entropy(fashion, images, explain) -> None:
    points = images[0].clone().requires_grad_()
    loss = F.cross_entropy(fashion(points), images[1], reduction="sum")
    (expected,) = torch.autograd.grad(loss, points)
    found = explain(fashion, *images, ["gradient", "loss_gradient"], target="loss").values
    torch.testing.assert_close(found["loss_gradient"], expected, rtol=1e-4, atol=1e-6)
    assert torch.equal(found["gradient"], found["loss_gradient"]), "the target is the loss"


def test_the_gradient_of_all_softmax_outputs_is_zero_and_ours_is_not(fashion, images, explain) -> None:
    """What the original's snippet differentiates sums to 1 whatever the image is."""
    points = images[0].clone().requires_grad_()
    (nothing,) = torch.autograd.grad(fashion(points).softmax(1).sum(), points)
    assert nothing.abs().max() < 1e-5
    found = explain(fashion, *images, ["gradient"]).values["gradient"]
    assert (found.abs().amax((1, 2, 3)) > 0.1).all()


def test_the_predicted_class_of_the_clean_image_is_kept_along_the_way(
    linear, weights, batch, explain
) -> None:
    """Along the path from black the prediction changes; what is explained does not."""
    images, labels = batch
    found = attribute_predictions(linear, images)
    assert (found[0] != found[1]).any(), "half as bright, some images are other classes"
    values = explain(linear, images, labels, ["integrated_gradients"]).values["integrated_gradients"]
    torch.testing.assert_close(values, weights[found[0]] * images, rtol=1e-5, atol=1e-6)


@torch.no_grad()
def attribute_predictions(classifier, images: Tensor) -> tuple[Tensor, Tensor]:
    return classifier(images).argmax(1), classifier(0.01 * images).argmax(1)


def test_prediction_and_confidence_are_those_of_the_clean_image(fashion, images) -> None:
    found = attribute(fashion, *images, ["gradient"])
    with torch.no_grad():
        confidence, prediction = fashion(images[0]).softmax(1).max(1)
    assert torch.equal(found.prediction, prediction)
    assert found.prediction.dtype == torch.int64
    torch.testing.assert_close(found.confidence, confidence)
    assert found.completeness_gap is None
