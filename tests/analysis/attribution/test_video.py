"""Videos of attribution along training, decoded again."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.attribution import attributions
from analysis.drawing.image_grid import RIGHT, WRONG
from analysis.training.video import SCALES, Scale, VideoChoice, video_frames
from analysis.training.video_layout import Subject, VideoLayout, num_across
from analysis.video import main

ROOT = Path(__file__).parents[3]

MakeRun = Callable[..., Path]
Pixels = Callable[[int, tuple[int, int, int]], np.ndarray]

RED, BLUE, WHITE = (103, 0, 31), (5, 48, 97), (247, 246, 246)  # the diverging palette's ends and middle
PANEL = (0, 1, 5)


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def layout_of(shape: tuple[int, int, int] = (1, 8, 8), num_images: int = 3) -> VideoLayout:
    image = np.zeros((*shape[1:], shape[0]), np.uint8)
    losses = np.array([[0, np.nan], [1, 1.0]])
    return VideoLayout(
        Subject(title="", note="", images=[image] * num_images, labels=["x"] * num_images, losses=losses)
    )


def tile(frame: np.ndarray, layout: VideoLayout, index: int) -> np.ndarray:
    """The attribution of a panel image in a frame, without its edges, which compression blurs."""
    top, left = layout.place(index)
    height, width = layout.tile
    return frame[top + 4 : top + height - 4, left + 4 : left + width - 4].astype(int)


def signs(trial: str, method: str, step: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Red throughout in even steps and blue in odd ones, but for image 5, which is the other way round."""
    sign = (-1.0) ** (step + (index == 5))
    values = np.full(shape, sign)
    values[0, 0, 0] = -sign  # so that no state is without both signs
    return values


def test_frames_show_every_state_in_order(make_training_run: MakeRun, tmp_path: Path) -> None:
    run, path = make_training_run(values=signs), tmp_path / "videos" / "training.mp4"
    main([str(run), "--output", str(path)])
    frames, layout = decoded(path), layout_of()
    assert len(frames) == 9
    assert frames[0].shape[:2] == layout.size
    for step, frame in enumerate(frames):
        for place, index in enumerate(PANEL):
            expected = BLUE if (step + (index == 5)) % 2 else RED
            assert np.abs(np.median(tile(frame, layout, place), (0, 1)) - expected).max() <= 6


def test_a_pixel_of_the_attribution_is_where_it_belongs(make_training_run: MakeRun) -> None:
    def corner(trial: str, method: str, step: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        values = np.zeros(shape)
        values[0, 2, 6], values[0, 5, 1] = 1, -1
        return values

    frame, layout = next(video_frames(make_training_run(values=corner), VideoChoice())), layout_of()
    top, left = layout.place(1)
    size = layout.tile[0] // 8
    cells = frame[top : top + 8 * size, left : left + 8 * size].reshape(8, size, 8, size, 3)
    assert (cells == cells[:, :1, :, :1]).all()
    assert tuple(cells[2, 0, 6, 0]) == RED
    assert tuple(cells[5, 0, 1, 0]) == BLUE
    assert np.abs(cells[0, 0, 0, 0].astype(int) - WHITE).max() <= 1


def test_a_frame_tells_right_from_wrong_and_shows_the_image(
    make_training_run: MakeRun, pixels: Pixels
) -> None:
    run = make_training_run(prediction=lambda step, index: index % 4 if step >= 4 else 3)
    frames, layout = list(video_frames(run, VideoChoice())), layout_of()
    top, left = layout.place(2)
    for step, color in ((0, WRONG), (3, WRONG), (4, RIGHT), (8, RIGHT)):
        border = frames[step][top - 2, left : left + layout.tile[1]]
        assert (border == np.rint(np.array(to_rgb(color)) * 255)).all()
    top, left = layout.corner(2)
    small = frames[0][top : top + 8 * 8, left : left + 8 * 8, 0].reshape(8, 8, 8, 8)
    assert np.array_equal(small[:, 0, :, 0], pixels(5, (1, 8, 8))[..., 0])


def test_the_marker_moves_along_the_curve_and_the_text_changes(make_training_run: MakeRun) -> None:
    frames = list(video_frames(make_training_run(values=lambda *_: np.ones((1, 8, 8))), VideoChoice()))
    below = layout_of().place(2)[0] + layout_of().tile[0] + 4
    red = np.rint(np.array(to_rgb(WRONG)) * 255)
    columns = [np.median(np.argwhere((frame[below:] == red).all(-1))[:, 1]) for frame in frames]
    assert (np.diff(columns) > 10).all()
    assert len({frame[30:54].tobytes() for frame in frames}) == 9


@pytest.mark.parametrize(("every", "num_frames"), [(1, 9), (4, 3), (3, 4), (100, 2)])
def test_every_nth_state_and_the_last(make_training_run: MakeRun, every: int, num_frames: int) -> None:
    # Steps 0, 3, 6 and the last, 8.
    assert len(list(video_frames(make_training_run(), VideoChoice(every=every)))) == num_frames


def test_a_scale_for_each_frame_shows_faint_ones_and_one_for_all_shows_growth(
    make_training_run: MakeRun,
) -> None:
    def growing(trial: str, method: str, step: int, index: int, shape: tuple[int, int, int]) -> np.ndarray:
        return np.full(shape, 1e-6 * 2.0 ** (step - 8 * (index == 1)))

    run, layout = make_training_run(values=growing), layout_of()
    each = [tile(frame, layout, 0)[0, 0] for frame in video_frames(run, VideoChoice())]
    whole = list(video_frames(run, VideoChoice(scale="training")))
    assert {tuple(color) for color in each} == {RED}
    greens = [tile(frame, layout, 0)[0, 0, 1] for frame in whole]
    assert greens == sorted(greens, reverse=True)
    assert (greens[0] > 240, greens[-1]) == (True, 0)
    # The scale is an image's own.
    assert np.array_equal(tile(whole[-1], layout, 0), tile(whole[-1], layout, 1))


def test_an_overlay_shows_the_image_where_nothing_is_attributed(
    make_training_run: MakeRun, pixels: Pixels
) -> None:
    run = make_training_run(values=lambda *_: np.zeros((1, 8, 8)))
    frame, layout = next(video_frames(run, VideoChoice(overlay=True))), layout_of()
    top, left = layout.place(2)
    size = layout.tile[0] // 8
    shown = frame[top : top + 8 * size : size, left : left + 8 * size : size]
    assert np.array_equal(shown, np.broadcast_to(pixels(5, (1, 8, 8)), (8, 8, 3)))


@pytest.mark.parametrize("scale", SCALES)
def test_a_panel_that_grew_is_shown_whole_once_its_shards_are_there(
    make_training_run: MakeRun, scale: Scale
) -> None:
    make_training_run(values=signs, panel=(0, 5))
    run = make_training_run(values=signs, panel=(1,), missing=(1,))
    frames, layout = list(video_frames(run, VideoChoice(scale=scale))), layout_of()
    assert len(frames) == 9
    for step, frame in enumerate(frames):
        colors = [tuple(np.median(tile(frame, layout, place), (0, 1)).astype(int)) for place in range(3)]
        own, other = (BLUE, RED) if step % 2 else (RED, BLUE)
        assert (colors[0], colors[2]) == (own, other)
        assert colors[1] == (own if step <= 4 else (255, 255, 255))


def test_portions_that_begin_within_a_state_change_nothing(
    make_training_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_training_run()
    whole = list(video_frames(run, VideoChoice()))
    monkeypatch.setattr(attributions, "_BATCH_BYTES", 8 * 64 * 2)  # two rows of the three of a state
    assert all(np.array_equal(a, b) for a, b in zip(video_frames(run, VideoChoice()), whole, strict=True))


@pytest.mark.parametrize("shape", [(3, 7, 12), (3, 200, 300), (1, 141, 141)])
def test_images_of_any_size_are_shown(make_training_run: MakeRun, shape: tuple[int, int, int]) -> None:
    run = make_training_run(shape=shape, num_steps=1, segment=1, values=lambda *_: np.ones(shape))
    frames = list(video_frames(run, VideoChoice()))
    layout = layout_of(shape)
    assert frames[0].shape == (*layout.size, 3)
    assert max(layout.tile) <= 140
    assert abs(layout.tile[0] / layout.tile[1] - shape[1] / shape[2]) < 0.02
    assert np.array_equal(np.unique(tile(frames[1], layout, 2).reshape(-1, 3), axis=0), [RED])


@pytest.mark.parametrize(
    ("num_images", "across"), [(1, 1), (2, 2), (3, 3), (12, 4), (16, 4), (17, 6), (100, 6)]
)
def test_few_places_stay_empty(num_images: int, across: int) -> None:
    assert num_across(num_images) == across
    assert -num_images % num_across(num_images) <= 2


def test_one_trial_of_several_has_to_be_named(make_training_run: MakeRun) -> None:
    run = make_training_run(trials=("a", "b"))
    with pytest.raises(ValueError, match="trial is missing: the run has several, choose from a, b"):
        next(video_frames(run, VideoChoice()))
    assert len(list(video_frames(run, VideoChoice(trial="b")))) == 9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "lime"], "method is 'lime': choose from gradient_variance, gradient_x_input"),
        (["--trial", "x"], "trial is 'x': choose from trial-a"),
        (["--every", "0"], "every is 0: give 1 or more"),
        (["--fps", "0"], "fps is 0: give a whole number from 1 to 240"),
    ],
)
def test_a_mistake_names_what_would_be_accepted_and_leaves_nothing(
    make_training_run: MakeRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(make_training_run()), "--output", str(tmp_path / "out" / "video.mp4"), *arguments])
    assert not (tmp_path / "out").exists()


def test_images_must_have_been_stored(make_training_run: MakeRun) -> None:
    with pytest.raises(ValueError, match="image 0 of the panel was not stored"):
        next(video_frames(make_training_run(stored=False), VideoChoice()))


def test_another_sweep_and_another_format_are_one_line_and_status_2(
    make_attribute_run: MakeRun, make_training_run: MakeRun, tmp_path: Path
) -> None:
    for run, name, message in (
        (make_attribute_run(), "video.mp4", "kind 'attribute': accepted: 'generate', 'attribute_training'"),
        (make_training_run(), "video.gif", "output is 'video.gif': give a name that ends in .mp4, .webm"),
    ):
        command = [sys.executable, "-m", "analysis.video", str(run), "--output", str(tmp_path / name)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert message in done.stderr
