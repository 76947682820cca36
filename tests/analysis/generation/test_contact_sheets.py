"""Contact sheets and recipe strips: what is on the pages, and that drawing them touches nothing else."""

import gc
import itertools
import subprocess
import sys
import weakref
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from analysis.generation import contact_sheets, recipe_strips
from analysis.generation.class_strips import Look, choose_look, class_strips
from analysis.generation.judges import choose_judge
from analysis.generation.rows import load_rows
from analysis.run import open_run

ROOT = Path(__file__).parents[3]

MakeRun = Callable[..., Path]

HOSTILE = ["W" * 300, "$x^2$ \\frac{", "שלום עולם", "../../etc/passwd", "日本語", "a\nb"]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def num_images(figure: Figure) -> int:
    return sum(len(axes.images) for axes in figure.axes)


def sheets(run: Path, look: Look | None = None) -> list[Figure]:
    pages = contact_sheets.contact_sheets(open_run(run), rows_of(run), look or Look())
    return [figure for _, figure in pages]


def rows_of(run: Path) -> pd.DataFrame:
    return load_rows(open_run(run))


def test_one_seed_fills_pages_of_ten_by_ten(make_run: MakeRun) -> None:
    pages = sheets(make_run(num_classes=120, seeds=(0,), recipes=("default",), size=8))
    assert [num_images(page) for page in pages] == [100, 20]


def test_four_seeds_stand_in_a_row_under_their_class(make_run: MakeRun) -> None:
    (page,) = sheets(make_run(num_classes=12, seeds=range(4), recipes=("default",), size=8))
    assert num_images(page) == 48
    assert texts(page).count("seed 3") == 2
    assert "11 class 11" in texts(page)


def test_more_seeds_than_a_page_is_wide_go_on_to_the_next(make_run: MakeRun) -> None:
    pages = sheets(make_run(num_classes=2, seeds=range(20), recipes=("default",), size=8))
    assert [num_images(page) for page in pages] == [32, 8]


def test_every_recipe_has_pages_of_its_own_named_after_it(make_run: MakeRun) -> None:
    run = make_run(recipes=("blur", "../../etc"))
    names = [name for name, _ in contact_sheets.contact_sheets(open_run(run), rows_of(run), Look())]
    assert names[1] == "contact-sheet-blur-001"
    assert all("/" not in name and "." not in name for name in names)


def test_a_cell_not_committed_yet_is_left_open(make_run: MakeRun) -> None:
    run = make_run(num_classes=3, seeds=(0, 1), recipes=("default",), shard_size=1)
    (run / "results" / "shard-000003.parquet").unlink()
    (page,) = sheets(run)
    assert num_images(page) == 5
    assert texts(page).count("no image") == 1


def test_verdicts_are_marked_by_sign_and_colour(make_run: MakeRun) -> None:
    run = make_run(recipes=("default",), wrong=lambda judge, class_index, seed: class_index == 1)
    (page,) = sheets(run, Look(judge="lite1"))
    assert (texts(page).count("✓"), texts(page).count("✗")) == (4, 2)
    assert (
        len({text.get_bbox_patch().get_facecolor() for text in page.axes[0].texts if text.get_bbox_patch()})
        == 2
    )
    assert any("lite1" in text for text in texts(page))


def test_without_a_judge_nothing_is_marked(make_run: MakeRun) -> None:
    (page,) = sheets(make_run(recipes=("default",)))
    assert not {"✓", "✗"} & set(texts(page))


def test_without_judges_the_network_itself_marks_what_it_does_not_take_for_the_class(
    make_run: MakeRun,
) -> None:
    run = make_run(judges=(), recipes=("default",))
    rows = load_rows(open_run(run), ["top1"])
    rows.loc[rows["class_index"] == 1, "top1"] = 2
    [(_, page)] = contact_sheets.contact_sheets(open_run(run), rows, choose_look(rows, None))
    assert (texts(page).count("✓"), texts(page).count("✗")) == (4, 2)
    assert "✓ the network itself names the class first, ✗ it names another" in texts(page)


def test_a_run_without_judges_is_drawn_without_marks(make_run: MakeRun) -> None:
    run = make_run(judges=(), recipes=("default",))
    assert choose_judge(rows_of(run), None) is None
    assert len(sheets(run)) == 1


def test_the_stretch_is_applied_and_stated(make_run: MakeRun) -> None:
    run = make_run(recipes=("default",))
    (plain,), (stretched,) = sheets(run), sheets(run, Look(stretch=0.01))
    assert np.ptp(plain.axes[0].images[0].get_array()) < np.ptp(stretched.axes[0].images[0].get_array())
    assert any("stretched" in text and "1.0%" in text for text in texts(stretched))
    assert not any("stretched" in text for text in texts(plain))


@pytest.mark.parametrize("stretch", [-0.1, 0.5, float("nan")])
def test_an_impossible_stretch_is_refused(stretch: float) -> None:
    with pytest.raises(ValueError, match="stretch is"):
        Look(stretch=stretch)


def test_an_unknown_judge_is_named_with_the_known_ones(make_run: MakeRun) -> None:
    rows = rows_of(make_run())
    assert choose_judge(rows, None) == "lite1"
    with pytest.raises(ValueError, match="judge is 'lite9': choose from lite1, lite2"):
        choose_judge(rows, "lite9")


def test_figures_of_several_recipes_or_seeds_at_once_are_refused(make_run: MakeRun) -> None:
    rows = rows_of(make_run())
    with pytest.raises(ValueError, match="recipe of the rows is"):
        contact_sheets.contact_sheet(rows, {})
    with pytest.raises(ValueError, match="seed of the rows is 0, 1"):
        recipe_strips.recipe_strip(rows, {})


def test_strips_follow_the_class_index_not_the_order_of_rows(make_run: MakeRun) -> None:
    rows = rows_of(make_run(recipes=("default",))).iloc[::-1]
    assert [strip.title for strip in class_strips(rows, {}, "seed", [0], Look())] == [
        "0 class 0",
        "1 class 1",
        "2 class 2",
    ]


def test_hostile_class_names_stay_inside_the_page_as_plain_text(make_run: MakeRun, tmp_path: Path) -> None:
    names = HOSTILE
    run = make_run(num_classes=6, seeds=(0,), recipes=("default",), name=lambda index: names[index])
    (page,) = sheets(run)
    page.savefig(tmp_path / "page.png")
    width, _ = page.canvas.get_width_height()
    for text in page.axes[0].texts:
        assert not text.get_parse_math()
        extent = text.get_window_extent()
        assert extent.x0 >= 0
        assert extent.x1 <= width


def test_texts_and_images_keep_clear_of_each_other(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run(num_classes=12, seeds=range(4), recipes=("default",), name=lambda index: "Wg" * 99, size=8)
    (page,) = sheets(run)
    page.savefig(tmp_path / "page.png")
    boxes = [text.get_window_extent() for text in page.axes[0].texts]
    boxes += [image.get_window_extent() for image in page.axes[0].images]
    # A dot less on each side: neighbours may share the dot that antialiasing blurs.
    overlapping = [(a, b) for a, b in itertools.combinations(boxes, 2) if a.padded(-1).overlaps(b.padded(-1))]
    assert overlapping == []


def test_the_same_results_give_the_same_file(make_run: MakeRun, tmp_path: Path) -> None:
    run = str(make_run(recipes=("default",)))
    for folder in ("one", "two"):
        contact_sheets.main([run, "--output", str(tmp_path / folder), "--stretch"])
    (one,), (two,) = (list((tmp_path / folder).iterdir()) for folder in ("one", "two"))
    assert one.name == two.name == "contact-sheet-default-001.png"
    assert one.read_bytes() == two.read_bytes()


def test_only_the_page_at_hand_is_in_memory(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contact_sheets, "NUM_ROWS", 1)
    run = make_run(num_classes=4, seeds=range(8), recipes=("default",), size=8)
    seen, alive = [], 0
    for _, figure in contact_sheets.contact_sheets(open_run(run), rows_of(run), Look()):
        seen.append(weakref.ref(figure))
        del figure
        gc.collect()
        alive = max(alive, sum(reference() is not None for reference in seen))
    assert len(seen) == 4
    assert alive <= 1


def test_drawing_leaves_matplotlib_as_it_was(make_run: MakeRun, tmp_path: Path) -> None:
    code = (
        "import sys, matplotlib; before = matplotlib.rcParams.copy();"
        "from analysis.generation.contact_sheets import main; main(sys.argv[1:]);"
        "assert 'matplotlib.pyplot' not in sys.modules; assert matplotlib.rcParams.copy() == before"
    )
    arguments = [str(make_run(num_classes=1, seeds=(0,))), "--output", str(tmp_path / "pages")]
    subprocess.run([sys.executable, "-W", "error", "-c", code, *arguments], cwd=ROOT, check=True)
    assert matplotlib.rcParams["text.parse_math"]


def test_command_lines_print_the_paths_of_pictures(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, output = str(make_run()), str(tmp_path / "pages")
    contact_sheets.main(
        [run, "--output", output, "--recipe", "plain", "--judge", "lite2", "--stretch", "0.02"]
    )
    recipe_strips.main([run, "--output", output, "--recipes", "plain,default", "--seed", "1"])
    paths = capsys.readouterr().out.splitlines()
    assert [Path(path).name for path in paths] == [
        "contact-sheet-plain-001.png",
        "recipe-strips-seed-1-001.png",
    ]
    for path in paths:
        with Image.open(path) as image:
            assert image.format == "PNG"


@pytest.mark.parametrize(
    ("module", "arguments", "message"),
    [
        (contact_sheets, ["--recipe", "octaves"], "recipe is 'octaves': choose from default, plain"),
        (contact_sheets, ["--stretch", "0.7"], "stretch is 0.7"),
        (recipe_strips, ["--recipes", "plain,octaves"], "recipe is 'octaves'"),
        (recipe_strips, ["--seed", "9"], "seed is 9: choose from 0, 1"),
    ],
)
def test_a_mistake_names_what_would_be_accepted(
    make_run: MakeRun, tmp_path: Path, module: object, arguments: list[str], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        module.main([str(make_run()), "--output", str(tmp_path), *arguments])
