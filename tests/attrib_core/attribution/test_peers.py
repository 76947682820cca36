"""Against captum on the same model and images, to 1e-5 of the largest value."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.attribution import METHODS, TARGETS, AttributionSettings, attribute
from attrib_core.classifiers import Classifier, load_classifier

PEERED = ("gradient", "gradient_x_input", "integrated_gradients", "occlusion")


def explained(classifier: Classifier, images: Tensor, classes: Tensor, target: str) -> Tensor:
    """The number that captum explains; captum has no notion of a loss."""
    logits = classifier(images)
    if target == "loss":
        return F.cross_entropy(logits, classes, reduction="none")
    return logits.gather(1, classes[:, None])[:, 0]


def peer_values(
    peers: Any, method: str, forward: Any, images: Tensor, classes: Tensor, window: Any
) -> Tensor:
    """What captum says; `window` is the size and stride of occlusion's."""
    size, stride, channels = *window, images.shape[1]
    images = images.clone().requires_grad_()
    ask = {
        "gradient": partial(peers.Saliency(forward).attribute, abs=False),
        "gradient_x_input": peers.InputXGradient(forward).attribute,
        "integrated_gradients": partial(
            peers.IntegratedGradients(forward).attribute, internal_batch_size=200
        ),
        "occlusion": partial(
            peers.Occlusion(forward).attribute,
            sliding_window_shapes=(channels, size, size),
            strides=(channels, stride, stride),
            perturbations_per_eval=8,
        ),
    }[method]
    values: Tensor = ask(images, additional_forward_args=classes)
    return values.detach()


def assert_agrees(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * max(1.0, expected.abs().max().item()))


@pytest.fixture
def peer(peers) -> Callable[..., Tensor]:
    """captum's values of a method: (classifier, method, target, images, classes, window)."""

    def run(
        classifier: Classifier, method: str, target: str, images: Tensor, classes: Tensor, window: Any
    ) -> Tensor:
        forward = lambda points, classes: explained(classifier, points, classes, target)  # noqa: E731
        return peer_values(peers, method, forward, images, classes, window)

    return run


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", PEERED)
def test_the_shipped_network_is_explained_as_by_captum(method, target, images, plain_fashion, peer) -> None:
    pixels, labels = images[0][:8], images[1][:8]
    found = attribute(plain_fashion, pixels, labels, [method], target=target)
    classes = found.prediction if target == "predicted" else labels
    expected = peer(plain_fashion.classifier, method, target, pixels, classes, (4, 2))
    assert_agrees(found.values[method], expected)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", PEERED)
def test_a_small_network_is_explained_as_by_captum_in_the_fastest_format(
    method, target, small_images, small, peer
) -> None:
    settings = AttributionSettings(window_size=4, stride=3)
    found = attribute(small, *small_images, [method], target=target, settings=settings)
    classes = found.prediction if target == "predicted" else small_images[1]
    assert_agrees(found.values[method], peer(small, method, target, small_images[0], classes, (4, 3)))


@pytest.mark.parametrize("window", [(1, 1), (2, 1), (3, 3), (4, 3), (7, 5), (10, 10)])
def test_windows_that_do_not_fit_a_whole_number_of_times_are_cut_off_as_by_captum(
    window, small_images, small, peer
) -> None:
    settings = AttributionSettings(window_size=window[0], stride=window[1])
    found = attribute(small, *small_images, ["occlusion"], target="label", settings=settings)
    assert_agrees(found.values["occlusion"], peer(small, "occlusion", "label", *small_images, window))


def test_the_fastest_format_differs_from_captum_only_at_kinks(images, fashion, explain, peer) -> None:
    found = explain(fashion, *images, ["integrated_gradients", "occlusion"])
    reference = load_classifier("fashion_deep")
    for method, worst in (("integrated_gradients", 1e-2), ("occlusion", 1e-4)):
        expected = peer(reference, method, "predicted", images[0], found.prediction, (4, 2))
        difference = (found.values[method] - expected).abs()
        assert difference.median() <= 1e-6, method
        assert difference.max() < worst, method


def test_the_completeness_gap_is_captums(images, plain_fashion, peers) -> None:
    found = attribute(plain_fashion, *images, ["integrated_gradients"])
    _, expected = peers.IntegratedGradients(plain_fashion.classifier).attribute(
        images[0], target=found.prediction, internal_batch_size=200, return_convergence_delta=True
    )
    torch.testing.assert_close(found.completeness_gap, expected.float(), rtol=0, atol=1e-4)


def test_every_method_is_held_against_an_oracle() -> None:
    """A new method belongs into a table of this folder."""
    assert set(METHODS) == {
        *PEERED,
        *("abs_gradient_x_input", "loss_gradient", "loss_gradient_x_input"),  # closed forms
        *("occlusion_gradient_x_input", "smooth_grad"),  # their definitions
        *("grad_cam", "guided_grad_cam"),  # test_grad_cam.py
    }
