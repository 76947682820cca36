"""Triptychs: the right image in each place, the right verdict above it."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis import load
from analysis.attacks import triptychs
from analysis.attacks.stored_images import choose, load_images
from analysis.attacks.triptychs import enhanced
from analysis.naming import class_names, recorded_class_names
from sweeps.store import RunDirectory

MakeRun = Callable[..., Path]

SAVED: dict[str, Any] = {"saved": (1, 2, 4), "epsilons": (0.0, 2 / 255, 8 / 255)}


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def drawn(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axes in figure.axes for image in axes.images]


def draw(run: Path, **chosen: Any) -> dict[str, Figure]:
    frame = load.results(run)
    return dict(triptychs.figures(run, choose(frame, **chosen), class_names(frame)))


def test_the_enhanced_view_is_grey_where_nothing_changed_and_sixty_times_what_did() -> None:
    clean = np.full((1, 5, 1), 100, dtype=np.uint8)
    adversarial = np.array([100, 101, 99, 103, 97], dtype=np.uint8).reshape(1, 5, 1)
    assert enhanced(clean, adversarial).ravel().tolist() == [128, 188, 68, 255, 0]


@pytest.mark.parametrize(("channels", "size"), [(1, 28), (3, 20)])
def test_a_strip_shows_clean_perturbation_adversarial_and_enhanced(
    make_attack_run: MakeRun, channels: int, size: int
) -> None:
    run = make_attack_run(**SAVED, channels=channels, size=size)
    (figure,) = draw(run, epsilons=[2 / 255], num_images=1).values()
    clean, perturbation, adversarial, view = drawn(figure)
    assert clean.shape == (size, size, 3)
    row = load.results(run).query("image_index == 1 and epsilon > 0").iloc[0]
    stored = load.images(run, [row["clean_key"], row["perturbation_key"], row["image_key"]])
    for image, expected in zip((clean, perturbation, adversarial), stored, strict=True):
        assert np.array_equal(image, np.broadcast_to(expected, image.shape))
    # Two steps of 8 bits times 60, from mid-grey, with the sign that the perturbation has.
    assert set(np.unique(view)) == {8, 248}
    assert np.array_equal(view > 128, perturbation > 128)


def test_class_and_confidence_stand_above_and_frames_tell_right_from_wrong(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        **SAVED, predicted=lambda method, index, epsilon, clean: 9 if epsilon > 0.01 else clean
    )
    figures = draw(run, num_images=1)
    assert list(figures) == ["triptychs-final-fgsm-2-255-001", "triptychs-final-fgsm-8-255-001"]
    weak, strong = figures.values()
    assert texts(weak)[0] == "fashion_deep under fgsm, ε = 2/255, final"
    assert "image 1 (test/1), label 1 class 1" in texts(weak)
    assert {"98.7% 1 class 1", "75.0% 1 class 1"} <= set(texts(weak))
    assert texts(weak).count("✓") == 2
    # Class 9 has no name, as no image has it for its label.
    assert {"98.7% 1 class 1", "75.0% 9"} <= set(texts(strong))
    assert (texts(strong).count("✓"), texts(strong).count("✗")) == (1, 1)


def test_what_the_perturbation_alone_is_taken_for_stands_above_it(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        **SAVED,
        methods=("fgsm", "bim", "gradient_alone"),
        predicted=lambda method, index, epsilon, clean: 2 if method == "gradient_alone" else clean,
    )
    figures = draw(run, epsilons=[2 / 255], num_images=1)
    assert texts(figures["triptychs-final-fgsm-2-255-001"]).count("75.0% 2 class 2") == 1
    assert "75.0% 2 class 2" not in texts(figures["triptychs-final-bim-2-255-001"])


def test_the_gradient_alone_is_enhanced_from_black_not_from_the_image(make_attack_run: MakeRun) -> None:
    run = make_attack_run(**SAVED, methods=("gradient_alone",))
    (figure,) = draw(run, epsilons=[2 / 255], num_images=1).values()
    *_, view = drawn(figure)
    # Nothing is darker than black: the negative half of the direction was clipped.
    assert set(np.unique(view)) == {128, 248}
    assert any("without an image" in text for text in texts(figure))


def test_targets_and_minima_are_told(make_attack_run: MakeRun) -> None:
    run = make_attack_run(
        **SAVED, methods=("minimum_fgsm",), targets=(0,), minimum=lambda index: 0.01 if index == 1 else None
    )
    ((name, figure),) = draw(run).items()
    assert name == "triptychs-final-minimum_fgsm-targeted-minimum-001"
    assert "image 1 (test/1), label 1 class 1, target 0 class 0, ε = 2.55/255" in texts(figure)
    assert "image 2 (test/2), label 2 class 2, target 0 class 0, no ε up to 1" in texts(figure)


def test_only_rows_with_images_are_chosen_and_epsilon_zero_only_if_asked_for(
    make_attack_run: MakeRun,
) -> None:
    frame = load.results(make_attack_run(**SAVED, methods=("fgsm", "bim")))
    rows = choose(frame)
    assert set(rows["image_index"]) == {1, 2, 4}
    assert set(rows["epsilon"]) == {2 / 255, 8 / 255}
    assert set(choose(frame, epsilons=[0.0])["epsilon"]) == {0.0}
    two = choose(frame, methods=["bim"], num_images=2)
    assert two[["image_index", "epsilon"]].to_numpy().tolist() == [
        [1, 2 / 255],
        [2, 2 / 255],
        [1, 8 / 255],
        [2, 8 / 255],
    ]


def test_several_share_a_page_and_more_go_on_to_the_next(make_attack_run: MakeRun) -> None:
    run = make_attack_run(num_images=14, saved=range(14), epsilons=(2 / 255,), size=8)
    assert [len(drawn(figure)) for figure in draw(run).values()] == [12 * 4, 2 * 4]


def test_an_image_that_was_not_stored_is_left_open(make_attack_run: MakeRun) -> None:
    run = make_attack_run(**SAVED)
    frame = load.results(run)
    rows = choose(frame.assign(clean_key=None, clean_file=None), epsilons=[2 / 255], num_images=1)
    figure = triptychs.figure(rows, load_images(run, rows), names=class_names(frame), title="title")
    # Without the clean image there is no difference either.
    assert len(drawn(figure)) == 2
    assert texts(figure).count("no image") == 2


def test_texts_and_images_keep_clear_of_each_other(make_attack_run: MakeRun, tmp_path: Path) -> None:
    run = make_attack_run(num_images=12, saved=range(12), epsilons=(2 / 255,), name=lambda index: "Wg$" * 99)
    (figure,) = draw(run).values()
    figure.savefig(tmp_path / "page.png")
    # The marks lie on their images.
    written = [text for text in figure.axes[0].texts if text.get_bbox_patch() is None]
    assert not any(text.get_parse_math() for text in written)
    boxes = [thing.get_window_extent() for thing in (*written, *figure.axes[0].images)]
    overlapping = [(a, b) for a, b in itertools.combinations(boxes, 2) if a.padded(-1).overlaps(b.padded(-1))]
    assert overlapping == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "pgd"], "method is 'pgd': choose from fgsm"),
        (["--epsilons", "3/255"], r"epsilons: '3/255' is none of the rows': choose from 0, 2/255, 8/255"),
        (["--num-images", "0"], "num_images is 0: give 1 or more"),
    ],
)
def test_a_mistake_names_what_would_be_accepted(
    make_attack_run: MakeRun, tmp_path: Path, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        triptychs.main([str(make_attack_run(**SAVED)), "--output", str(tmp_path), *arguments])


def test_a_run_without_images_says_so(make_attack_run: MakeRun, make_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="stored no images; see its --save-images"):
        triptychs.main([str(make_attack_run()), "--output", str(tmp_path)])
    with pytest.raises(ValueError, match="kind 'generate'"):
        triptychs.main([str(make_run()), "--output", str(tmp_path)])


def test_command_line_prints_the_paths_of_pictures(
    make_attack_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_attack_run(**SAVED, checkpoints=("untrained", "final"))
    triptychs.main([str(run), "--output", str(tmp_path), "--methods", "fgsm", "--epsilons", "8/255"])
    paths = capsys.readouterr().out.splitlines()
    assert [Path(path).name for path in paths] == [
        "triptychs-final-fgsm-8-255-001.png",
        "triptychs-untrained-fgsm-8-255-001.png",
    ]
    with Image.open(paths[0]) as image:
        assert image.format == "PNG"


def test_images_are_found_by_every_column_of_keys(make_attack_run: MakeRun) -> None:
    run = make_attack_run(**SAVED)
    row = pd.read_parquet(run / "results").query("image_index == 2").iloc[0]
    keys = [row["perturbation_key"], row["clean_key"], row["image_key"]]
    direction, clean, _ = load.images(run, keys)
    assert set(np.unique(direction)) == {0, 255}
    assert np.array_equal(clean, load.images(run, keys[1:2])[0])
    with pytest.raises(ValueError, match="image key 'nothing' is not in"):
        load.images(run, [*keys, "nothing"])


def test_recorded_names_cover_classes_that_no_image_has(make_attack_run: MakeRun) -> None:
    run = make_attack_run()
    assert recorded_class_names(run) == {}
    names = {"invocations": [{"class_names": ["boot", "<b>bag</b>"]}]}
    RunDirectory(run).update_sweep(lambda existing: {**(existing or {}), **names})
    assert recorded_class_names(run) == {0: "0 boot", 1: "1 <b>bag</b>"}
