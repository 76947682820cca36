"""Work that is captured and replayed without Python gives, bit for bit, what it gives when it is run each time."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from attrib_core.attribution import AttributionSettings
from attrib_core.capture import NUM_WARM_UP_CALLS, captured
from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset, View
from attrib_core.execution import Execution
from attrib_core.training import (
    DivergedError,
    Trainer,
    TrainingSettings,
    Update,
    initial_network,
    live_classifier,
)
from attrib_core.training import deferred as deferred_updates
from attrib_core.training.state import (
    digest,
    optimizer_state_of,
    set_optimizer_state,
    set_weights,
    weights_of,
)
from sweeps.attribute.training import panel_pass
from sweeps.attribute.training.panel import PanelPasses
from sweeps.attribute.training.panel_pass import ONE_PASS_METHODS, FollowSettings, Panel
from tests.gpu.graph_emulation import EmulatedGraphs

CPU = Execution(torch.device("cpu"))
SETTINGS = TrainingSettings(
    epochs=2, batch_size=16, horizontal_flip=True, max_shift=2, seed=5, warmup_steps=3, weight_decay=0.01
)
NUM_UPDATES = 9  # of five an epoch, the last of which has fewer images


def small_network() -> nn.Module:
    """A network with all that an update may need: batch norm's statistics, dropout, memory formats."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(1, 6, 5, stride=3),
            nn.BatchNorm2d(6),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Flatten(),
            nn.Linear(6 * 8 * 8, 10),
        )


@pytest.fixture
def at_once(noise_dataset: Callable[..., Dataset]) -> Callable[..., Trainer]:
    """A training on the CPU as it is."""

    def make(**changes) -> Trainer:
        preprocessing = find_architecture("fashion_deep").preprocessing(None)
        settings, dataset = replace(SETTINGS, **changes), noise_dataset(70, "train")
        return Trainer(small_network(), preprocessing, dataset, settings, CPU)

    return make


@pytest.fixture
def deferred(at_once: Callable[..., Trainer]) -> Callable[..., Trainer]:
    """A training on the CPU whose updates are deferred as on a GPU, captured if there is a recorder."""

    def make(recorder: EmulatedGraphs | None = None, resident: bool = True, **changes) -> Trainer:
        made = at_once(**changes)
        if resident:
            pixels = made._images.read(range(70)).permute(0, 2, 3, 1).contiguous()
            made._images.__dict__["resident"] = pixels  # which the CPU does without
        made.defer(recorder)
        return made

    return make


def train(trainer: Trainer, num_updates: int = NUM_UPDATES) -> tuple[list[float], str]:
    updates: list[Update] = [trainer.advance() for _ in range(num_updates)]
    return [update.loss for update in updates], digest(weights_of(trainer) | optimizer_state_of(trainer))


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_captured_updates_are_those_that_are_run(deferred, optimizer, resident) -> None:
    """With dropout, batch norm, a schedule, weight decay, augmentation, and minibatches of two sizes."""
    graphs = EmulatedGraphs()
    run = deferred(None, resident, optimizer=optimizer)
    replayed = deferred(graphs, resident, optimizer=optimizer)
    assert train(run) == train(replayed)
    assert graphs.num_replays == NUM_UPDATES - 1 - NUM_WARM_UP_CALLS  # one is of the smaller minibatch


@pytest.mark.parametrize("resident", [True, False])
@pytest.mark.parametrize("change", [{}, {"horizontal_flip": False, "max_shift": 0}, {"max_shift": 0}])
def test_deferred_updates_are_those_of_the_cpu(deferred, at_once, resident, change) -> None:
    """Only the learning rate is rounded, to float32, as it lies on the device; for SGD it is anyway."""
    one, other = deferred(None, resident, optimizer="sgd", **change), at_once(optimizer="sgd", **change)
    assert train(one) == train(other)


def test_a_captured_training_is_set_to_another_state_in_place(deferred) -> None:
    graphs = EmulatedGraphs()
    one, other = deferred(None, epochs=4), deferred(graphs, epochs=4)
    train(one, 3)
    train(other, 7)
    replays = graphs.num_replays
    assert replays
    set_weights(other, weights_of(one))
    set_optimizer_state(other, optimizer_state_of(one))
    other.step = one.step
    assert train(one, 7) == train(other, 7)
    assert (
        graphs.num_replays == replays + 5
    )  # all but the smaller minibatches, of which there is no graph yet


def test_a_captured_training_is_set_to_its_beginning(deferred) -> None:
    """There SGD has no moments, so that the tensors of the graph are no longer its own."""
    one, other = (deferred(graphs, optimizer="sgd") for graphs in (None, EmulatedGraphs()))
    weights, moments = weights_of(one), optimizer_state_of(one)
    train(other, 7)
    set_weights(other, weights)
    set_optimizer_state(other, moments)
    other.step = 0
    assert train(one) == train(other)


@pytest.mark.parametrize("is_captured", [True, False])
def test_divergence_is_found_at_the_update_where_it_happened(
    deferred, at_once, is_captured, monkeypatch
) -> None:
    monkeypatch.setattr(deferred_updates, "NUM_LOSSES", 8)
    changes = {"optimizer": "sgd", "learning_rate": 3e6, "epochs": 40, "warmup_steps": 300}
    graphs = EmulatedGraphs() if is_captured else None
    expected, found = at_once(**changes), deferred(graphs, **changes)
    errors = []
    for trainer in (expected, found):
        with pytest.raises(DivergedError) as raised:
            list(trainer.updates())
        errors.append((str(raised.value), raised.value.step, trainer.step))
    assert errors[0] == errors[1]
    assert errors[0][1] > NUM_WARM_UP_CALLS
    assert graphs is None or graphs.num_replays > 8  # it went on, and changed nothing
    for one, other in zip(expected.network.parameters(), found.network.parameters(), strict=True):
        assert torch.equal(one, other)
    for state in (weights_of, optimizer_state_of):
        found.advance()
        with pytest.raises(DivergedError):  # what came after is not recorded
            state(found)


def test_the_panel_is_seen_as_it_is_without_capture(monkeypatch, noise_dataset) -> None:
    graphs = EmulatedGraphs()
    monkeypatch.setattr(panel_pass, "recorder_for", lambda _: graphs)
    network, names = initial_network("fashion_deep", 10, 0), noise_dataset(8).class_names
    classifier = live_classifier(network, "fashion_deep", names, CPU)
    view = View.of(classifier)
    panel = Panel.read(noise_dataset(8), range(2), view, CPU)
    settings = FollowSettings(
        methods=tuple(sorted(ONE_PASS_METHODS)),
        target="predicted",
        every=1,
        attribution=AttributionSettings(),
    )
    look = PanelPasses(classifier, panel, settings, CPU).pass_at(0)
    assert look is not None
    for _ in range(NUM_WARM_UP_CALLS + 3):
        with torch.no_grad():
            network.get_parameter("conv1.bias").add_(0.1)
        assert torch.equal(look(), look._packed())
    assert graphs.num_replays == 3


def sum_of_rounded(tensor: Tensor) -> Tensor:
    return tensor * round(tensor.sum().item())


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (sum_of_rounded, "_local_scalar_dense, for which the host waits"),
        (lambda tensor: tensor + torch.tensor([1.0, 2.0]), "an upload"),
        (lambda tensor: tensor[tensor > 1], "by a mask"),
        (lambda tensor: tensor + torch.rand(2, generator=torch.Generator()), "a generator"),
    ],
)
def test_what_cannot_be_captured_runs_and_says_so_once(function, reason, caplog) -> None:
    tensor = torch.tensor([1.0, 2.0])
    run = captured(lambda: function(tensor), EmulatedGraphs(), "a test")
    with caplog.at_level(logging.WARNING):
        found = [run() for _ in range(NUM_WARM_UP_CALLS + 3)]
    assert all(torch.equal(each, function(tensor)) for each in found)
    [message] = caplog.messages
    assert message.startswith("a test: runs without a CUDA graph, more slowly: ")
    assert reason in message


def test_results_of_a_replay_follow_the_memory_that_it_reads_and_nothing_else() -> None:
    tensor, calls = torch.zeros(2), []
    run = captured(lambda: calls.append(None) or tensor * 2, EmulatedGraphs(), "a test")
    for number in range(NUM_WARM_UP_CALLS + 3):
        tensor.fill_(number)
        assert run().tolist() == [2 * number] * 2
    assert len(calls) == NUM_WARM_UP_CALLS + 1  # and once more to be recorded
