"""Minibatches are normalised as the classifier does it, and augmented as seed and step say."""

import torch
import torch.nn.functional as F
from torch import Tensor

from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset
from attrib_core.execution import Execution
from attrib_core.training import NormalizedImages, TrainingSettings, augment


def test_inputs_are_normalized_as_the_classifier_normalizes_them(
    stripes: Dataset, execution: Execution
) -> None:
    images = NormalizedImages(stripes, find_architecture("fashion_deep").preprocessing(None), execution)
    inputs, labels = images.batch(torch.tensor([3, 11]))
    pixels = torch.from_numpy(stripes.source.pixels[[3, 11]])[:, None]
    torch.testing.assert_close(inputs, (pixels.float() / 255 - 0.2860) / 0.3530)
    assert labels.tolist() == [3, 1]
    assert inputs.is_contiguous(memory_format=torch.channels_last)


def coordinates(batch_size: int) -> Tensor:
    """Images `[B, 1, 6, 6]` whose every pixel differs."""
    return torch.arange(1, 37, dtype=torch.uint8).view(1, 1, 6, 6).repeat(batch_size, 1, 1, 1)


def test_about_half_of_the_images_are_mirrored_and_nothing_else() -> None:
    images = coordinates(200)
    settings = TrainingSettings(epochs=1, horizontal_flip=True)
    flipped = augment(images, settings, step=0)
    is_flipped = (flipped == images.flip(-1)).all((1, 2, 3))
    assert ((flipped == images).all((1, 2, 3)) ^ is_flipped).all()
    assert 70 < is_flipped.sum() < 130


def test_images_are_shifted_by_all_offsets_up_to_the_largest_with_black_moving_in() -> None:
    images = coordinates(200)
    shifted = augment(images, TrainingSettings(epochs=1, max_shift=1), step=0)
    found = set()
    for image in shifted[:, 0]:
        for down in (-1, 0, 1):
            for right in (-1, 0, 1):
                padded = F.pad(images[0, 0], (1, 1, 1, 1))
                if torch.equal(image, padded[1 - down : 7 - down, 1 - right : 7 - right]):
                    found.add((down, right))
    assert len(found) == 9


def test_augmentation_follows_from_seed_and_step() -> None:
    settings = TrainingSettings(epochs=1, horizontal_flip=True, max_shift=2)
    images = coordinates(20)
    assert torch.equal(augment(images, settings, 3), augment(images, settings, 3))
    assert not torch.equal(augment(images, settings, 3), augment(images, settings, 4))
    assert torch.equal(images, coordinates(20))
