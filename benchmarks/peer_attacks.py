"""Calls of foolbox and torchattacks for the accuracy at every ε, as their documentation shows them.

Run as a script it is what a user of foolbox would write: the model, all test images, a table as CSV.
"""

import csv
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from attrib_core.classifiers import load_classifier
from attrib_core.datasets import View, load_dataset

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about functions that SciPy 2 will remove
    import foolbox
import torchattacks

EPSILONS = (0.0, *(level / 255 for level in (0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)), 0.01, 0.1)

# Maps images `[B, C, H, W]` and labels `[B]` to predictions `[B, E]`.
Predict = Callable[[Tensor, Tensor, Sequence[float]], Tensor]


def foolbox_predictions(model: Any) -> Predict:
    """Predict with one call for all ε. Inside, foolbox runs the attack anew for each."""
    attack, wrapped = (
        foolbox.attacks.LinfFastGradientAttack(),
        foolbox.PyTorchModel(model, (0, 1), device="cpu"),
    )

    def predict(images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> Tensor:
        _, clipped, _ = attack(wrapped, images, labels, epsilons=list(epsilons))
        with torch.no_grad():
            return torch.stack([model(each).argmax(1) for each in clipped], 1)

    return predict


def foolbox_successes(model: Any) -> Predict:
    """Return whether each attack succeeded, as foolbox itself says, without a prediction afterwards."""
    attack, wrapped = (
        foolbox.attacks.LinfFastGradientAttack(),
        foolbox.PyTorchModel(model, (0, 1), device="cpu"),
    )

    def succeed(images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> Tensor:
        return attack(wrapped, images, labels, epsilons=list(epsilons))[2].T

    return succeed


def torchattacks_predictions(model: Any) -> Predict:
    """Predict the images of one attack object for each ε."""

    def predict(images: Tensor, labels: Tensor, epsilons: Sequence[float]) -> Tensor:
        columns = []
        for epsilon in epsilons:
            adversarial = torchattacks.FGSM(model, eps=epsilon)(images, labels)
            with torch.no_grad():
                columns.append(model(adversarial).argmax(1))
        return torch.stack(columns, 1)

    return predict


def test_images() -> tuple[Tensor, Tensor]:
    """Return all 10,000 test images of Fashion-MNIST `[N, 1, 28, 28]` in [0, 1], and their labels."""
    dataset = load_dataset("fashion_mnist")
    pixels = dataset.images(range(len(dataset)), View(image_size=28, channels=1))
    return torch.from_numpy(pixels).float() / 255, torch.from_numpy(dataset.labels)


def main(output: Path, batch_size: int = 500) -> None:
    """Print the accuracy at every ε over the test set, and write whether each image was misclassified, as CSV."""
    images, labels = test_images()
    succeed = foolbox_successes(load_classifier("fashion_deep"))
    parts = [
        succeed(*batch, EPSILONS)
        for batch in zip(images.split(batch_size), labels.split(batch_size), strict=True)
    ]
    fooled = torch.cat(parts)
    with output.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *EPSILONS])
        writer.writerows([index, *row] for index, row in enumerate(fooled.int().tolist()))
    print(1 - fooled.float().mean(0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
