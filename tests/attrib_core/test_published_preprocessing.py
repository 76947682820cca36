"""Photographs are prepared as timm and torchvision prepare them, for all of their published weights."""

import functools
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torchvision
from numpy.typing import NDArray
from PIL import Image

from attrib_core.classifiers import Preprocessing
from attrib_core.classifiers.registry import find_architecture
from attrib_core.classifiers.timm_models import evaluation_preprocessing
from attrib_core.datasets import View

SIZES = {"landscape": (251, 167), "portrait": (90, 140), "small": (37, 36)}


@functools.cache
def photograph(name: str) -> Image.Image:
    """Return waves of several lengths in three colours, under a little noise."""
    width, height = SIZES[name]
    rows, columns = np.mgrid[:height, :width]
    waves = [np.sin(rows / length) * np.cos(columns / (length + 1)) for length in (2, 7, 23)]
    noise = np.random.default_rng(0).normal(0, 10, (height, width, 3))
    return Image.fromarray((127 + 100 * np.stack(waves, -1) + noise).clip(0, 255).astype(np.uint8))


def seen(preprocessing: Preprocessing, name: str) -> NDArray[np.uint8]:
    return View.of_preprocessing(preprocessing).apply(photograph(name)).copy()


@functools.cache
def timm_configurations() -> list[Any]:
    """Return one configuration for each way in which timm's models with published weights see an image."""
    every = [timm.get_pretrained_cfg(name) for name in timm.list_models(pretrained=True)]
    square = [each for each in every if each.input_size[1] == each.input_size[2]]
    # Only a border has a colour, which is the mean.
    return list(
        {
            (
                each.input_size,
                each.crop_pct,
                each.crop_mode,
                each.interpolation,
                each.mean if each.crop_mode == "border" else None,
            ): each
            for each in square
        }.values()
    )


@pytest.mark.parametrize("name", SIZES)
def test_photographs_are_seen_as_timm_shows_them_in_all_of_its_configurations(name: str) -> None:
    differing = []
    for configuration in timm_configurations():
        data = timm.data.resolve_data_config(pretrained_cfg=configuration.to_dict())
        transform = timm.data.create_transform(**data, normalize=False)
        pixels = seen(evaluation_preprocessing(configuration), name)
        if not np.array_equal(pixels, transform(photograph(name)).numpy()):
            differing.append(data)
    assert differing == []
    assert len(timm_configurations()) > 80


def test_the_configurations_of_timm_hold_all_its_ways_to_crop() -> None:
    modes = {each.crop_mode for each in timm_configurations()}
    assert modes == {"center", "squash", "border"}
    assert max(each.crop_pct for each in timm_configurations()) > 1


def test_normalised_pixels_are_timms() -> None:
    configuration = timm.get_pretrained_cfg("resnet18.a1_in1k")
    data = timm.data.resolve_data_config(pretrained_cfg=configuration.to_dict())
    expected = timm.data.create_transform(**data)(photograph("landscape"))
    preprocessing = evaluation_preprocessing(configuration)
    pixels = torch.from_numpy(seen(preprocessing, "landscape")).float() / 255
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocessing.mean, preprocessing.std))
    torch.testing.assert_close((pixels - mean) / std, expected, rtol=0, atol=1e-6)


def test_images_that_are_not_square_are_refused() -> None:
    with pytest.raises(ValueError, match=r"vit_base_patch16_sapiens2'.*1024×768; accepted are square"):
        find_architecture("vit_base_patch16_sapiens2").preprocessing(None)


@functools.cache
def torchvision_weights() -> dict[tuple[str, Preprocessing], Any]:
    """Return one of the weights for each pair of torchvision's transform and our preprocessing."""
    pairs: dict[tuple[str, Preprocessing], Any] = {}
    for name in torchvision.models.list_models(module=torchvision.models):
        architecture = find_architecture(name)
        for weights in torchvision.models.get_model_weights(name):
            pairs[repr(weights.transforms()), architecture.preprocessing(str(weights))] = weights
    return pairs


@pytest.mark.parametrize("name", SIZES)
def test_photographs_are_seen_as_torchvision_shows_them_for_all_of_its_weights(name: str) -> None:
    for (_, preprocessing), weights in torchvision_weights().items():
        mean, std = (torch.tensor(each).view(3, 1, 1) for each in (preprocessing.mean, preprocessing.std))
        pixels = torch.from_numpy(seen(preprocessing, name)).float() / 255
        assert torch.equal((pixels - mean) / std, weights.transforms()(photograph(name))), weights
