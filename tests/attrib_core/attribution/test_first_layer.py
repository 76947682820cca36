"""The first layer by itself: the same values as the network as a whole, and networks where it cannot be."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from attrib_core.attribution import AttributionSettings, attribute, lines
from attrib_core.attribution import occlusion as occlusions
from attrib_core.attribution.first_layer import first_layer
from attrib_core.prepared import PreparedModel, prepare

SIDE, CHANNELS, COUNT = 11, 2, 5


def stack(*, norm: bool = False, pool: bool = True, padding: int = 1, stride: int = 1) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first = nn.Conv2d(CHANNELS, 4, 3, padding=padding, stride=stride)
        layers = [first, *([nn.BatchNorm2d(4)] if norm else []), *([nn.MaxPool2d(2)] if pool else [])]
        network = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3)).eval()
        network(torch.zeros(1, CHANNELS, SIDE, SIDE))
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(torch.tensor([0.1, -0.2, 0.3, 0.0]))
            module.running_var.copy_(torch.tensor([0.5, 2.0, 1.0, 0.3]))
    return network


STACKS = {
    "pooled": stack(),
    "normed and pooled": stack(norm=True),
    "normed": stack(norm=True, pool=False),
    "alone": stack(pool=False, stride=2),
    "without padding": stack(padding=0),
}


@pytest.fixture
def wrap(classifier_of) -> Callable[[nn.Module], PreparedModel]:
    return lambda network: prepare(
        classifier_of(network, num_classes=3, channels=CHANNELS, image_size=SIDE), device="cpu", batch_size=4
    )


def images(channels: int = CHANNELS) -> Tensor:
    made = torch.rand(COUNT, channels, SIDE, SIDE, generator=torch.Generator().manual_seed(1))
    made[:, :, :5, :4] = 0  # equal corners in the windows of a pool
    return made


METHODS = [
    "integrated_gradients:num_steps=7",
    "integrated_gradients:baseline=uniform:num_steps=3",
    "integrated_gradients:num_steps=auto:tolerance=0.1",
    *(f"occlusion:window_size={size}:stride={stride}" for size, stride in ((1, 1), (2, 1), (3, 2), (5, 4))),
]


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.parametrize("target", ["label", "loss"])
def test_the_values_are_those_of_the_network_as_a_whole(name, target, wrap, monkeypatch) -> None:
    model, labels = wrap(STACKS[name]), torch.arange(COUNT) % 3
    layer = first_layer(model, (SIDE, SIDE))
    assert layer is not None
    assert (layer.pool is not None, len(layer.affine)) == (
        "pool" in name or "padding" in name,
        1 + ("norm" in name),
    )
    found = attribute(model, images(), labels, METHODS, target=target)
    monkeypatch.setattr(lines, "first_layer", lambda *_: None)
    monkeypatch.setattr(occlusions.HiddenWindows, "of", lambda *_: None)
    expected = attribute(model, images(), labels, METHODS, target=target)
    for method, values in expected.values.items():
        largest = values.abs().max().item()
        torch.testing.assert_close(found.values[method], values, rtol=0, atol=3e-6 * max(1, largest))


@pytest.mark.parametrize("method", METHODS)
def test_neighbours_and_places_in_a_pass_change_no_bit(method, wrap) -> None:
    model, labels = wrap(STACKS["pooled"]), torch.arange(COUNT) % 3
    together = attribute(model, images(), labels, [method]).values[method]
    for row in (0, 4):
        alone = images()[row : row + 1], labels[row : row + 1]
        assert torch.equal(attribute(model, *alone, [method], keys=[row]).values[method][0], together[row])


class Twice(nn.Module):
    """A network whose image goes another way, too, or whose first convolution runs twice."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way, self.rest = way, stack()

    def forward(self, pixels: Tensor) -> Tensor:
        if self.way == "clamped":
            return self.rest(pixels.clamp(0.2, 0.8))
        logits = self.rest(pixels)
        if self.way == "closed gate":  # which training may open
            return logits + torch.zeros(()) * pixels.mean((1, 2, 3))[:, None]
        if self.way == "bright spot":  # which images of noise do not have
            return logits + F.relu(F.avg_pool2d(pixels, 8) - 2).sum((1, 2, 3))[:, None]
        if self.way == "before the pool":  # of another shape if the layer gives what it is given
            return logits + self.rest[1](self.rest[0](pixels)).mean((2, 3))[:, :3] * 0 + self.rest[0].bias[:3]
        if self.way == "detached":
            return logits + pixels.detach().mean((1, 2, 3))[:, None]
        if self.way == "shared":
            return logits + F.relu(self.rest[0](pixels)).mean((1, 2, 3))[:, None]
        return logits * pixels.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize(
    "way", ["clamped", "detached", "shared", "multiplied", "closed gate", "bright spot", "before the pool"]
)
def test_what_flows_past_the_layer_takes_the_general_way(way, wrap) -> None:
    assert first_layer(wrap(Twice(way)), (SIDE, SIDE)) is None


class Added(nn.Module):
    """Its first convolution gives what two layers take, as in networks of pre-activations."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = (
            nn.Conv2d(CHANNELS, 4, 3, padding=1),
            nn.BatchNorm2d(4),
            nn.Linear(4, 3),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.conv(pixels)
        return self.head((found + F.relu(self.norm(found))).mean((2, 3)))


def test_a_network_that_fails_on_trial_takes_the_general_way(wrap) -> None:
    assert first_layer(wrap(Added()), (SIDE, SIDE)) is None


def test_whoever_hooks_a_layer_is_heard(wrap) -> None:
    model, labels = wrap(stack()), torch.arange(COUNT) % 3
    assert first_layer(model, (SIDE, SIDE)) is not None
    mask = torch.tensor([1.0, 0.0, 1.0, 1.0])[:, None, None]
    handle = model.classifier.network[0].register_forward_hook(lambda _module, _given, output: output * mask)
    assert first_layer(model, (SIDE, SIDE)) is None
    ablated = stack()
    ablated[0].weight.data *= mask[:, None]
    ablated[0].bias.data *= mask[:, 0, 0]
    found, expected = (attribute(each, images(), labels, METHODS) for each in (model, wrap(ablated)))
    handle.remove()
    for method, values in expected.values.items():
        torch.testing.assert_close(found.values[method], values, rtol=0, atol=1e-5)


class InPlace(nn.Module):
    """A network that writes to what its first layer gives, as activations of many published ones do."""

    def __init__(self, *, pool: bool) -> None:
        super().__init__()
        self.first, self.rest = nn.Sequential(*stack(pool=pool)[: 2 if pool else 1]), stack(pool=pool)[-2:]

    def forward(self, pixels: Tensor) -> Tensor:
        found = self.first(pixels)
        found += 0.1
        return self.rest(torch.relu_(found))


@pytest.mark.parametrize("pool", [True, False])
def test_a_network_may_write_to_what_the_layer_gives(pool, wrap, monkeypatch) -> None:
    model, labels = wrap(InPlace(pool=pool)), torch.arange(COUNT) % 3
    assert first_layer(model, (SIDE, SIDE)) is not None
    found = attribute(model, images(), labels, METHODS)
    monkeypatch.setattr(lines, "first_layer", lambda *_: None)
    monkeypatch.setattr(occlusions.HiddenWindows, "of", lambda *_: None)
    expected = attribute(model, images(), labels, METHODS)
    for method, values in expected.values.items():
        torch.testing.assert_close(found.values[method], values, rtol=0, atol=1e-5)


def test_weights_that_change_are_seen(wrap) -> None:
    """As in training: what is known about the network is its structure."""
    model, labels = wrap(stack()), torch.arange(COUNT) % 3
    method = "integrated_gradients:num_steps=4"
    attribute(model, images(), labels, [method])
    with torch.no_grad():
        model.classifier.network[0].weight.mul_(-1.5)
        model.classifier.network[0].bias.add_(0.3)
    changed = wrap(stack())
    changed.classifier.network.load_state_dict(model.classifier.network.state_dict())
    found, expected = (attribute(each, images(), labels, [method]) for each in (model, changed))
    assert torch.equal(found.values[method], expected.values[method])


def test_the_layer_is_given_back_when_a_pass_fails(wrap) -> None:
    model = wrap(stack())
    layer = first_layer(model, (SIDE, SIDE))
    assert layer is not None
    with pytest.raises(RuntimeError):
        layer.rest(torch.zeros(4, 1, 1, 1), images()[:4])
    assert not any("forward" in vars(each) for each in model.classifier.modules())


def test_auto_stops_each_image_where_its_sum_is_right(wrap) -> None:
    model, labels = wrap(STACKS["pooled"]), torch.arange(COUNT) % 3
    pixels = images()
    pixels[2] = 0  # explained by nothing, at once
    settings = AttributionSettings(num_steps="auto", tolerance=0.003)
    found = attribute(model, pixels, labels, ["integrated_gradients"], target="label", settings=settings)
    [steps], gap = found.num_path_steps.values(), found.completeness_gap
    assert gap is not None
    logits = model.exact_logits(pixels) - model.exact_logits(torch.zeros_like(pixels))
    change = logits.gather(1, labels[:, None])[:, 0].abs()
    assert steps[2] == 16
    assert len(steps.unique()) > 1
    assert set(steps.tolist()) <= {16 * 2**doublings for doublings in range(7)}
    assert ((gap.abs() <= 0.003 * change * 1.001) | (steps == 1024)).all()
    fixed = attribute(model, pixels, labels, ["integrated_gradients:num_steps=3"], target="label")
    assert fixed.num_path_steps["integrated_gradients:num_steps=3"].tolist() == [3] * COUNT
