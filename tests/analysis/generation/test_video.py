"""Videos of generation: the image beside its logits, decoded again from the file."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from analysis.drawing import encoding
from analysis.drawing.image_grid import RIGHT, WRONG
from analysis.generation.frames import frame_rows, frame_values
from analysis.generation.logit_layout import LogitLayout, LogitSubject, probabilities, rank
from analysis.generation.video import GenerationChoice, chosen_frames, generation_frames
from analysis.video import main

MakeRun = Callable[..., Path]


def rising(class_index: int, seed: int, step: int) -> list[float]:
    """Class 0 leads with 1.5 until the target's logit, which is the step, passes it."""
    logits = [1.5, -1.0, -1.0, -1.0]
    logits[class_index] = float(step)
    return logits


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(path) as container:
        return [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]


def layout_of(limits: tuple[float, float] = (-1.0, 3.0), target: int = 2) -> LogitLayout:
    subject = LogitSubject(
        title="", target=target, num_classes=4, class_names={}, limits=limits, shape=(32, 32, 3), num_steps=3
    )
    return LogitLayout(subject)


def pixels(color: str) -> np.ndarray:
    return np.rint(np.array(to_rgb(color)) * 255).astype(int)


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_a_video_shows_the_stored_steps_in_order_and_stays_at_the_last(
    make_run: MakeRun, tmp_path: Path, suffix: str
) -> None:
    run, path = make_run(frames=(2,), logits=rising), tmp_path / "videos" / f"pizza{suffix}"
    main([str(run), "--output", str(path), "--fps", "5"])
    frames, layout = decoded(path), layout_of()
    assert len(frames) == 4 + 4  # steps 0, 1, 2 and the finished image, which stays for a second
    assert frames[0].shape == (*layout.size, 3)
    for step, frame in enumerate(frames[:4]):
        row, column = layout.dots(np.array(rising(2, 0, step)))[2]
        color = pixels(RIGHT if step > 1.5 else WRONG)
        assert np.abs(frame[row - 2 : row + 3, column - 2 : column + 3].mean((0, 1)) - color).max() <= 12
    assert np.abs(frames[3] - frames[-1]).mean() < 1


def test_a_dot_lies_where_its_class_and_logit_are() -> None:
    layout = layout_of(limits=(0.0, 10.0))
    dots = layout.dots(np.array([0.0, 10.0, 5.0, 0.0]))
    assert dots[0, 0] == dots[3, 0] > dots[2, 0] > dots[1, 0]
    assert abs(dots[2, 0] - (dots[0, 0] + dots[1, 0]) / 2) <= 0.5
    assert np.abs(np.diff(np.diff(dots[:, 1]))).max() <= 1
    blank = layout.frame(np.zeros((32, 32, 3), np.uint8), np.array([0.0, 10.0, 5.0, 0.0]), 0)
    assert tuple(blank[tuple(dots[1])]) == tuple(pixels("#0072b2"))


def test_ticks_of_the_axis_are_at_the_dots_they_name() -> None:
    # The pale lines of logit 0 and of the target's class are matplotlib's, the dots are not.
    layout = layout_of(limits=(-4.0, 4.0))
    frame = layout.frame(np.zeros((32, 32, 3), np.uint8), np.full(4, 3.0), 0)
    zero, target = layout.dots(np.zeros(4))[0], layout.dots(np.zeros(4))[2]
    line, beside = frame[zero[0] - 1 : zero[0] + 2, zero[1] + 40], frame[zero[0] + 5, zero[1] + 40]
    assert line.min() < 240 < beside.min()
    assert frame[target[0] + 40, target[1] - 1 : target[1] + 2].min() < 240


def test_the_image_is_shown_pixel_by_pixel(make_run: MakeRun) -> None:
    run, layout = make_run(frames=(2,), logits=rising), layout_of()
    rows = chosen_frames(run, GenerationChoice())[0]
    (image, *_), _ = frame_values(run, rows)
    frame = next(generation_frames(run, GenerationChoice()))
    (top, left), (height, width) = layout.image_place, layout.image_size
    assert (height, width) == (448, 448)
    assert np.array_equal(frame[top : top + height : 14, left : left + width : 14], image)


def test_classes_come_one_after_another_and_defaults_are_all_of_them_at_the_smallest_seed(
    make_run: MakeRun,
) -> None:
    run = make_run(frames=(0, 2), seeds=(3, 1), logits=rising)
    everything = chosen_frames(run, GenerationChoice())
    assert [part["class_index"].iloc[0] for part in everything] == [0, 2]
    assert {(part["recipe"].iloc[0], part["seed"].iloc[0]) for part in everything} == {("default", 1)}
    assert all(part["step"].to_list() == [0, 1, 2, 3] for part in everything)
    (one,) = chosen_frames(run, GenerationChoice(classes=(2,), seed=3, recipe="plain"))
    assert set(one["key"]) == {"plain/2/3", "plain/2/3/0", "plain/2/3/1", "plain/2/3/2"}
    assert len(list(generation_frames(run, GenerationChoice(num_last=4)))) == 2 * (4 + 3)


def test_frame_values_are_in_the_order_of_the_rows_across_files(make_run: MakeRun) -> None:
    run = make_run(frames=(0, 1, 2), logits=rising, shard_size=2)
    rows = frame_rows(run).sample(frac=1, random_state=0)
    assert rows["image_file"].nunique() > 2
    _, logits = frame_values(run, rows)
    expected = [rising(row.class_index, row.seed, row.step) for row in rows.itertuples()]
    assert logits.tolist() == expected


def test_rank_and_probability_by_hand() -> None:
    logits = np.log([0.1, 0.4, 0.3, 0.2])
    assert [rank(logits, target) for target in range(4)] == [4, 1, 2, 3]
    assert np.allclose(probabilities(logits + 500), [0.1, 0.4, 0.3, 0.2])
    assert rank(np.zeros(4), 3) == 1


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({}, [], "has no frames, only finished images; they are stored by python sweeps/generate_all.py --frames"),
        ({"frames": (1,)}, ["--classes", "2"], "class_index 2 has no frames under recipe default, seed 0: choose "
         "from 1; a class has them where generate_all.py was given it in --frames"),
        ({"frames": (1,)}, ["--recipe", "blur"], "recipe 'blur' has no frames: choose from default, plain"),
        ({"frames": (1,)}, ["--seed", "7"], "seed 7 has no frames under recipe default: choose from 0, 1"),
        ({"frames": (1,)}, ["--overlay"], "--overlay is given, but .* is of sweep 'generate': accepted are"),
        ({"frames": (1,)}, ["--fps", "0"], "fps is 0: give a whole number from 1 to 240"),
    ],
)  # fmt: skip
def test_a_mistake_names_what_would_be_accepted_and_leaves_nothing(
    make_run: MakeRun, tmp_path: Path, fields: dict[str, object], arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        main([str(make_run(**fields)), "--output", str(tmp_path / "out" / "video.webm"), *arguments])
    assert not (tmp_path / "out").exists()


def test_an_encoder_that_this_pyav_lacks_is_named_with_the_other_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lacking = dataclasses.replace(encoding.FORMATS[".webm"], encoder="libvpx-vp10")
    monkeypatch.setitem(encoding.FORMATS, ".webm", lacking)
    with pytest.raises(ValueError, match=r"needs the encoder libvpx-vp10.*give a name that ends in \.mp4"):
        encoding.VideoWriter(tmp_path / "video.webm")


def test_classes_that_are_no_numbers_are_refused_by_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(["run", "--output", "a.mp4", "--classes", "pizza"])
    assert exit_info.value.code == 2
    assert "'pizza' is not accepted; accepted: indices such as 963,980" in capsys.readouterr().err
