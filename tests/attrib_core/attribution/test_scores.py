"""Deletion and insertion against a loop that follows the paper, and against what a good ranking must do."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from attrib_core.attribution import attribute, deletion_and_insertion
from attrib_core.attribution.baselines import blurred


def by_the_paper(classifier, images: Tensor, attribution: Tensor, classes: Tensor, num_steps: int):
    """One image, one step at a time: pixels by rank, the mean of neighbouring probabilities."""
    deletion, insertion = [], []
    for image, values, label in zip(images, attribution, classes, strict=True):
        ranking = sorted(range(values[0].numel()), key=lambda at: -values.sum(0).flatten()[at].item())
        for start, end, scores in (
            (image, torch.zeros_like(image), deletion),
            (blurred(image[None])[0], image, insertion),
        ):
            curve = []
            for step in range(num_steps + 1):
                changed = ranking[: -(-step * len(ranking) // num_steps)]
                point = start.clone().flatten(1)
                point[:, changed] = end.flatten(1)[:, changed]
                with torch.no_grad():
                    logits = classifier(point.view(1, *image.shape))
                curve.append(logits.softmax(1)[0, label].item())
            scores.append(sum((one + other) / 2 for one, other in pairwise(curve)) / num_steps)
    return torch.tensor(deletion), torch.tensor(insertion)


@pytest.mark.parametrize("num_steps", [1, 7, 20])
def test_scores_are_those_of_the_paper(num_steps, small, small_images, in_batches_of) -> None:
    images, classes = small_images[0].clone(), small_images[1]
    images[:, :, 4:] *= images[:, :, 4:] > 0.5  # black pixels, which deletion leaves as they are
    images[0] = 0
    attribution = torch.randn(images.shape, generator=torch.Generator().manual_seed(2)).round(decimals=1)
    found = deletion_and_insertion(
        in_batches_of(small, 12), images, attribution, classes, num_steps=num_steps
    )
    expected = by_the_paper(small, images, attribution, classes, num_steps)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_equal_attributions_rank_by_position(fashion, images) -> None:
    by_position = -torch.arange(784.0).view(1, 1, 28, 28).expand_as(images[0])
    equal = deletion_and_insertion(fashion, *pixels_and_classes(images, torch.ones(1)))
    ordered = deletion_and_insertion(fashion, images[0], by_position, images[1])
    assert torch.equal(equal[0], ordered[0])
    assert torch.equal(equal[1], ordered[1])


def pixels_and_classes(images: tuple[Tensor, Tensor], value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return images[0], value.expand_as(images[0]), images[1]


def test_an_attribution_ranks_pixels_better_than_its_opposite(fashion, images, explain) -> None:
    found = explain(fashion, *images, ["integrated_gradients"])
    values = found.values["integrated_gradients"]
    good = deletion_and_insertion(fashion, images[0], values, found.prediction)
    bad = deletion_and_insertion(fashion, images[0], -values, found.prediction)
    assert good[0].mean() < bad[0].mean(), "without its pixels the class is gone"
    assert good[1].mean() > bad[1].mean(), "with its pixels the class is there"


def test_scores_lie_in_the_unit_interval_and_do_not_depend_on_passes(
    fashion, images, explain, in_batches_of
) -> None:
    values = explain(fashion, *images, ["gradient_x_input"]).values["gradient_x_input"]
    several = [
        deletion_and_insertion(model, images[0], values, images[1])
        for model in (fashion, in_batches_of(fashion, 16))
    ]
    for one, other in zip(*several, strict=True):
        assert one.shape == (len(images[0]),)
        assert one.min() >= 0
        assert one.max() <= 1
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_neighbours_change_no_bit_of_a_score(fashion, images, explain) -> None:
    values = explain(fashion, *images, ["gradient_x_input"]).values["gradient_x_input"]
    together = deletion_and_insertion(fashion, images[0], values, images[1])
    rows = torch.tensor([17, 3, 10])
    some = deletion_and_insertion(fashion, images[0][rows], values[rows], images[1][rows])
    for one, other in zip(some, together, strict=True):
        assert torch.equal(one, other[rows])


def test_a_blurred_image_keeps_its_brightness_where_it_is_even(small_images) -> None:
    even = torch.full((1, 3, 10, 12), 0.3)
    torch.testing.assert_close(blurred(even), even)
    found = blurred(small_images[0])
    assert found.min() >= 0
    assert found.max() <= 1
    assert found.std() < small_images[0].std()


def test_a_method_of_the_loss_ranks_first_what_lowers_it(fashion, images) -> None:
    """Also where the target is a logit: a loss that falls speaks for the class."""
    methods, scores = ["loss_gradient", "abs_gradient_x_input"], ["deletion", "insertion"]
    of_logits, of_loss = (
        attribute(fashion, *images, methods, target=target, scores=scores) for target in ("label", "loss")
    )
    deletion, _ = deletion_and_insertion(
        fashion, images[0], -of_logits.values["loss_gradient"], of_logits.prediction
    )
    found = of_logits.scores["deletion_score"][:, 0]
    torch.testing.assert_close(found, deletion, rtol=0, atol=1e-6)
    assert torch.equal(found, of_loss.scores["deletion_score"][:, 0])
