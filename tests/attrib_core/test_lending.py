"""Code of others that changes the model it is lent is refused, and changes nothing for those who come after."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attacks import AttackBatch, attack_batch
from attrib_core.attribution import attribute
from attrib_core.classifiers import Classifier, Labels, Preprocessing
from attrib_core.classifiers.identity import Identity
from attrib_core.classifiers.rebuilding import check_rebuilt
from attrib_core.lending import SETTINGS
from attrib_core.prepared import PreparedModel, prepare

_numbers = itertools.count()
NETWORK = "network = model.classifier.network"

# What a function does, and what the error says of it.
CHANGES = {
    "train mode": ("network.train()", r"the network has training=True, before False"),
    "a layer's train mode": ("network[1].train()", r"the layer 1 has training=True"),
    "statistics": (
        "network.train(); network(images); network.eval()",
        r"layer 1 has a \w+ that was written",
    ),
    "forward hook": ("network[2].register_forward_hook(lambda m, i, o: 2 * o)", r"layer 2 has other hooks"),
    "backward hook": (
        "network[2].register_full_backward_hook(lambda m, i, o: None)",
        r"layer 2 has other hooks",
    ),
    "global hook": (
        "torch.nn.modules.module.register_module_forward_hook(lambda m, i, o: None)",
        r"torch has hooks on all modules",
    ),
    "weights": (
        "with torch.no_grad(): network[0].weight.mul_(0.5)",
        r"layer 0 has a weight that was written",
    ),
    "weights as data": ("network[0].weight.data.mul_(0.5)", r"the values of its weights are others"),
    "other weights": ("network[0].weight.data = 2 * network[0].weight.data", r"layer 0 has another weight"),
    "class": (
        "network[2].__class__ = torch.nn.Softplus",
        r"layer 2 is of the class Softplus, before of ReLU",
    ),
    "setting": ("network[2].inplace = True", r"layer 2 has inplace=True, before False"),
    "forward": ("network[2].forward = torch.sin", r"layer 2 has a forward of its own=True"),
    "layer": ("network[2] = torch.nn.Identity()", r"the network has other layers"),
    "requires_grad": ("model.requires_grad_(True)", r"with requires_grad=True"),
    "dtype": (
        "torch.set_default_dtype(torch.float64)",
        r"default dtype is torch.float64, before torch.float32",
    ),
    "deterministic": ("torch.use_deterministic_algorithms(True)", r"torch's deterministic algorithms is"),
    "threads": ("torch.set_num_threads(3)", r"number of threads is 3"),
    "grad mode": ("torch.set_grad_enabled(False)", r"grad mode is False, before True"),
    "before an error": ("network.train(); raise KeyError('mine')", r"KeyError: 'mine'"),
}

# What is put back, or is nobody else's.
WELCOME = {
    "a hook taken away": "network[2].register_forward_hook(lambda m, i, o: None).remove()",
    "a mode put back": "network[2].train(); network[2].eval()",
    "a hook on the module itself": "model.register_forward_hook(lambda m, i, o: None)",
    "no gradient for a while": "with torch.no_grad(): model(images)",
}


@pytest.fixture
def model() -> PreparedModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 9, 3)
        )
    return prepare(Classifier.wrap(network, image_size=5), device="cpu", batch_size=4)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(4, 1, 5, 5, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def attacked(model: PreparedModel, images: Tensor, method: str) -> Tensor:
    batch = AttackBatch(images=images, labels=torch.arange(4) % 3, keys=(0, 1, 2, 3))
    found = attack_batch(model, batch, method, (0.1,), keep=range(4)).adversarial_images
    assert found is not None
    return found


def explained(model: PreparedModel, images: Tensor, method: str) -> Tensor:
    return attribute(model, images, torch.arange(4) % 3, [method]).values[method]


ATTACK = "def changing(model, images, labels, *, epsilon):"
ATTRIBUTION = "def changing(model, images, targets):"
KINDS = {
    "attack": (ATTACK, attacked, "fgsm", "method='mine"),
    "attribution": (ATTRIBUTION, explained, "gradient", "methods='mine"),
}


def written(folder: Path, signature: str, line: str) -> str:
    """Write a function that does what the line says, and return its reference."""
    path = folder / f"mine_{next(_numbers)}.py"
    path.write_text(f"import torch\n{signature}\n    {NETWORK}\n    {line}\n    return images\n")
    return f"{path}:changing"


@pytest.mark.parametrize(("signature", "run", "ours", "start"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize(("line", "message"), CHANGES.values(), ids=CHANGES)
def test_a_change_is_an_error_and_nobody_else_sees_it(
    line: str,
    message: str,
    signature: str,
    run: Callable[[PreparedModel, Tensor, str], Tensor],
    ours: str,
    start: str,
    model: PreparedModel,
    images: Tensor,
    tmp_path: Path,
) -> None:
    before, settings = run(model, images, ours), {name: get() for name, (get, _) in SETTINGS.items()}
    lent = written(tmp_path, signature, "network")
    own = run(model, images, lent)
    with pytest.raises((ValueError, RuntimeError), match=message) as failed:
        run(model, images, written(tmp_path, signature, line))
    text = str(failed.value)
    assert text.startswith((start, start.replace("mine", str(tmp_path))))
    assert "accepted is code that leaves the model" in text or "KeyError" in text
    assert "\n" not in text
    assert {name: get() for name, (get, _) in SETTINGS.items()} == settings
    assert torch.equal(run(model, images, ours), before)
    assert torch.equal(run(model, images, lent), own), "the next code gets a copy that nobody changed"


@pytest.mark.parametrize(("signature", "run", "ours", "start"), KINDS.values(), ids=KINDS)
@pytest.mark.parametrize("line", WELCOME.values(), ids=WELCOME)
def test_what_is_put_back_is_welcome(line, signature, run, ours, start, model, images, tmp_path) -> None:
    run(model, images, written(tmp_path, signature, line))


def test_the_copy_is_made_once_and_again_after_the_model_itself_changed(model, images) -> None:
    logits = model.exact_logits(images)
    with model.lent("one") as first, model.in_float32().lent("two") as second:
        assert first.classifier is second.classifier is not model.classifier
        assert torch.equal(first.exact_logits(images), logits)
        first.batch_size = 2
    assert model.batch_size == 2, "memory that ran out stays known"
    with torch.no_grad():
        model.classifier.network[0].weight.mul_(2)
    with model.lent("three") as third:
        assert third.classifier is not first.classifier
        assert torch.equal(third.exact_logits(images), model.exact_logits(images))


class Centred(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (images - images.mean()).flatten(1)


class Training(nn.BatchNorm2d):
    def forward(self, images: Tensor) -> Tensor:
        self.train()
        return super().forward(images)


BY_NEIGHBOURS = {
    "batch norm": nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten()),
    "mean": Centred(),
    "train mode": nn.Sequential(Training(1), nn.Flatten()),
}


@pytest.mark.parametrize("network", BY_NEIGHBOURS.values(), ids=BY_NEIGHBOURS)
def test_a_network_whose_answer_depends_on_the_neighbours_is_refused(network: nn.Module) -> None:
    with pytest.raises(
        ValueError, match="depend on the images beside it in the batch; accepted are networks"
    ):
        Classifier.wrap(network, image_size=3, channels=1)


@pytest.mark.parametrize("network", BY_NEIGHBOURS.values(), ids=BY_NEIGHBOURS)
def test_so_is_one_of_a_users_file(network: nn.Module) -> None:
    shape = Preprocessing(mean=(0.0,), std=(1.0,), image_size=3)
    identity = Identity(name="mine.py:net", digest="", preprocessing=shape, labels=Labels.numbered(9))
    with pytest.raises(
        ValueError, match=r"model='mine.py:net': (the logits of an image depend on|two passes)"
    ):
        check_rebuilt(network, Classifier(network, identity))
