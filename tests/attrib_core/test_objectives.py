"""Objectives against hand-computed values, and their independence of the batch."""

import pytest
import torch

from attrib_core.generation.objectives import CrossEntropy, L1Norm, Logit, LogitDistance, TotalVariation

LOGITS = torch.tensor([[1.0, 2.0, 3.0], [0.0, -1.0, 250.0]])
TARGETS = torch.tensor([1, 2])
IMAGES = torch.tensor([[[[0.0, 1.0], [0.5, -0.5]]], [[[1.0, 1.0], [1.0, 1.0]]]])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (Logit(), [-2.0, -250.0]),
        (LogitDistance(200.0), [198.0, 50.0]),
        (L1Norm(), [2.0, 4.0]),
        (TotalVariation(), [4.0, 0.0]),  # vertical 0.5 + 1.5, horizontal 1 + 1
        (LogitDistance(200.0) + 0.001 * L1Norm(), [198.002, 50.004]),
        (0.5 * Logit(), [-1.0, -125.0]),
    ],
)
def test_loss_per_image(objective, expected) -> None:
    torch.testing.assert_close(objective(LOGITS, TARGETS, IMAGES), torch.tensor(expected))


def test_cross_entropy_is_per_image() -> None:
    losses = CrossEntropy()(LOGITS, TARGETS, IMAGES)
    expected = LOGITS.logsumexp(1) - torch.tensor([2.0, 250.0])
    torch.testing.assert_close(losses, expected)
