"""Networks of a user by reference: bit for bit the module that the code makes, or one line that says why not."""

import importlib.util
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from attrib_core.classifiers import (
    Description,
    build_classifier,
    canonical_name,
    load_classifier,
    read_checkpoint,
)
from attrib_core.user_code import forget, install, take_folder, taken

SIZE = 16
NETS = '''
import math
from functools import cache
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from attrib_core.classifiers import Classifier


class Small(nn.Module):
    """Three channels of any size to ten classes."""

    def __init__(self, width: int = 6, num_classes: int = 10):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, num_classes)

    def features(self, x):
        return torch.relu(self.norm(self.conv(x))).mean((2, 3))

    def forward(self, x):
        return self.fc(self.features(x))


def changed(answer):
    class Changed(Small):
        def forward(self, x):
            return answer(self, x)

    return Changed()


def in_tuple():
    return changed(lambda self, x: (Small.forward(self, x), self.features(x)))


def in_dict():
    return changed(lambda self, x: {"features": self.features(x), "logits": Small.forward(self, x)})


def in_object():
    return changed(lambda self, x: SimpleNamespace(logits=Small.forward(self, x)))


def changes_its_input():
    return changed(lambda self, x: Small.forward(self, x.mul_(2).sub_(1)))


def in_place_first():
    return nn.Sequential(nn.ReLU(inplace=True), Small())


def with_hooks():
    net = Small()
    net.conv.register_forward_pre_hook(lambda module, inputs: (inputs[0] * 0.5,))
    net.norm.register_forward_hook(lambda module, inputs, output: output + 1)
    return net


def in_train_mode():
    return nn.Sequential(Small(), nn.Dropout(0.5)).train()


def with_a_mask():
    net = changed(lambda self, x: Small.forward(self, x) + self.mask.exp())
    net.register_buffer("mask", torch.tensor([-math.inf] * 10))
    return net


def drawn_by_numpy():
    net = Small()
    net.fc.weight.data = torch.from_numpy(np.random.randn(10, 6).astype(np.float32))
    return net


@cache
def always_the_same():
    return Small()


NAMED = Small()


def in_parallel():
    return nn.DataParallel(Small())


def compiled():
    return torch.compile(Small())


def with_weight_norm():
    net = Small()
    nn.utils.parametrizations.weight_norm(net.fc)
    return net


def with_tied_weights():
    net = nn.Sequential(Small(), nn.Linear(10, 10), nn.Linear(10, 10))
    net[2].weight = net[1].weight
    return net


def one_logit():
    return Small(num_classes=1)


def wrapped(mean: float = 0.5):
    return Classifier.wrap(Small(), mean=[mean] * 3, std=[0.25] * 3, image_size=16, class_names=list("abcdefghij"))


class Inner:
    Net = Small


class Grey(nn.Module):
    """One channel of 28 by 28: the size and the channels follow from the linear layer."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)

    def forward(self, x):
        return self.fc(x.flatten(1))
'''
RIGHT = [
    "Small",
    "Small:width=4",
    "Small:num_classes=7:width=4",
    "in_tuple",
    "in_dict",
    "in_object",
    "changes_its_input",
    "in_place_first",
    "with_hooks",
    "in_train_mode",
    "with_a_mask",
    "drawn_by_numpy",
    "always_the_same",
    "NAMED",
    "in_parallel",
    "compiled",
    "with_weight_norm",
    "with_tied_weights",
    "one_logit",
    "wrapped",
    "wrapped:mean=0.25",
    "Inner.Net",
    "Grey",
]


@pytest.fixture
def nets(tmp_path: Path) -> Path:
    file = tmp_path / "nets.py"
    file.write_text(NETS)
    return file


def called_directly(file: Path, reference: str) -> nn.Module:
    """Return what the code makes, without us."""
    spec = importlib.util.spec_from_file_location("direct", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    name, *settings = reference.split(":")
    made: Any = module
    for word in name.split("."):
        made = getattr(made, word)
    arguments = dict(each.split("=") for each in settings)
    made = (
        made
        if isinstance(made, nn.Module)
        else made(**{key: float(value) if "." in value else int(value) for key, value in arguments.items()})
    )
    return getattr(made, "module", getattr(made, "_orig_mod", made))


def logits(output: Any) -> torch.Tensor:
    """Return the logits that a reader of the network's code would take."""
    if isinstance(output, dict):
        output = output["logits"]
    output = output[0] if isinstance(output, tuple) else getattr(output, "logits", output)
    return torch.cat([torch.zeros_like(output), output], 1) if output.shape[1] == 1 else output


@pytest.mark.parametrize("reference", RIGHT)
def test_a_reference_gives_the_logits_of_the_module_called_directly(reference: str, nets: Path) -> None:
    classifier = load_classifier(
        f"{nets}:{reference}",
        description=Description(
            image_size=None if reference in ("Grey", "wrapped", "wrapped:mean=0.25") else SIZE
        ),
    )
    direct = called_directly(nets, reference)
    images = torch.rand(4, classifier.channels, classifier.image_size, classifier.image_size)
    own = getattr(direct, "network", direct)
    own.load_state_dict(classifier.network.state_dict())
    inputs = images.clone().requires_grad_()
    found = classifier(inputs)
    with torch.no_grad():
        assert torch.equal(found, logits(direct.eval()(images.clone())))
    gradient = torch.autograd.grad(found.sum(), inputs)[0]
    assert gradient.isfinite().all()
    assert torch.equal(inputs, images)  # a network that changes its input changes ours not
    assert classifier.name == f"nets.py:{reference}"


def test_another_process_builds_the_same_network_without_the_file(nets: Path, tmp_path: Path) -> None:
    checkpoint = read_checkpoint(f"{nets}:with_hooks", description=Description(image_size=SIZE))
    images = torch.rand(4, 3, SIZE, SIZE)
    expected = build_classifier(checkpoint)(images)
    code = taken()
    forget()
    nets.unlink()
    for name in [each for each in sys.modules if each.startswith("attrib_user_nets")]:
        del sys.modules[name]
    install(code)
    assert checkpoint.name == "nets.py:with_hooks"
    assert torch.equal(build_classifier(checkpoint)(images), expected)


def test_without_weights_random_ones_are_always_the_same_and_that_is_said(nets: Path) -> None:
    first, second = (read_checkpoint(f"{nets}:Small") for _ in range(2))
    assert first.digest == second.digest
    assert first.weights == "returned"
    assert "image_size 224: nets.py:Small takes images of this size" in first.notes[0]
    assert "returns random weights; give --weights FILE" in first.notes[1]
    untrained = read_checkpoint(f"{nets}:Small", weights="untrained")
    assert untrained.digest != first.digest
    assert len(untrained.notes) == 1
    said = Description(image_size=SIZE)
    named = read_checkpoint(f"{nets}:NAMED", weights="untrained", description=said)
    assert "same weights under two seeds" in named.notes[0]
    assert not read_checkpoint(f"{nets}:NAMED", description=said).notes


@pytest.mark.parametrize("layout", ["plain", "lightning", "ema"])
def test_weights_come_from_checkpoints_of_all_layouts(layout: str, nets: Path, tmp_path: Path) -> None:
    network = called_directly(nets, "Small").eval()
    state, file = network.state_dict(), tmp_path / "last.ckpt"
    stored = {
        "plain": state,
        "lightning": {"state_dict": {f"model.{name}": each for name, each in state.items()}, "epoch": 3},
        "ema": {"model": {name: each * 0 for name, each in state.items()}, "model_ema": state},
    }[layout]
    torch.save(stored, file)
    weights = f"{file}#model_ema" if layout == "ema" else str(file)
    classifier = load_classifier(f"{nets}:Small", weights=weights)
    images = torch.rand(2, 3, 224, 224)
    assert torch.equal(classifier(images), network(images))


def test_the_size_and_channels_of_fixed_networks_are_found(nets: Path) -> None:
    checkpoint = read_checkpoint(f"{nets}:Grey")
    assert checkpoint.preprocessing.image_size == 28
    assert checkpoint.preprocessing.mean == (0.0,)
    assert "image_size 28: found by trying" in checkpoint.notes[0]
    assert read_checkpoint(f"{nets}:Small").preprocessing.image_size == 224


def test_what_the_user_says_of_a_bare_network_holds(nets: Path) -> None:
    said = Description(
        mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6], image_size=SIZE, class_names=list("abcdefghij")
    )
    classifier = load_classifier(f"{nets}:Small", description=said)
    direct = called_directly(nets, "Small").eval()
    direct.load_state_dict(classifier.network.state_dict())
    images = torch.rand(2, 3, SIZE, SIZE)
    scaled = (images - torch.tensor(said.mean).view(1, 3, 1, 1)) / torch.tensor(said.std).view(1, 3, 1, 1)
    assert torch.equal(classifier(images), direct(scaled))
    assert classifier.class_names[2] == "c"
    wrapped = load_classifier(f"{nets}:wrapped", description=Description(image_size=32))
    assert (wrapped.image_size, wrapped.class_names[0]) == (32, "a")


def test_a_folder_and_an_installed_module_are_named_alike(tmp_path: Path) -> None:
    folder = tmp_path / "my_networks"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "layers.py").write_text("WIDTH = 5\n")
    (folder / "deep" / "models.py").write_text(
        "from torch import nn\nfrom deep.layers import WIDTH\n\n\ndef make(num_classes: int = 4):\n"
        "    return nn.Sequential(nn.Conv2d(3, WIDTH, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), "
        "nn.Linear(WIDTH, num_classes))\n"
    )
    take_folder(folder)
    classifier = load_classifier("deep.models:make:num_classes=6")
    assert (classifier.num_classes, classifier.name) == (6, "deep.models:make:num_classes=6")
    installed = read_checkpoint(
        "torchvision.models:squeezenet1_1:num_classes=5", description=Description(image_size=64)
    )
    assert installed.num_classes == 5
    assert str(installed.definition).startswith("torchvision ")


def test_the_definition_changes_with_the_code(nets: Path) -> None:
    before = read_checkpoint(f"{nets}:Small")
    forget()
    nets.write_text(NETS.replace("torch.relu", "torch.tanh"))
    after = read_checkpoint(f"{nets}:Small")
    assert before.name == after.name
    assert before.definition != after.definition
    assert read_checkpoint("fashion_deep").definition is None


def test_global_generators_stay_as_they_are(nets: Path) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    load_classifier(f"{nets}:drawn_by_numpy", description=Description(image_size=SIZE))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])
    assert random.getstate() == before[2]


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("resnet18", "resnet18"),
        ("timm:resnet18.a1_in1k", "timm:resnet18.a1_in1k"),
        ("googlenet:transform_input=true", "googlenet:transform_input=true"),
        ("some/where/net.py:make:width=2:depth=3", "net.py:make:depth=3:width=2"),
        ("some/where/net.pt2", "net.pt2"),
        ("hf-hub:org/name", "hf-hub:org/name"),
    ],
)
def test_rows_have_the_canonical_text_of_a_reference(name: str, canonical: str) -> None:
    assert canonical_name(name) == canonical
