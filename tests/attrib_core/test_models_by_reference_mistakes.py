"""Whatever can be wrong with a user's own network is one line that says what would be accepted."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from attrib_core.classifiers import Description, load_classifier, read_checkpoint

WRONG = """
import random
import threading

import torch
from torch import nn

from attrib_core.classifiers import Classifier

NUMBER = 5


def net(answer=None, **arguments):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(arguments.get("channels", 3), 4, 3, padding=1)
            self.fc = nn.Linear(4, 10)

        def logits(self, x):
            return self.fc(self.conv(x).mean((2, 3)))

        def forward(self, x):
            return self.logits(x) if answer is None else answer(self, x)

    return Net()


def returns_none():
    net()


def returns_a_class():
    return type(net())


def returns_a_tensor():
    return torch.zeros(3)


def yields():
    yield net()


def fails(depth: int = 1):
    return [1][depth]


def leaves():
    raise SystemExit(3)


def needs_depth(depth):
    return net()


def on_meta():
    with torch.device("meta"):
        return net()


def half():
    return net().half()


def double():
    return net().double()


def not_a_number():
    return net(lambda self, x: self.logits(x) * float("nan"))


def softmax():
    return net(lambda self, x: self.logits(x).softmax(1))


def own_softmax():
    return net(lambda self, x: self.logits(x).exp() / self.logits(x).exp().sum(1, keepdim=True))


def sigmoid():
    return net(lambda self, x: torch.sigmoid(self.logits(x)))


def no_size():
    return net(lambda self, x: self.logits(x[:, :, :7, :7]) if x.shape[-1] == 7 else 1 / 0)


def tuple_without_tensor():
    return net(lambda self, x: ("a", "b"))


def dict_without_logits():
    return net(lambda self, x: {"scores": self.logits(x)})


def feature_map():
    return net(lambda self, x: self.conv(x))


def classes():
    return net(lambda self, x: self.logits(x).argmax(1))


def hidden_buffer():
    made = net(lambda self, x: self.logits(x) + self.hidden)
    made.register_buffer("hidden", torch.randn(10), persistent=False)
    return made


def hidden_number():
    made = net(lambda self, x: self.logits(x) * self.number)
    made.number = random.random()
    return made


def random_answers():
    return net(lambda self, x: nn.functional.dropout(self.logits(x), 0.5, training=True))


def remembers():
    def answer(self, x):
        self.seen = getattr(self, "seen", 0) + 1
        return self.logits(x) + self.seen

    return net(answer)


def lazy():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(10))


def with_a_lock():
    made = net()
    made.lock = threading.Lock()
    return made


def one_image_only():
    return net(lambda self, x: self.logits(x).view(1, 10))


def two_channels_wanted():
    return Classifier.wrap(net(channels=2), mean=[0.5, 0.5], std=[0.5, 0.5])


def wrapped_wrongly():
    return Classifier.wrap(net(), mean=[0.5] * 3, std=[0] * 3)


def with_extra_state():
    made = net()
    type(made).get_extra_state = lambda self: "text"
    return made


plain = net
NAMED = net()
"""
MISTAKES = {
    "no such file": ("nothing.py:plain", {}, "no file 'nothing.py'; near matches are"),
    "no name": ("wrong.py", {}, "accepted is .*wrong.py:NAME, with a NAME in it"),
    "two names": ("wrong.py:plain:more", {}, "with a NAME in it"),
    "no such name": ("wrong.py:plian", {}, "wrong.py has no name 'plian'; near matches are plain"),
    "syntax": ("syntax.py:net", {}, "syntax.py, line 2, cannot be imported: SyntaxError"),
    "import": ("imports.py:net", {}, "imports.py, line 1, cannot be imported: ModuleNotFoundError"),
    "exits on import": ("exits.py:net", {}, "exits.py, line 3, cannot be imported: SystemExit: 4"),
    "no module": ("not_a_package.models:net", {}, "no module 'not_a_package.models' is installed"),
    "no family": (
        "kaggle:resnet50",
        {},
        "no family 'kaggle'; accepted prefixes are torchvision, timm, hf-hub",
    ),
    "a quote": ("wrong.py:plain:name='x'", {}, "cannot be in it; accepted: name\\[:part\\]"),
    "not callable": (
        "wrong.py:NUMBER",
        {},
        "wrong.py:NUMBER is of type int; accepted are a function or class",
    ),
    "None": (
        "wrong.py:returns_none",
        {},
        "it returned None; accepted is a torch.nn.Module or Classifier.wrap",
    ),
    "a class": ("wrong.py:returns_a_class", {}, "it returned the class Net; accepted is an instance"),
    "a tensor": ("wrong.py:returns_a_tensor", {}, "it returned a Tensor; accepted is a torch.nn.Module"),
    "a generator": ("wrong.py:yields", {}, "it returned a generator"),
    "fails": ("wrong.py:fails", {}, "wrong.py, line 46, fails: IndexError: list index out of range"),
    "leaves": ("wrong.py:leaves", {}, "fails: SystemExit: 3"),
    "no such setting": ("wrong.py:fails:dpeth=2", {}, "no setting 'dpeth'; near matches are depth"),
    "setting of another type": (
        "wrong.py:fails:depth=deep",
        {},
        "depth=deep: Input should be a valid integer",
    ),
    "setting lacking": ("wrong.py:needs_depth", {}, "it needs depth; accepted is .*:depth=VALUE"),
    "settings of a module": ("wrong.py:NAMED:depth=2", {}, "is a module, which has no settings"),
    "on meta": ("wrong.py:on_meta", {}, "its weights are on the meta device"),
    "half": ("wrong.py:half", {}, "its weights are float16; accepted is float32"),
    "double": ("wrong.py:double", {}, "its weights are float64; accepted is float32"),
    "NaN": ("wrong.py:not_a_number", {}, "its logits hold NaN or infinite values"),
    "softmax": ("wrong.py:softmax", {}, "its last operation is a sigmoid or softmax.*accepted are logits"),
    "own softmax": ("wrong.py:own_softmax", {}, "its outputs are probabilities; accepted are logits"),
    "sigmoid": ("wrong.py:sigmoid", {}, "its last operation is a sigmoid or softmax"),
    "no size fits": (
        "wrong.py:no_size",
        {},
        "it fails on an image of zeros with image_size=224.*give image_size",
    ),
    "another size": (
        "wrong.py:no_size",
        {"description": Description(image_size=9)},
        "fails on an image of zeros with image_size=9",
    ),
    "wrong channels": (
        "wrong.py:plain",
        {"description": Description(mean=[0.5], std=[0.5])},
        "accepted is one number for each of its 3 channels",
    ),
    "channels said": ("wrong.py:plain", {"description": Description(channels=4)}, "channels=4"),
    "channels of a classifier": (
        "wrong.py:two_channels_wanted",
        {"description": Description(channels=3)},
        "channels=3: wrong.py:two_channels_wanted has mean and std for 2",
    ),
    "a tuple without tensor": ("wrong.py:tuple_without_tensor", {}, "gives tuple; accepted are float logits"),
    "a dict without logits": ("wrong.py:dict_without_logits", {}, "gives dict; accepted are float logits"),
    "a feature map": ("wrong.py:feature_map", {}, "one image gives torch.float32 \\[1, 4, 224, 224\\]"),
    "classes": ("wrong.py:classes", {}, "one image gives torch.int64 \\[1\\]"),
    "a hidden buffer": (
        "wrong.py:hidden_buffer",
        {},
        "built twice and given the same state dict.*persistent=True",
    ),
    "a hidden number": ("wrong.py:hidden_number", {}, "built twice and given the same state dict"),
    "random answers": ("wrong.py:random_answers", {}, "two passes of the same images give different logits"),
    "a memory": ("wrong.py:remembers", {}, "two passes of the same images give different logits"),
    "lazy": ("wrong.py:lazy", {}, "lazy layers without weights"),
    "a lock": ("wrong.py:with_a_lock", {}, "copy.deepcopy fails"),
    "one image": ("wrong.py:one_image_only", {}, "it fails on 2 images of 3 x 224 x 224"),
    "wrapped wrongly": (
        "wrong.py:wrapped_wrongly",
        {},
        "fails: ValueError: std=.*accepted are positive numbers",
    ),
    "extra state": ("wrong.py:with_extra_state", {}, "no digest of its state dict"),
    "names of other classes": (
        "wrong.py:plain",
        {"description": Description(class_names=["a", "b"])},
        "class_names=.*accepted are 10 names",
    ),
    "weights of another": ("wrong.py:plain", {"weights": "other.safetensors"}, "another architecture"),
    "weights with code": ("wrong.py:plain", {"weights": "code.pt"}, "refused, since it holds Python objects"),
    "no such weights": (
        "wrong.py:plain",
        {"weights": "no.pt"},
        "neither a file nor weights of wrong.py:plain",
    ),
}


@pytest.fixture
def mistaken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of files with mistakes, which is the working directory."""
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "syntax.py").write_text("import torch\ndef net(:\n")
    (tmp_path / "imports.py").write_text("import not_a_package\n")
    (tmp_path / "exits.py").write_text("import sys\n\nsys.exit(4)\n")
    save_file({"fc.weight": torch.zeros(3, 4), "fc.bias": torch.zeros(3)}, tmp_path / "other.safetensors")
    torch.save(nn.Linear(2, 2), tmp_path / "code.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, mistaken: Path) -> None:
    name, arguments, expected = MISTAKES[mistake]
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=expected) as refused:
        load_classifier(name, **arguments)
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_weights_file_makes_nobody_import_anything(mistaken: Path) -> None:
    evil = mistaken / "evil.py"
    evil.write_text("from pathlib import Path\nPath('ran').touch()\n")
    weights = mistaken / "w.safetensors"
    save_file(load_classifier("fashion_deep").network.state_dict(), weights, {"model": "evil.py:net"})
    read_checkpoint("fashion_deep", weights=str(weights))
    assert not (mistaken / "ran").exists()
