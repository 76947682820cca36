"""How strongly images activate units: by hand on layers of each shape, and what does not change the strongest."""

import numpy as np
import pytest
import safetensors.numpy
import torch
from torch import Tensor, nn

from attrib_core.activations import NO_PLACE, strongest, strongest_images, unit_activations
from attrib_core.classifiers import Classifier
from attrib_core.generation.unit_evaluation import evaluate_units
from attrib_core.prepared import prepare
from attrib_core.units import choose_units

SIZE = 8


class Shaped(nn.Module):
    """Gives the image's brightness in blocks of 2 x 2, as the layer `shown`, laid out in one of several ways."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.layout, self.shown = layout, nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(images, 2)  # [N, 3, 4, 4]
        tokens = maps.flatten(2).transpose(1, 2)
        laid_out = {
            "map": maps,
            "last": maps.permute(0, 2, 3, 1),
            "tokens": torch.cat([10 * tokens.amax(1, keepdim=True), tokens], 1),
            "vector": maps.mean((2, 3)),
        }
        logits: Tensor = self.shown(laid_out[self.layout]).flatten(1)[:, :2]
        return logits


@pytest.fixture
def spots() -> Tensor:
    """Black images with one bright block each, in channel 1, the later the brighter."""
    images = torch.zeros(4, 3, SIZE, SIZE)
    for index, (row, column) in enumerate([(0, 0), (2, 6), (4, 2), (6, 4)]):
        images[index, 1, row : row + 2, column : column + 2] = 0.25 * (index + 1)
    return images


def classifier(layout: str) -> Classifier:
    return Classifier.wrap(Shaped(layout), mean=(0.0,) * 3, std=(1.0,) * 3, image_size=SIZE)


@pytest.mark.parametrize(
    ("layout", "divisor", "has_places"), [("map", 16, True), ("last", 16, True), ("vector", 16, False)]
)
def test_activation_and_place_by_hand(layout, divisor, has_places, spots) -> None:
    found = strongest_images(classifier(layout), spots, "shown:1", top=3)
    assert found.units == ("shown:1",)
    assert found.images.tolist() == [[3, 2, 1]]
    torch.testing.assert_close(found.values, torch.tensor([[1.0, 0.75, 0.5]]) / divisor)
    # The middle of a block of 2 x 2.
    expected = ([[7, 5, 3]], [[5, 3, 7]]) if has_places else ([[NO_PLACE] * 3], [[NO_PLACE] * 3])
    assert (found.rows.tolist(), found.columns.tolist()) == expected


def test_tokens_that_are_no_patches_lie_nowhere(spots) -> None:
    found = strongest_images(classifier("tokens"), spots, "shown:1", top=1)
    torch.testing.assert_close(found.values, torch.tensor([[11 / 17]]))
    assert (found.rows.tolist(), found.columns.tolist()) == ([[NO_PLACE]], [[NO_PLACE]])


def test_the_neuron_in_the_middle_is_there_wherever_its_channel_is_strongest(spots) -> None:
    spots[0, 1, 4:6, 4:6] = 0.5
    found = strongest_images(classifier("map"), spots, "shown:1:center", top=2)
    assert found.images.tolist() == [[0, 1]]
    assert found.values.tolist() == [[0.5, 0.0]]
    assert (found.rows.tolist(), found.columns.tolist()) == ([[5, 5]], [[5, 5]])


def test_batches_change_no_bit() -> None:
    images = torch.rand(11, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Flatten(), nn.Linear(5 * 36, 4))
    model = Classifier.wrap(network, mean=(0.0,) * 3, std=(1.0,) * 3, image_size=SIZE)
    whole = strongest_images(prepare(model, batch_size=4), images, "0:all,3:0-1", top=11)
    for first in range(11):
        alone = strongest_images(prepare(model, batch_size=4), images[first : first + 1], "0:all,3:0-1")
        assert torch.equal(alone.values[:, 0], whole.values[whole.images == first])


def test_of_equal_values_the_first_comes_first_and_fewer_images_than_asked_for_are_enough() -> None:
    values = torch.tensor([[1.0], [2.0], [2.0], [0.0]])
    assert strongest(values, 3).tolist() == [[1, 2, 0]]
    assert strongest(values, 9).tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize(
    ("units", "top", "message"),
    [
        ("shown:3", 1, "units='shown:3'"),
        ("show:0", 1, "no layer 'show'"),
        ("shown:0", 0, "top=0: accepted are 1 and more"),
    ],
)
def test_mistakes_are_named(units, top, message, spots) -> None:
    with pytest.raises(ValueError, match=message):
        strongest_images(classifier("map"), spots, units, top=top)


def test_numbers_are_those_of_generated_images_of_units(tmp_path) -> None:
    """A synthetic picture and a natural image are compared by one number."""
    model = prepare(classifier("map"), batch_size=4)
    file = tmp_path / "concepts.safetensors"
    safetensors.numpy.save_file({"key": np.array([[0.5, -1.0, 2.0]], dtype=np.float32)}, file)
    units = choose_units(f"shown:0-2,shown:1:center,shown:{file}", model, SIZE)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (4, 3, SIZE, SIZE), generator=generator, dtype=torch.uint8)
    found = unit_activations(model, images.float() / 255, units)
    for place, name in enumerate(units.names["shown"]):
        verdict = evaluate_units(model, units.layers["shown"], [name] * 4, units.directions, images)
        assert torch.equal(found.values[:, place], verdict.activation), name
