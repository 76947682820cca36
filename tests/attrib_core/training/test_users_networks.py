"""A user's own network is trained, recorded and replayed bit for bit; a tape never imports anything by itself."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from attrib_core.classifiers import Description, load_classifier
from attrib_core.datasets import Dataset
from attrib_core.execution import Execution
from attrib_core.training import Tape, TapeHeader, Trainer, TrainingSettings, initial_network, live_classifier
from attrib_core.training.models import AS_THE_MODEL_SAYS, trained_model
from attrib_core.training.state import digest, weights_of
from attrib_core.user_code import forget
from sweeps.store.local_files import LocalFiles

SEGMENT, FOLDER = 3, "tapes/trial"
SETTINGS = TrainingSettings(epochs=2, batch_size=16, horizontal_flip=True, seed=5)
MINE = """
from torch import nn

from attrib_core.classifiers import Classifier


class Net(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        conv, norm = nn.Conv2d(1, 4, 5, stride=2), nn.BatchNorm2d(4)
        self.body = nn.Sequential(conv, norm, nn.ReLU(inplace=True), nn.Dropout(0.2))
        self.head = nn.Linear(576, num_classes)

    def forward(self, x):
        features = self.body(x).flatten(1)
        return {"features": features, "logits": self.head(features)}


def make_net(num_classes=10):
    return Net(num_classes)


def scaled():
    return Classifier.wrap(Net(10), mean=[0.3], std=[0.35], image_size=28)


def needs_classes(num_classes):
    return Net(num_classes)


def five():
    return Net(5)


def frozen_body():
    net = Net(10)
    net.body.requires_grad_(False)
    return net
"""
REFERENCES = ["make_net", "scaled", "needs_classes", "frozen_body"]


@pytest.fixture
def mine(tmp_path: Path) -> str:
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


@pytest.fixture
def trainer_of(stripes: Dataset, execution: Execution) -> Callable[..., Trainer]:
    def make(model: str, description: Description = AS_THE_MODEL_SAYS) -> Trainer:
        network = initial_network(model, 10, SETTINGS.seed, description)
        return Trainer(network, trained_model(model, 10, description)[1], stripes, SETTINGS, execution)

    return make


def header(model: str, **changes: object) -> TapeHeader:
    known = TapeHeader(
        model=model,
        dataset="stripes train",
        data_digest="0" * 64,
        settings=SETTINGS,
        segment=SEGMENT,
        num_steps=10,
        definition=trained_model(model, 10)[0].definition,
    )
    return replace(known, **changes)


@pytest.mark.parametrize("name", REFERENCES)
def test_a_tape_plays_as_it_was_recorded(name: str, mine: str, trainer_of, tmp_path: Path) -> None:
    trainer = trainer_of(f"{mine}:{name}")
    tape = Tape.begin(LocalFiles(tmp_path), FOLDER, header(f"{mine}:{name}"))
    tape.write(trainer)
    losses = []
    for update in trainer.updates():
        losses.append(update.loss)
        if update.step % SEGMENT == 0 or update.step == trainer.num_steps:
            tape.write(trainer)
    assert losses[-1] < losses[0]
    for start in (6, 0, 3, 9):
        again = trainer_of(f"{mine}:{name}")
        tape.restore(again, start)
        while again.step < min(start + SEGMENT, again.num_steps):
            again.advance()
        tape.check(again)
    weights = tmp_path / FOLDER / "checkpoints" / "step-00000010.safetensors"
    name = name.replace("needs_classes", "needs_classes:num_classes=10")
    classifier = load_classifier(f"{mine}:{name}", weights=str(weights))
    assert classifier.digest == digest(weights_of(trainer))


def test_a_live_classifier_follows_the_training(mine: str, trainer_of, execution: Execution) -> None:
    trainer = trainer_of(f"{mine}:scaled")
    live = live_classifier(trainer.network, f"{mine}:scaled", tuple("abcdefghij"), execution)
    images = torch.rand(4, 1, 28, 28)
    for _ in range(2):
        trainer.advance()
        with torch.no_grad():
            expected = trainer.network.eval()((images - 0.3) / 0.35)["logits"]
        assert torch.equal(live(images), expected)
    assert live.class_names == tuple("abcdefghij")


def test_frozen_parameters_stay_frozen(mine: str, trainer_of) -> None:
    trainer = trainer_of(f"{mine}:frozen_body")
    before = {name: each.clone() for name, each in trainer.network.named_parameters()}
    trainer.advance()
    changed = {
        name for name, each in trainer.network.named_parameters() if not torch.equal(each, before[name])
    }
    assert changed == {"head.weight", "head.bias"}


def test_a_description_reaches_the_images_of_the_training(mine: str, trainer_of) -> None:
    said = Description(mean=[0.3], std=[0.35], image_size=28)
    described, scaled = trainer_of(f"{mine}:make_net", said), trainer_of(f"{mine}:scaled")
    assert described.advance().loss == scaled.advance().loss


def test_the_number_of_classes_is_that_of_the_data(mine: str) -> None:
    network = initial_network(f"{mine}:make_net", 7, 0)
    assert network.head.out_features == 7
    with pytest.raises(
        ValueError, match="five': it has 5 classes; accepted is a network of 7, or a function with"
    ):
        initial_network(f"{mine}:five", 7, 0)


def test_changed_code_is_another_training(mine: str) -> None:
    recorded = header(f"{mine}:make_net")
    forget()
    Path(mine).write_text(MINE.replace("Dropout(0.2)", "Dropout(0.3)"))
    assert "definition: recorded 'SHA-256" in str(recorded.difference(header(f"{mine}:make_net")))
    own = header("fashion_deep")
    assert own.definition is None
    assert b"definition" not in own.to_json()
    assert TapeHeader.from_json(own.to_json(), "here") == own


def test_a_tape_makes_nobody_import_anything(tmp_path: Path, mine: str) -> None:
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    files = LocalFiles(tmp_path)
    hostile = replace(header(f"{mine}:make_net"), model=f"{tmp_path}/evil.py:net")
    files.put(f"{FOLDER}/tape.json", hostile.to_json())
    tape = Tape.open(files, FOLDER)
    assert tape is not None
    assert "model: recorded" in str(tape.header.difference(header(f"{mine}:make_net")))
    assert tape.recorded() == []
    assert not (tmp_path / "ran").exists()
