"""What users rely on, whatever the method: untouched weights and inputs, independence of batches, keys, memory."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attribution import METHODS, TARGETS, AttributionSettings

SETTINGS = AttributionSettings(num_steps=6, num_samples=5, baseline="uniform")
RANDOM = ("smooth_grad", "integrated_gradients")  # the latter with its uniform baseline


@pytest.fixture
def explain_all(explain) -> Callable[..., Any]:
    """All methods at few steps."""
    return lambda *arguments, **options: explain(
        *arguments, **({"methods": list(METHODS), "settings": SETTINGS} | options)
    )


@pytest.mark.parametrize("batch_size", [12, 40, 400])
def test_the_size_of_a_pass_changes_nothing_but_roundings(
    batch_size, fashion, images, explain_all, in_batches_of
) -> None:
    expected = explain_all(fashion, *images)
    found = explain_all(in_batches_of(fashion, batch_size), *images)
    assert torch.equal(found.prediction, expected.prediction)
    for method in METHODS:
        assert_same_up_to_rounding(found.values[method], expected.values[method])


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_change_no_bit(method, fashion, images, explain_all) -> None:
    """By construction: the network sees one batch shape, whatever the number of images."""
    together = explain_all(fashion, *images, methods=[method])
    places = [22, 3, 4, 17]
    found = explain_all(fashion, images[0][places], images[1][places], methods=[method], keys=places)
    assert torch.equal(found.values[method], together.values[method][places])
    assert torch.equal(found.confidence, together.confidence[places])


@pytest.mark.parametrize("method", METHODS)
def test_an_image_is_explained_alike_alone(method, small, small_images, explain_all) -> None:
    together = explain_all(small, *small_images, methods=[method]).values[method]
    for row in (0, 5):
        alone = small_images[0][row : row + 1], small_images[1][row : row + 1]
        found = explain_all(small, *alone, methods=[method], keys=[row]).values[method]
        assert torch.equal(found[0], together[row])


@pytest.mark.parametrize("method", METHODS)
def test_a_method_says_the_same_alone_and_among_others(method, fashion, images, explain_all) -> None:
    together = explain_all(fashion, *images)
    alone = explain_all(fashion, *images, methods=[method])
    assert_same_up_to_rounding(alone.values[method], together.values[method])


def assert_same_up_to_rounding(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6 * max(1, expected.abs().max().item()))


@pytest.mark.parametrize("method", METHODS)
def test_random_numbers_belong_to_seed_and_key(method, small, small_images, explain_all) -> None:
    def values(seed: int, keys: range) -> Tensor:
        settings = AttributionSettings(num_steps=4, num_samples=3, baseline="uniform", seed=seed)
        found: Tensor = explain_all(
            small, *small_images, methods=[method], keys=keys, settings=settings
        ).values[method]
        return found

    first = values(0, range(8))
    assert torch.equal(first, values(0, range(8)))
    for other in (values(1, range(8)), values(0, range(8, 16))):
        assert torch.equal(first, other) == (method not in RANDOM)


def test_positions_are_the_keys_by_default(small, small_images, explain_all) -> None:
    default = explain_all(small, *small_images, methods=["smooth_grad"]).values["smooth_grad"]
    keyed = explain_all(small, *small_images, methods=["smooth_grad"], keys=range(8)).values["smooth_grad"]
    assert torch.equal(default, keyed)


@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_touched(target, fashion, images, explain_all) -> None:
    before = {name: tensor.clone() for name, tensor in fashion.state_dict().items()}
    pixels, labels, random_state = images[0].clone(), images[1].clone(), torch.get_rng_state()
    found = explain_all(fashion, *images, target=target)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert torch.equal(images[0], pixels)
    assert torch.equal(images[1], labels)
    assert not images[0].requires_grad
    for name, tensor in fashion.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    assert all(weight.grad is None for weight in fashion.parameters())
    for method, values in found.values.items():
        assert not values.requires_grad, method
        assert values.shape == images[0].shape, method
        assert values.dtype == torch.float32, method
        assert values.isfinite().all(), method
        assert values.data_ptr() != images[0].data_ptr(), method


def test_weights_that_a_training_shares_may_change_between_calls(small, small_images, explain) -> None:
    """A network in training lends its memory: the next call sees the step that it took."""
    ahead = explain(small, *small_images, ["gradient"]).values["gradient"]
    with torch.no_grad():
        for weight in small.parameters():
            weight.mul_(0.5)
    after = explain(small, *small_images, ["gradient"]).values["gradient"]
    assert not torch.allclose(ahead, after)


def test_it_works_where_gradients_are_switched_off(small, small_images, explain_all) -> None:
    expected = explain_all(small, *small_images)
    with torch.no_grad():
        found = explain_all(small, *small_images)
    for method in METHODS:
        assert torch.equal(found.values[method], expected.values[method]), method


class OutOfMemoryBeyond(nn.Module):
    """A network that runs out of memory on more than so many images; it counts those that it was shown."""

    def __init__(self, network: nn.Module, most: int) -> None:
        super().__init__()
        self.network, self.most, self.shown = network, most, []

    def forward(self, images: Tensor) -> Tensor:
        self.shown.append(len(images))
        if len(images) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        logits: Tensor = self.network(images)
        return logits


def test_passes_are_halved_where_memory_runs_out(
    small, small_images, classifier_of, explain_all, in_batches_of
) -> None:
    expected = explain_all(small, *small_images)
    limited = OutOfMemoryBeyond(small.network, most=12)
    model = in_batches_of(classifier_of(limited, num_classes=5, channels=3), 64)
    found = explain_all(model, *small_images)
    for method in METHODS:
        assert_same_up_to_rounding(found.values[method], expected.values[method])
    assert (found.batch_size, model.batch_size) == (8, 8)
    assert sum(size > 12 for size in limited.shown) <= 4, "once it has halved it stays there"


def test_memory_that_not_even_one_image_fits_into_is_said(
    small, small_images, classifier_of, explain_all
) -> None:
    limited = classifier_of(OutOfMemoryBeyond(small.network, most=0), num_classes=5, channels=3)
    with pytest.raises(torch.OutOfMemoryError):
        explain_all(limited, *small_images)


def test_black_windows_need_no_pass(classifier_of, small, small_images, explain, in_batches_of) -> None:
    counted = OutOfMemoryBeyond(small.network, most=10_000)
    model = in_batches_of(classifier_of(counted, num_classes=5, channels=3), 8)
    settings = AttributionSettings(window_size=2, stride=2)
    dark = small_images[0].clone()
    dark[:, :, :, 2:] = 0
    explain(model, dark, small_images[1], ["occlusion"], settings=settings)
    assert sum(counted.shown) == 8 + 8 * 5, "the clean images, and five windows each"


@pytest.mark.parametrize(
    ("methods", "num_passes"),
    [
        (["gradient", "abs_gradient_x_input", "gradient_x_input"], 1),
        (["gradient", "loss_gradient"], 1),
        (["gradient", "occlusion", "occlusion_gradient_x_input"], 2),
    ],
)
def test_methods_share_their_passes(
    methods, num_passes, classifier_of, small, small_images, explain, in_batches_of
) -> None:
    counted = OutOfMemoryBeyond(small.network, most=10_000)
    model = in_batches_of(classifier_of(counted, num_classes=5, channels=3), 100)
    settings = AttributionSettings(window_size=5, stride=5)
    explain(model, *small_images, methods, settings=settings)
    assert len(counted.shown) == num_passes


@pytest.mark.parametrize(
    ("method", "changed", "words"),
    [
        ("occlusion", {}, "window a seventh of the side, stride half the window"),
        ("occlusion_gradient_x_input", {"window_size": 4, "stride": 2}, "window 4, stride 2"),
        ("integrated_gradients", {"baseline": "blurred"}, "50 steps from blurred"),
        ("smooth_grad", {"noise": 0.2}, "25 samples, noise 0.2"),
        ("gradient", {}, ""),
    ],
)
def test_a_method_describes_the_settings_that_shape_it(method, changed, words) -> None:
    assert METHODS[method].describe(AttributionSettings(**changed)) == words


def test_the_loss_methods_explain_the_loss_and_are_the_same_for_every_target(
    small, small_images, explain
) -> None:
    names = [name for name in METHODS if METHODS[name].explains_loss]
    assert names == ["loss_gradient", "loss_gradient_x_input"]
    first, *others = (explain(small, *small_images, names, target=target).values for target in TARGETS)
    for name in names:
        for other in others:
            assert torch.equal(first[name], other[name])
