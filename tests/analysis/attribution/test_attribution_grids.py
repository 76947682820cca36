"""Grids of attributions: the right colours in the right cells, beside the right image."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from analysis.attribution.choice import Choice, choose
from analysis.attribution.colors import channel_sum, colored, full_values, overlaid
from analysis.attribution.grids import main, pages

MakeRun = Callable[..., Path]
Pixels = Callable[[int, tuple[int, int, int]], np.ndarray]

WHITE = [247, 246, 246]  # the middle of matplotlib's RdBu


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_red_adds_blue_takes_away_and_nothing_is_white() -> None:
    colors = colored(np.array([[-2.0, 0.0, 2.0]]))
    blue, middle, red = colors[0].tolist()
    assert middle == WHITE
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60


def test_what_is_never_negative_runs_from_white_to_red() -> None:
    low, high = colored(np.array([[0.0, 2.0]]), signed=False)[0].tolist()
    assert min(low) > 230
    assert high[0] > high[2] + 60


def test_full_colour_stands_for_the_quantile_of_each_map() -> None:
    maps = np.stack([np.arange(-1000.0, 1001), 7 * np.arange(-1000.0, 1001)])[:, None]
    assert full_values(maps).tolist() == pytest.approx([995, 6965], abs=1)
    assert np.array_equal(colored(maps)[0], colored(maps)[1])
    # One pixel that stands out does not make the others white.
    spoiled = maps[0].copy()
    spoiled[0, 0] = 1e9
    assert np.abs(colored(spoiled).astype(int) - colored(maps[0]))[:, 1:].max() <= 2


def test_a_map_of_few_values_has_its_largest_and_one_of_zeros_is_white() -> None:
    sparse = np.zeros((40, 40))
    sparse[3, 3] = 5
    assert full_values(sparse) == 5
    assert np.unique(colored(np.zeros((4, 4))).reshape(-1, 3), axis=0).tolist() == [WHITE]


def test_colours_of_all_channels_are_summed() -> None:
    values = np.array([[[1.0, 0.0]], [[-1.0, 0.0]], [[0.5, -2.0]]])
    assert channel_sum(values).tolist() == [[0.5, -2.0]]


def test_an_overlay_is_grey_where_nothing_is_attributed() -> None:
    image = np.array([[[30, 60, 90], [200, 200, 200], [0, 0, 0]]], dtype=np.uint8)
    grey, red, blue = overlaid(np.array([[0.0, 3.0, -3.0]]), image)[0].tolist()
    assert grey == [60, 60, 60]
    assert red[0] > red[2] + 60
    assert blue[2] > blue[0] + 60


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 10)])
def test_a_strip_shows_the_image_and_a_column_per_method(
    make_attribute_run: MakeRun, pixels: Pixels, shape: tuple[int, int, int]
) -> None:
    def values(method: str, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        return np.full(shape, -1.0 if method == "occlusion" else 1.0)

    run = make_attribute_run(shape=shape, values=values)
    ((name, figure),) = pages(run, choose(run, Choice(images=[2, 5])))
    assert name == "attribution-grid-001"
    first, gradient, occlusion, second, *_ = drawn(figure)
    for image, index in ((first, 2), (second, 5)):
        assert np.array_equal(image, np.broadcast_to(pixels(index, shape), (*shape[1:], 3)))
    # Without a negative value the sequential map, with them the diverging one.
    assert np.array_equal(np.unique(gradient.reshape(-1, 3), axis=0), [[103, 0, 13]])
    assert np.array_equal(np.unique(occlusion.reshape(-1, 3), axis=0), [[5, 48, 97]])
    assert {"image", "gradient", "occlusion"} <= set(texts(figure))


def test_label_prediction_and_confidence_are_told(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(images=range(2), prediction=lambda index: 3 * index)
    ((_, figure),) = pages(run, choose(run, Choice()))
    assert "image 0 (test/0), label 0 class 0: predicted 0 class 0, 87.5%" in texts(figure)
    # Class 3 is the label of no image: its name was recorded by the sweep.
    assert "image 1 (test/1), label 1 class 1: predicted 3 class 3, 87.5%" in texts(figure)
    assert (texts(figure).count("✓"), texts(figure).count("✗")) == (1, 1)


def test_along_training_the_last_step_is_shown_or_the_one_asked_for(make_training_run: MakeRun) -> None:
    run = make_training_run(
        trials=("a", "b"),
        values=lambda trial, method, step, index, shape: np.full(shape, 1.0 if step == 3 else -1.0),
    )
    last = dict(pages(run, choose(run, Choice(methods=["loss_gradient"]))))
    assert list(last) == ["attribution-grid-a-000008-001", "attribution-grid-b-000008-001"]
    asked = dict(pages(run, choose(run, Choice(methods=["loss_gradient"], step=3, trials=["b"]))))
    ((name, figure),) = asked.items()
    assert name == "attribution-grid-b-000003-001"
    assert texts(figure)[0] == "b: step 3"
    assert drawn(last["attribution-grid-b-000008-001"])[1][0, 0].tolist() == [5, 48, 97]
    assert drawn(figure)[1][0, 0].tolist() == [103, 0, 13]


def test_the_last_step_is_one_with_attributions_of_its_own(make_training_run: MakeRun) -> None:
    rows = choose(make_training_run(every=3), Choice())
    # The sums have rows at step 8, where the last segment ends.
    assert set(zip(rows["step"], rows["method"], strict=True)) == {
        (6, "gradient_x_input"),
        (6, "loss_gradient"),
    }
    sums = choose(make_training_run("sums", methods=()), Choice())
    assert set(sums["step"]) == {8}


def test_images_that_were_stored_come_first(make_attribute_run: MakeRun) -> None:
    make_attribute_run(images=range(4), stored=False)
    run = make_attribute_run(images=range(4, 8), methods=("gradient",))
    assert sorted(choose(run, Choice(num_images=2))["image_index"]) == [4, 5]


def test_an_overlay_lies_on_its_own_image(make_attribute_run: MakeRun, pixels: Pixels) -> None:
    run = make_attribute_run(shape=(3, 8, 8), values=lambda method, index, shape: np.zeros(shape))
    ((name, figure),) = pages(run, choose(run, Choice(images=[4])), overlay=True)
    grey = np.rint(pixels(4, (3, 8, 8)).mean(-1, keepdims=True)) + np.zeros(3)
    assert name == "attribution-overlays-001"
    assert np.abs(drawn(figure)[1] - grey).max() <= 1


def test_images_that_were_not_stored_are_left_open(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(stored=False, images=range(2))
    for overlay, missing in ((False, 2), (True, 6)):
        ((_, figure),) = pages(run, choose(run, Choice()), overlay=overlay)
        assert texts(figure).count("no image") == missing


def test_more_images_go_on_to_the_next_page(make_attribute_run: MakeRun) -> None:
    run = make_attribute_run(images=range(12), methods=("gradient",))
    assert [len(drawn(figure)) for _, figure in pages(run, choose(run, Choice(num_images=10)))] == [16, 4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "lime"], "method is 'lime': choose from gradient, occlusion"),
        (["--images", "1,x"], "images: 'x' is no index"),
        (["--images", "9"], "image_index is 9: choose from 0, 1, 2, 3, 4, 5"),
        (["--num-images", "0"], "num_images is 0: give 1 or more"),
        (["--step", "3"], "only 'attribute_training' has steps"),
    ],
)
def test_a_mistake_names_what_would_be_accepted(
    make_attribute_run: MakeRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(make_attribute_run()), "--output", str(tmp_path), *arguments])


def test_command_line_prints_the_paths_of_pictures(
    make_attribute_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main([str(make_attribute_run()), "--output", str(tmp_path / "out"), "--overlay", "--images", "1, 2"])
    (path,) = capsys.readouterr().out.split()
    assert Path(path).read_bytes().startswith(b"\x89PNG")
