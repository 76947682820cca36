"""The recapitulation curve, on gradients that are made of the images themselves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.attribution.attributions import attribution_rows
from analysis.training.curves import training_curve
from analysis.training.recapitulation import main, recapitulation, recapitulation_figure
from analysis.training.redrawn import redrawn_similarity
from analysis.training.similarity import MEASURES, similarities

MakeRun = Callable[..., Path]
Pixels = Callable[[int, tuple[int, int, int]], np.ndarray]


@pytest.fixture
def run_of_images(make_training_run: MakeRun, pixels: Pixels) -> Callable[..., Path]:
    """A run whose gradient is noise at first, from step 4 on the negative of the image, tiny as gradients are."""

    def values(trial: str, method: str, step: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        noise = np.random.default_rng([step, index]).normal(size=shape)
        return -1e-12 * np.moveaxis(pixels(index, shape), -1, 0) if step >= 4 else noise

    return lambda **fields: make_training_run(**({"values": values, "shape": (3, 8, 8)} | fields))


def at(table: pd.DataFrame, measure: str, step: int) -> pd.Series:
    return table[(table["measure"] == measure) & (table["step"] == step)].iloc[0]


def test_a_gradient_that_is_the_image_has_likeness_one_and_noise_less(run_of_images: MakeRun) -> None:
    table = recapitulation(run_of_images())
    assert list(table) == ["trial", "step", "measure", "mean", "low", "high", "count"]
    assert table["step"].unique().tolist() == list(range(9))
    for measure in ("cosine", "image_correlation"):
        assert at(table, measure, 8)["mean"] == pytest.approx(1, abs=1e-3)
    assert abs(at(table, "image_correlation", 0)["mean"]) < 0.3
    # Both are positive: far from 1 all the same.
    assert 0.4 < at(table, "cosine", 0)["mean"] < 0.9
    assert (table["count"] == 3).all()
    assert (at(table, "cosine", 0)["low"], at(table, "cosine", 0)["high"]) != (0, 0)


def test_measures_are_those_of_numpy(pixels: Pixels) -> None:
    gradient = np.abs(np.random.default_rng(0).normal(size=(1, 3, 6, 7))).astype(np.float32)
    image = pixels(1, (3, 6, 7))
    (row,) = similarities(gradient, ["a"], {"a": image}).to_dict("records")
    flat, grey = np.moveaxis(image, -1, 0).ravel() / 255, image.mean(-1) / 255
    cosine = gradient.ravel() @ flat / np.linalg.norm(gradient) / np.linalg.norm(flat)
    assert row["cosine"] == pytest.approx(cosine, abs=1e-5)
    summed = gradient.sum((0, 1)).ravel()
    assert row["image_correlation"] == pytest.approx(np.corrcoef(summed, grey.ravel())[0, 1], abs=1e-5)
    down, across = np.gradient(grey)
    edges = np.sqrt(down**2 + across**2).ravel()
    assert row["edge_correlation"] == pytest.approx(np.corrcoef(summed, edges)[0, 1], abs=1e-5)


def test_the_edges_of_a_square_are_its_outline() -> None:
    image = np.zeros((12, 12, 1), np.uint8)
    image[3:9, 3:9] = 255
    outline = np.zeros((1, 1, 12, 12), np.float32)
    outline[0, 0, 2:10, 2:10] = 1
    outline[0, 0, 4:8, 4:8] = 0
    inside = (image[None, ..., 0] > 0).astype(np.float32)[:, None]
    likeness = similarities(np.concatenate([outline, inside]), ["a", "a"], {"a": image})
    assert likeness["edge_correlation"][0] > 0.9
    assert likeness["edge_correlation"][1] < 0.5
    assert likeness["image_correlation"][1] == pytest.approx(1)


def test_images_without_a_likeness_are_left_out() -> None:
    images = {"grey": np.full((4, 4, 1), 9, np.uint8), "some": np.arange(16, dtype=np.uint8).reshape(4, 4, 1)}
    values = np.stack([np.ones((1, 4, 4)), np.zeros((1, 4, 4))]).astype(np.float32)
    likeness = similarities(values, ["grey", "some"], images)
    assert likeness["cosine"][0] == pytest.approx(1)
    assert np.isnan(likeness.to_numpy()).tolist() == [[False, True, True], [True, True, True]]


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the images are \(1, 5, 4\), their gradients \(1, 4, 4\)"):
        similarities(np.ones((1, 1, 4, 4), np.float32), ["a"], {"a": np.zeros((5, 4, 1), np.uint8)})


def test_the_loss_and_the_panels_accuracy_go_with_it(make_training_run: MakeRun) -> None:
    run = make_training_run(prediction=lambda step, index: index % 4 if step >= index else 3)
    curve = training_curve(attribution_rows(run, methods=["loss_gradient"])).set_index("step")
    # Of the panel 0, 1 and 5 as many are right as have an index up to the step.
    assert curve["accuracy"].tolist() == pytest.approx([1 / 3, *[2 / 3] * 4, *[1] * 4])
    assert np.isnan(curve.loc[0, "training_loss"])
    assert curve.loc[[1, 4], "training_loss"].tolist() == [2, 0.5]


def test_the_figure_has_a_curve_a_band_and_a_reference_for_each_measure(run_of_images: MakeRun) -> None:
    run = run_of_images()
    table = recapitulation(run)
    curve = training_curve(attribution_rows(run, methods=["loss_gradient"]))
    above, below, right = recapitulation_figure(table, curve, title="title").axes
    assert len(above.collections) == len(MEASURES)
    dashed = [line.get_ydata()[0] for line in above.lines if line.get_linestyle() == "--"]
    assert dashed == [at(table, measure, 0)["mean"] for measure in MEASURES]
    assert len(below.lines) == 2
    assert right.lines[0].get_ydata().tolist() == [1] * 9


def test_trials_are_apart_and_images_must_have_been_stored(run_of_images: MakeRun) -> None:
    run = run_of_images(trials=("a", "b"))
    assert set(recapitulation(run)["trial"]) == {"a", "b"}
    assert set(recapitulation(run, trials=["b"])["trial"]) == {"b"}
    with pytest.raises(ValueError, match="image 0 of the panel was not stored"):
        recapitulation(run_of_images(folder="bare", stored=False))


def test_command_line_draws_a_figure_a_trial(
    run_of_images: MakeRun, make_attribute_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of_images(trials=("a", "b"))
    main([str(run), "--output", str(tmp_path / "out")])
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names[2:] == ["recapitulation-a.png", "recapitulation-b.png"]
    assert len(pd.read_csv(tmp_path / "out" / "recapitulation.csv")) == 2 * 9 * 3
    with pytest.raises(
        ValueError, match="method is 'occlusion': choose from gradient_variance, gradient_x_input"
    ):
        main([str(run), "--output", str(tmp_path), "--method", "occlusion"])
    with pytest.raises(ValueError, match="kind 'attribute': accepted: 'attribute_training'"):
        main([str(make_attribute_run()), "--output", str(tmp_path)])


def redrawn_run(make_attribute_run: MakeRun, pixels: Pixels, **fields: object) -> Path:
    """Maps of the trained network, and those with layers re-drawn: noise with one, the images with two and all."""

    def redrawn(checkpoint: str, method: str, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        noise = np.random.default_rng([7, index]).normal(size=shape)
        return noise if checkpoint == "randomized:1" else np.moveaxis(pixels(index, shape), -1, 0) / 255

    checkpoints = ("randomized:all", "trained", "randomized:2", "randomized:1", "untrained")
    content = {
        "checkpoints": checkpoints,
        "methods": ("loss_gradient",),
        "shape": (3, 8, 8),
        "images": (0, 1, 5),
    }
    return make_attribute_run(**(content | {"redrawn_values": redrawn} | fields))


def test_redrawn_weights_stand_beside_the_curve(
    run_of_images: MakeRun, make_attribute_run: MakeRun, pixels: Pixels
) -> None:
    training = run_of_images()
    found = redrawn_similarity(training, redrawn_run(make_attribute_run, pixels))
    assert found["checkpoint"].unique().tolist() == ["randomized:1", "randomized:2", "randomized:all"]
    cosines = found[found["measure"] == "cosine"].set_index("checkpoint")["mean"]
    assert cosines["randomized:2"] == cosines["randomized:all"] == pytest.approx(1, abs=1e-3)
    assert 0.4 < cosines["randomized:1"] < 0.9
    assert (found["count"] == 3).all()
    table, curve = recapitulation(training), training_curve(attribution_rows(training))
    plain, beside = (
        recapitulation_figure(table, curve, title="", redrawn=redrawn) for redrawn in (None, found)
    )
    assert len(beside.axes[0].lines) == len(plain.axes[0].lines) + len(MEASURES)
    said = "dotted: the trained one where the last layer is re-drawn"
    assert any(said in text.get_text() for text in beside.texts)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"checkpoints": ("trained",)}, "has no re-drawn weights: give --checkpoints randomized:1"),
        ({"images": (0, 3)}, "has image 3, which the training did not follow"),
    ],
)
def test_a_run_that_cannot_stand_beside_is_refused(
    fields, message, run_of_images: MakeRun, make_attribute_run: MakeRun, pixels: Pixels
) -> None:
    with pytest.raises(ValueError, match=message):
        redrawn_similarity(run_of_images(), redrawn_run(make_attribute_run, pixels, **fields))
