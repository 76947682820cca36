"""Re-drawn layers: those next to the output first, with the weights that the architecture itself begins with."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from attrib_core.classifiers import Checkpoint, Classifier, Description, build_classifier, read_checkpoint
from attrib_core.classifiers.randomized import Randomization, layers_from_output


class Backwards(nn.Module):
    """Its layers run in another order than they are written in; one of them runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.twice = nn.Conv2d(4, 4, 1)
        self.stem = nn.Conv2d(1, 4, 3)
        self.scale = nn.Parameter(torch.ones(4))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.twice(self.norm(self.twice(self.stem(images)))).mean((2, 3))
        return self.head(found * self.scale)


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    return read_checkpoint("fashion_deep")


@pytest.fixture(scope="module")
def randomization(trained: Checkpoint) -> Randomization:
    return Randomization.of(trained)


def test_layers_are_counted_from_the_output_in_the_order_of_execution() -> None:
    layers = layers_from_output(Classifier.wrap(Backwards(), image_size=8, channels=1))
    weights = [[name for name in layer if name.endswith(".weight")] for layer in layers]
    assert weights == [["head.weight"], ["twice.weight"], ["stem.weight", "norm.weight"]]
    assert layers[2][0] == "scale", "what the network scales by itself goes with its first layer"


@pytest.mark.parametrize("name", ["fashion_deep", "efficientnet_lite0"])
def test_every_tensor_belongs_to_one_layer(name: str) -> None:
    checkpoint = read_checkpoint(name)
    tensors = [each for layer in layers_from_output(build_classifier(checkpoint)) for each in layer]
    assert sorted(tensors) == sorted(checkpoint.state)


@pytest.mark.parametrize("num_layers", [1, 3, 11])
def test_the_last_layers_are_the_architecture_s_own_and_the_others_trained(
    num_layers: int, trained: Checkpoint, randomization: Randomization
) -> None:
    untrained = read_checkpoint("fashion_deep", weights="untrained")
    drawn = randomization.redrawn(num_layers, "randomized")
    new = {name for layer in randomization.layers[:num_layers] for name in layer}
    for name, array in drawn.state.items():
        source = untrained if name in new else trained
        assert np.array_equal(array, source.state[name])
    assert drawn.digest not in (trained.digest, untrained.digest)


@pytest.mark.parametrize("normed", [weight_norm, spectral_norm])
def test_what_a_weight_is_computed_from_belongs_to_its_layer(normed) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), normed(nn.Linear(72, 3)))
    head, first = layers_from_output(Classifier.wrap(network, image_size=8, channels=1))
    assert first == ("0.weight", "0.bias")
    assert all(name.startswith("2.") for name in head)
    assert "2.bias" in head
    assert set(head) | set(first) == set(network.state_dict())


def test_with_all_layers_redrawn_it_is_the_untrained_network(randomization: Randomization) -> None:
    untrained = read_checkpoint("fashion_deep", weights="untrained")
    assert randomization.num_layers == 12
    assert randomization.redrawn(12, "randomized:all").digest == untrained.digest


def test_a_head_of_another_number_of_classes_is_redrawn_too(tmp_path, trained: Checkpoint) -> None:
    state = {name: torch.from_numpy(array.copy()) for name, array in trained.state.items()}
    state["head.weight"], state["head.bias"] = state["head.weight"][:7], state["head.bias"][:7]
    torch.save(state, tmp_path / "seven.pt")
    checkpoint = read_checkpoint("fashion_deep", weights=str(tmp_path / "seven.pt"))
    drawn = Randomization.of(checkpoint).redrawn(1, "randomized:1")
    assert drawn.state["head.weight"].shape == (7, 50)
    assert not np.array_equal(drawn.state["head.weight"], checkpoint.state["head.weight"])


def test_members_of_an_ensemble_are_redrawn_one_by_one() -> None:
    ensemble = read_checkpoint("efficientnet_lite0+efficientnet_lite1")
    drawn = Randomization.of(ensemble).redrawn(1, "randomized:1")
    for before, after in zip(ensemble.members, drawn.members, strict=True):
        changed = [name for name in before.state if not np.array_equal(before.state[name], after.state[name])]
        assert changed == ["classifier.weight", "classifier.bias"]
    assert drawn.digest != ensemble.digest


def test_a_network_that_is_always_the_same_cannot_be_redrawn(tmp_path) -> None:
    file = tmp_path / "fixed.py"
    file.write_text(
        "import torch\nfrom torch import nn\n\n\n"
        "def make():\n    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))\n"
        "    nn.init.eye_(net[1].weight)\n    nn.init.zeros_(net[1].bias)\n    return net\n"
    )
    checkpoint = read_checkpoint(f"{file}:make", description=Description(image_size=8, channels=1))
    with pytest.raises(ValueError, match="has these weights whenever it is made"):
        Randomization.of(checkpoint)
