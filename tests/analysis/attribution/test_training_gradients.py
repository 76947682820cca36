"""Sums over a training are those of all its states, however it was cut into segments."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.training.gradients import gradient_variance, main, pages, training_integrated_gradient

MakeRun = Callable[..., Path]


def gradient(trial: str, method: str, step: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng([len(trial), step, index]).normal(size=shape) * 1e-5


def states(last: int, index: int, trial: str = "trial-a") -> np.ndarray:
    return np.stack([gradient(trial, "loss_gradient", step, index, (1, 8, 8)) for step in range(last + 1)])


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


@pytest.mark.parametrize("segment", [8, 4, 2, 1])
def test_sum_and_variance_are_those_of_all_states(make_training_run: MakeRun, segment: int) -> None:
    run = make_training_run(values=gradient, segment=segment)
    rows, sums = training_integrated_gradient(run)
    again, variances = gradient_variance(run)
    assert rows["image_index"].tolist() == again["image_index"].tolist() == [0, 1, 5]
    assert rows[["step", "num_states"]].to_numpy().tolist() == [[8, 9]] * 3
    for place, index in enumerate([0, 1, 5]):
        assert np.allclose(sums[place], states(8, index).sum(0), rtol=1e-12, atol=0)
        assert np.allclose(variances[place], states(8, index).var(0), rtol=1e-9, atol=0)


def test_a_run_up_to_a_step_ends_there(make_training_run: MakeRun) -> None:
    run = make_training_run(values=gradient, segment=2)
    rows, sums = training_integrated_gradient(run, until=4)
    assert rows[["step", "num_states"]].to_numpy().tolist() == [[4, 5]] * 3
    assert np.allclose(sums[2], states(4, 5).sum(0), rtol=1e-12)
    assert np.allclose(gradient_variance(run, until=4)[1][1], states(4, 1).var(0), rtol=1e-9)


def test_sums_are_over_all_states_however_few_attributions_were_stored(make_training_run: MakeRun) -> None:
    rows, sums = training_integrated_gradient(make_training_run(values=gradient, every=3, segment=2))
    assert rows["num_states"].tolist() == [9, 9, 9]
    assert np.allclose(sums[1], states(8, 1).sum(0), rtol=1e-12)


def test_trials_are_apart(make_training_run: MakeRun) -> None:
    run = make_training_run(values=gradient, trials=("a", "bb"), panel=(1,))
    rows, sums = training_integrated_gradient(run)
    assert rows["trial"].tolist() == ["a", "bb"]
    for place, trial in enumerate(("a", "bb")):
        assert np.allclose(sums[place], states(8, 1, trial).sum(0), rtol=1e-12)
    assert training_integrated_gradient(run, trials=["bb"])[0]["trial"].tolist() == ["bb"]


@pytest.mark.parametrize(
    ("missing", "steps"), [((0,), "0 to 2"), ((1,), "3 to 4"), ((1, 2), "3 to 6"), ((0, 1), "0 to 4")]
)
def test_a_missing_segment_is_named(make_training_run: MakeRun, missing: tuple[int, ...], steps: str) -> None:
    run = make_training_run(segment=2, missing=missing)
    for add in (training_integrated_gradient, gradient_variance):
        with pytest.raises(
            ValueError, match=f"trial 'trial-a': the states of steps {steps} are in no committed"
        ):
            add(run)


def test_what_lies_before_a_gap_can_still_be_added(make_training_run: MakeRun) -> None:
    run = make_training_run(values=gradient, segment=2, missing=(2,))
    assert np.allclose(training_integrated_gradient(run, until=4)[1][0], states(4, 0).sum(0), rtol=1e-12)
    with pytest.raises(ValueError, match="steps 5 to 6"):
        training_integrated_gradient(run, until=8)


def test_states_that_count_twice_are_refused(make_training_run: MakeRun) -> None:
    run = make_training_run(segment=4, num_steps=8)
    file = next((run / "results").glob("9-*"))
    file.with_name("another.parquet").write_bytes(file.read_bytes())
    with pytest.raises(ValueError, match="the states of steps 0 to 4 count twice"):
        training_integrated_gradient(run)


def test_an_end_that_no_segment_has_is_refused_with_those_that_are_there(make_training_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="until is 5: no segment of trial 'trial-a' ends there, but at 4, 8"):
        training_integrated_gradient(make_training_run(), until=5)


def test_the_variance_alone_has_the_sums_too_but_not_the_other_way(make_training_run: MakeRun) -> None:
    run = make_training_run("variance", values=gradient, summed=("gradient_variance",))
    assert np.allclose(training_integrated_gradient(run)[1][1], states(8, 1).sum(0), rtol=1e-12)
    run = make_training_run("sums", summed=("training_integrated_gradient",))
    with pytest.raises(
        ValueError, match="method is 'gradient_variance': choose from gradient_x_input, loss_grad"
    ):
        gradient_variance(run)
    run = make_training_run("none", summed=())
    with pytest.raises(ValueError, match="method is 'training_integrated_gradient': choose from"):
        training_integrated_gradient(run)


def test_a_gradient_that_never_changes_has_no_variance(make_training_run: MakeRun) -> None:
    run = make_training_run(values=lambda trial, method, step, index, shape: np.full(shape, 0.1))
    _, variances = gradient_variance(run)
    assert variances.min() >= 0
    assert variances.max() < 1e-16


def test_a_page_shows_image_sum_and_standard_deviation(make_training_run: MakeRun) -> None:
    run = make_training_run(values=lambda trial, method, step, index, shape: np.full(shape, -1.0 - step % 2))
    ((name, figure),) = pages(run)
    assert name == "training-gradients-trial-a-000008-001"
    assert len(drawn(figure)) == 3 * 3
    _, summed, spread = drawn(figure)[:3]
    # Full blue everywhere: as negative as any; full red: as large as any.
    assert np.unique(summed.reshape(-1, 3), axis=0).tolist() == [[5, 48, 97]]
    assert np.unique(spread.reshape(-1, 3), axis=0).tolist() == [[103, 0, 13]]
    assert "gradient over 9 states to step 8" in figure.axes[0].texts[0].get_text()


def test_command_line_writes_pages_and_refuses_gaps(
    make_training_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_training_run(trials=("a", "b"), summed=("training_integrated_gradient",))
    main([str(run), "--output", str(tmp_path / "out"), "--until", "4", "--trials", "b"])
    (path,) = capsys.readouterr().out.split()
    assert Path(path).name == "training-gradients-b-000004-001.png"
    assert Path(path).exists()
    with pytest.raises(ValueError, match="in no committed segment"):
        main([str(make_training_run("gap", missing=(0,))), "--output", str(tmp_path / "out")])
