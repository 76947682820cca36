"""Settings of a training: schedules as the papers write them, and wrong values that are named."""

import pytest

from attrib_core.training import TrainingSettings, original_settings, recommended_settings, with_changes


@pytest.mark.parametrize(
    ("schedule", "step", "expected"),
    [
        ("constant", 70, 0.01),
        ("cosine", 0, 0.01),
        ("cosine", 50, 0.005),
        ("cosine", 100, 0.0),
        ("inverse_time", 0, 0.01),
        ("inverse_time", 10, 0.01 / 4),
    ],
)
def test_schedules(schedule: str, step: int, expected: float) -> None:
    settings = TrainingSettings(epochs=1, learning_rate=0.01, schedule=schedule)
    assert settings.learning_rate_at(step, 100) == pytest.approx(expected)


def test_warm_up_rises_to_the_schedule() -> None:
    settings = TrainingSettings(epochs=1, learning_rate=0.01, schedule="constant", warmup_steps=4)
    rates = [settings.learning_rate_at(step, 100) for step in range(6)]
    assert rates == pytest.approx([0.0025, 0.005, 0.0075, 0.01, 0.01, 0.01])


@pytest.mark.parametrize(
    ("field", "value", "accepted"),
    [
        ("epochs", -1, "0 and more"),
        ("batch_size", 0, "1 and more"),
        ("learning_rate", 0.0, "positive numbers"),
        ("learning_rate", float("nan"), "positive numbers"),
        ("momentum", 1.0, r"\[0, 1\)"),
        ("weight_decay", -0.1, "0 and more"),
        ("max_shift", -1, "0 and more"),
        ("warmup_steps", -1, "0 and more"),
        ("seed", -1, "0 and more"),
        ("optimizer", "lion", "adam, adamw, sgd"),
        ("schedule", "step", "constant, cosine, inverse_time"),
        ("loss", "mse", "cross_entropy, double_softmax"),
    ],
)
def test_a_setting_that_cannot_be_is_named(field: str, value: object, accepted: str) -> None:
    with pytest.raises(ValueError, match=f"{field}=.*: accepted are {accepted}"):
        with_changes(TrainingSettings(epochs=3), **{field: value})


def test_the_original_schedule_is_known_of_alexnet_alone() -> None:
    assert original_settings("fashion_alexnet").schedule == "inverse_time"
    assert recommended_settings("fashion_alexnet").schedule != "inverse_time"
    with pytest.raises(ValueError, match="recipe='original': fashion_deep has none"):
        original_settings("fashion_deep")
