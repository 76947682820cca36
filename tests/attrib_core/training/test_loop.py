"""A training is decided by its settings, and can be set down and taken up at any step."""

import copy
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from attrib_core.classifiers.registry import find_architecture
from attrib_core.datasets import Dataset
from attrib_core.execution import Execution
from attrib_core.training import (
    DivergedError,
    NormalizedImages,
    Trainer,
    TrainingSettings,
    accuracy,
    initial_network,
    with_changes,
)

SETTINGS = TrainingSettings(epochs=3, batch_size=16, horizontal_flip=True, max_shift=2, seed=5)


@pytest.fixture(scope="module")
def plain_network(make_trainer: Callable[..., Trainer]) -> nn.Module:
    """A network trained with `SETTINGS`."""
    trainer = make_trainer(SETTINGS)
    losses(trainer)
    return trainer.network


def losses(trainer: Trainer) -> list[float]:
    return [update.loss for update in trainer.updates()]


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(first, second) for first, second in pairs)


def test_training_lowers_the_loss_and_raises_the_accuracy(
    make_trainer: Callable[..., Trainer], stripes: Dataset, execution: Execution
) -> None:
    trainer = make_trainer(TrainingSettings(epochs=25, batch_size=16, learning_rate=2e-3))
    curve = losses(trainer)
    images = NormalizedImages(stripes, find_architecture("fashion_deep").preprocessing(None), execution)
    assert np.mean(curve[-5:]) < 0.3 * np.mean(curve[:5])
    assert accuracy(trainer.network, images) > 0.9


@pytest.mark.parametrize("model", ["fashion_deep", "fashion_alexnet"])
def test_the_same_settings_make_the_same_weights_bit_for_bit(
    make_trainer: Callable[..., Trainer], model: str
) -> None:
    settings = replace(SETTINGS, epochs=1)
    one, other = make_trainer(settings, model), make_trainer(settings, model)
    first = losses(one)
    torch.rand(3)  # what else draws from torch's own generator does not matter
    assert losses(other) == first
    assert same_weights(one.network, other.network)


def test_training_leaves_the_global_generator_as_it_was(make_trainer: Callable[..., Trainer]) -> None:
    before = torch.random.get_rng_state()
    make_trainer(SETTINGS, model="fashion_alexnet").advance()
    assert torch.equal(torch.random.get_rng_state(), before)


# That dropout is part of the state is shown by tapes too.
@pytest.mark.parametrize("model", ["fashion_deep", pytest.param("fashion_alexnet", marks=pytest.mark.long)])
@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weights_optimizer_and_step_are_the_whole_state(
    make_trainer: Callable[..., Trainer], model: str, optimizer: str
) -> None:
    settings = replace(SETTINGS, optimizer=optimizer, weight_decay=0.01, learning_rate=1e-3)
    whole = make_trainer(settings, model)
    for _ in range(7):  # beyond the first epoch's five
        whole.advance()
    resumed = make_trainer(settings, model)
    resumed.network.load_state_dict(copy.deepcopy(whole.network.state_dict()))
    resumed.optimizer.load_state_dict(copy.deepcopy(whole.optimizer.state_dict()))
    resumed.step = whole.step
    for _ in range(3):
        assert resumed.advance().loss == whole.advance().loss
    assert same_weights(resumed.network, whole.network)


def test_evaluation_along_the_way_changes_nothing(
    make_trainer: Callable[..., Trainer], stripes: Dataset, execution: Execution
) -> None:
    images = NormalizedImages(stripes, find_architecture("fashion_alexnet").preprocessing(None), execution)
    settings = replace(SETTINGS, epochs=1)
    plain, watched = make_trainer(settings, "fashion_alexnet"), make_trainer(settings, "fashion_alexnet")
    losses(plain)
    for _ in watched.updates():
        accuracy(watched.network, images)
    assert same_weights(plain.network, watched.network)


def test_every_image_is_seen_once_an_epoch_in_another_order(make_trainer: Callable[..., Trainer]) -> None:
    trainer = make_trainer(SETTINGS)
    assert trainer.steps_per_epoch == 5
    first, second = (
        torch.cat([trainer.minibatch(5 * epoch + step) for step in range(5)]) for epoch in (0, 1)
    )
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(70))
    assert not torch.equal(first, second)


def test_updates_tell_where_the_training_is(make_trainer: Callable[..., Trainer]) -> None:
    updates = list(make_trainer(SETTINGS).updates())
    assert [update.step for update in updates] == list(range(1, 16))
    assert [update.epoch for update in updates] == [0] * 5 + [1] * 5 + [2] * 5
    assert [len(update.indices) for update in updates[:5]] == [16, 16, 16, 16, 6]
    assert updates[0].learning_rate == SETTINGS.learning_rate


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 6},
        {"loss": "double_softmax"},
        {"horizontal_flip": False},
        {"max_shift": 0},
        {"schedule": "inverse_time"},
        {"optimizer": "sgd"},
        {"learning_rate": 2e-3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_each_setting_matters(
    make_trainer: Callable[..., Trainer], plain_network: nn.Module, change: dict[str, object]
) -> None:
    changed = make_trainer(with_changes(SETTINGS, **change))
    losses(changed)
    assert not same_weights(plain_network, changed.network)


def test_losses_are_those_of_logits_and_of_probabilities_taken_for_logits(
    make_trainer: Callable[..., Trainer], stripes: Dataset, execution: Execution
) -> None:
    plain = TrainingSettings(epochs=1, batch_size=70)
    images = NormalizedImages(stripes, find_architecture("fashion_deep").preprocessing(None), execution)
    inputs, labels = images.batch(make_trainer(plain).minibatch(0))
    logits = initial_network("fashion_deep", 10, 0)(inputs)
    expected = {
        "cross_entropy": F.cross_entropy(logits, labels),
        "double_softmax": F.cross_entropy(logits.softmax(1), labels),
    }
    for loss, value in expected.items():
        found = make_trainer(with_changes(plain, loss=loss)).advance().loss
        assert found == pytest.approx(value.item(), rel=1e-5)


def test_a_loss_that_is_no_number_ends_the_training_with_the_weights_of_before(
    make_trainer: Callable[..., Trainer],
) -> None:
    trainer = make_trainer(with_changes(SETTINGS, optimizer="sgd", learning_rate=1e6))
    with pytest.raises(DivergedError, match=r"step \d: the loss is (nan|inf) at learning rate .*smaller"):
        losses(trainer)
    step = trainer.step
    before = copy.deepcopy(trainer.network)
    with pytest.raises(DivergedError):
        trainer.advance()
    assert trainer.step == step
    for found, kept in zip(trainer.network.parameters(), before.parameters(), strict=True):
        assert torch.equal(found.isnan(), kept.isnan())
