"""The gallery command and the report's pages of units: what they show, beside what, and what they refuse."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from analysis.command_line import exit_status
from analysis.report.__main__ import main as report_main
from analysis.run import open_run
from analysis.units import gallery
from analysis.units.gallery import gallery_pages
from analysis.units.natural import open_natural
from analysis.units.shelves import MOST_SYNTHETIC, Shelf, open_collection, shelf_images, shelves


@pytest.fixture
def shelves_of() -> Callable[..., list[Shelf]]:
    """The shelves of a run, beside natural images if a second one is given."""

    def of(run: Path, natural: Path | None = None, num_units: int = 10, most: int = 4) -> list[Shelf]:
        opened = open_run(run)
        beside = None if natural is None else open_natural(str(natural), opened)
        return list(shelves(open_collection(opened, beside, most), num_units))

    return of


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_a_shelf_is_a_layer_with_a_row_a_unit_and_a_column_a_seed_and_member(
    make_units_run, shelves_of
) -> None:
    first, second = shelves_of(make_units_run(members=(0, 1)))
    assert (first.layer, second.layer) == ("late", "early")
    assert [row.name for row in first.rows] == ["late:2", "late:10", "late:10:center"]
    assert first.columns == [
        "seed 0, member 0",
        "seed 0, member 1",
        "seed 1, member 0",
        "seed 1, member 1",
    ]
    assert [each.caption for each in first.rows[0].pictures] == ["3.00", "3.00", "4.00", "4.00"]


def test_natural_images_follow_the_synthetic_ones_of_their_unit(
    make_units_run, make_activations_run, shelves_of
) -> None:
    natural = make_activations_run(units=(("late", "2"),))
    first, second = shelves_of(make_units_run(), natural)
    assert first.columns == ["seed 0", "seed 1", *(f"natural {place}" for place in range(1, 5))]
    assert [each.caption for each in first.rows[0].pictures] == [
        "3.00",
        "4.00",
        "4.00 dog",
        "4.00 dog",
        "3.00 cat",
        "3.00 cat",
    ]
    assert first.rows[0].pictures[2].mark == (3, 3)
    assert first.rows[1].pictures[2:] == [None] * 4, "the natural run lacks this unit"
    assert second.columns == ["seed 0", "seed 1"], "it lacks this layer"


def test_many_units_and_many_seeds_are_shared_out_among_shelves(make_units_run, shelves_of) -> None:
    run = make_units_run(layers=("late",), seeds=tuple(range(MOST_SYNTHETIC + 1)))
    found = shelves_of(run, num_units=2)
    assert [(len(shelf.rows), len(shelf.columns)) for shelf in found] == [(2, 8), (2, 1), (1, 8), (1, 1)]


def test_images_of_both_runs_are_found_by_run_and_key(make_units_run, make_activations_run) -> None:
    units = open_run(make_units_run())
    collection = open_collection(units, open_natural(str(make_activations_run()), units))
    shelf = next(shelves(collection, 10))
    images = shelf_images(collection, shelf)
    assert len(images) == 3 * 2 + 6
    assert {pixels.shape for pixels in images.values()} == {(8, 8, 3)}


def test_a_page_of_png_has_names_activations_labels_and_rings(make_units_run, make_activations_run) -> None:
    units = open_run(make_units_run())
    collection = open_collection(units, open_natural(str(make_activations_run()), units), 1)
    pages = dict(gallery_pages(collection))
    assert list(pages) == ["units-late-default-001", "units-early-default-001"]
    shown = texts(pages["units-late-default-001"])
    assert shown[:4] == ["net, late, recipe default", *shown[1:4]]
    assert {"late:2", "seed 0", "natural 1", "3.00", "4.00 dog"} <= set(shown)
    assert len(pages["units-late-default-001"].axes[0].patches) == 2 * 3


def test_the_command_writes_pages_and_tables_of_one_layer(make_units_run, tmp_path, capsys) -> None:
    gallery.main([str(make_units_run()), "--layer", "early", "--output", str(tmp_path / "out")])
    printed = capsys.readouterr().out.split()
    assert [Path(path).name for path in printed] == [
        *("units.csv", "units.parquet", "units-by-layer.csv", "units-by-layer.parquet"),
        "units-early-default-001.png",
    ]
    assert all(Path(path).stat().st_size > 0 for path in printed)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{units}", "--layer", "middle"], "layer='middle': accepted are late, early"),
        (["{generated}"], "{generated} holds a sweep of kind 'generate': accepted: 'units', 'activations'"),
        (
            ["{units}", "--natural", "{generated}"],
            "holds a sweep of kind 'generate': accepted: 'activations'",
        ),
        (["{units}", "--natural", "{other}"], "model is 'other', that of {units} is 'net'"),
        (
            ["{natural}", "--natural", "{other}"],
            "is of kind 'activations'; accepted are runs of generate_all",
        ),
        (["{units}", "--natural", "/nowhere"], "/nowhere"),
        (["{units}", "--output", "/proc/gallery"], "/proc/gallery"),
    ],
)
def test_mistakes_are_one_line(
    arguments, message, make_units_run, make_activations_run, make_run, tmp_path, capsys
) -> None:
    runs = {
        "units": make_units_run(),
        "natural": make_activations_run(),
        "other": make_activations_run("other", model="other"),
        "generated": make_run(),
    }
    given = ["--output", str(tmp_path / "out"), *(each.format(**runs) for each in arguments)]
    assert exit_status(lambda: gallery.main(given)) == 2
    printed = capsys.readouterr()
    assert message.format(**runs) in printed.err
    assert printed.err.count("\n") == 1
    assert printed.out == ""


def test_a_report_shows_natural_images_beside_synthetic_ones(
    make_units_run, make_activations_run, page, tmp_path, capsys
) -> None:
    units, natural = make_units_run(), make_activations_run()
    report_main([str(units), "--natural", str(natural), "--output", str(tmp_path / "report")])
    index = page(tmp_path / "report" / "index.html")
    links = [link for link in index.links() if link.startswith("run-0/units-")]
    assert {link.partition("#")[0] for link in links} == {
        "run-0/units-000.html",
        "run-0/units-001.html",
        "run-0/units-by-layer.csv",
    }
    [late, _] = [row for row in index.rows("Layer") if row[0] in ("late", "early")]
    assert late == ["late", "default", "3", "6", "3.50", "4.00", "0.88", "66.7 %"]
    shown = page(tmp_path / "report" / "run-0" / "units-000.html")
    pictures = [held for tag, held in shown.elements if tag == "img"]
    assert {held["loading"] for held in pictures} == {"lazy"}
    assert pictures[0]["alt"] == "late:2, seed 0"
    assert pictures[2]["alt"] == "late:2, natural 1: dog"
    assert all((shown.path.parent / held["src"]).is_file() for held in pictures)
    assert len(shown.classes("ring")) == 2 * 3 * 6
    assert len({held["src"] for held in pictures}) == 3 * 2 + 6, "a natural image is stored once"


def test_the_section_of_natural_images_alone(make_activations_run, section_page) -> None:
    section = section_page(make_activations_run(classes=(0, 1), has_places=False))
    assert "The images of photos/test that activate each of 2 classes of net most." in section.text
    assert section.rows("Layer") == [["logits", "2", "4.00", "66.7 %", "50.0 %"]]
    assert len(section.classes("card")) == 2


def test_class_pages_show_natural_images_of_the_class(
    make_run, make_activations_run, page, tmp_path, capsys
) -> None:
    natural = make_activations_run(classes=(0, 2), has_places=False, model="lite0")
    report_main([str(make_run()), "--natural", str(natural), "--output", str(tmp_path / "report")])
    first, second = (page(tmp_path / "report" / "run-0" / f"class-{index:04d}.html") for index in (0, 1))
    shown = [held for tag, held in first.elements if tag == "img" and "Natural" in (held["alt"] or "")]
    assert [held["alt"] for held in shown[:3]] == [
        "Natural image 1 of class 0: dog",
        "Natural image 2 of class 0: dog",
        "Natural image 3 of class 0: cat",
    ]
    assert all((first.path.parent / held["src"]).is_file() for held in shown)
    assert len(first.classes("verdict")) == len(first.classes("good")) + len(first.classes("bad"))
    assert "Natural images" not in second.text, "the natural run lacks this class"


def test_pages_lead_to_their_neighbours(make_units_run, report, page) -> None:
    folder = report(make_units_run())
    first, second = (page(folder / "run-0" / f"units-{number:03d}.html") for number in (0, 1))
    assert "units-001.html" in first.links()
    assert "units-000.html" in second.links()
    assert re.search(r"Next:\s*early, 2 to 10:center, default", first.text)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (
            ["natural"],
            "it is of units, and no other run is; accepted beside it are runs of generate_all.py of units",
        ),
        (["other_units"], "model is 'net', that of {other_units} is 'another'"),
    ],
)
def test_a_report_refuses_natural_images_that_belong_to_no_run_of_units(
    runs, message, make_units_run, make_activations_run, tmp_path, capsys
) -> None:
    made = {
        "natural": make_activations_run(),
        "other_units": make_units_run("other_units", model="another"),
        "beside": make_activations_run("beside"),
    }
    given = [*(str(made[run]) for run in runs), "--natural", str(made["beside"])]
    assert exit_status(lambda: report_main([*given, "--output", str(tmp_path / "report")])) == 2
    assert message.format(**made) in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_names_of_layers_and_units_do_no_harm(make_units_run, report, page) -> None:
    names = ("<script>alert(1)</script>", "../../escaped", "$\\frac{")
    run = make_units_run(layers=names, units=("<b>#k:1",))
    stems = [stem for stem, _ in gallery_pages(open_collection(open_run(run)))]
    assert len(set(stems)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", stem) for stem in stems)
    folder = report(run)
    for path in (folder / "index.html", folder / "run-0" / "units-000.html"):
        assert page(path).scripts == []
        assert "<b>#k:1" in page(path).text
