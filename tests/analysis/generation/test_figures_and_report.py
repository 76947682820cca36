"""Figures, printed tables and the report of a generation run show the same numbers, order and contrast."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from analysis.generation.class_pictures import write_pictures
from analysis.generation.class_strips import Look
from analysis.generation.contact_sheets import contact_sheets
from analysis.generation.judge_accuracy import judge_accuracy, text
from analysis.generation.recipe_strips import recipe_strips
from analysis.generation.rows import load_generated, load_rows
from analysis.html.site import open_site
from analysis.run import open_run

MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]

BLOCK = {"axes": {"recipe": ["plain", "default"], "seed": "0-1", "class_index": "0-2"}, "shard_size": 4}
# A thumbnail is resized and its WebP is lossy: in grey levels of 255.
TOLERANCE = 5


@pytest.mark.parametrize("stretch", [None, 0.05])
def test_a_thumbnail_is_as_bright_as_the_image_on_the_contact_sheet(
    make_run: MakeRun, tmp_path: Path, stretch: float | None
) -> None:
    run, look = open_run(make_run(num_classes=1, seeds=(0,), recipes=("default",))), Look(stretch=stretch)
    [(_, sheet)] = contact_sheets(run, load_rows(run), look)
    site = open_site(str(tmp_path / "report"))
    with site.writing():
        pictures = write_pictures(load_generated(run), site, look)
    with Image.open(tmp_path / "report" / pictures.thumbnails[0, "default"]) as opened:
        thumbnail = np.asarray(opened.convert("RGB")).astype(float)
    on_sheet = np.asarray(sheet.axes[0].images[0].get_array()).astype(float)
    assert np.abs(thumbnail.mean((0, 1)) - on_sheet.mean((0, 1))).max() < TOLERANCE
    levels = [0.02, 0.25, 0.75, 0.98]
    assert np.abs(np.quantile(thumbnail, levels) - np.quantile(on_sheet, levels)).max() < TOLERANCE


def test_the_report_shows_images_as_the_contact_sheets_do_unless_told_otherwise(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    path = make_run(num_classes=1, seeds=(0,), recipes=("default",))
    run = open_run(path)
    [(_, sheet)] = contact_sheets(run, load_rows(run), Look())
    with Image.open(section_page(path).path.parent / "run-0" / "thumbnails" / "0000-0.webp") as opened:
        thumbnail = np.asarray(opened.convert("RGB")).astype(float)
    on_sheet = np.asarray(sheet.axes[0].images[0].get_array()).astype(float)
    assert np.abs(thumbnail.mean((0, 1)) - on_sheet.mean((0, 1))).max() < TOLERANCE


def test_recipes_stand_in_the_order_that_the_sweep_was_asked_for(
    make_run: MakeRun, section_page: SectionPage, describe_run: Callable[..., None]
) -> None:
    path = make_run(seeds=(0,))
    describe_run(path, blocks=[BLOCK])
    run = open_run(path)
    [(_, strips)] = recipe_strips(run, load_rows(run), Look())
    headers = [shown.get_text() for shown in strips.axes[0].texts if shown.get_text() in ("plain", "default")]
    found = section_page(path)
    in_report = [row[0] for row in found.rows("Recipe") if row[0] in ("plain", "default")]
    sheets = [name for name, _ in contact_sheets(run, load_rows(run), Look())]
    assert headers == in_report == ["plain", "default"]
    assert sheets == ["contact-sheet-plain-001", "contact-sheet-default-001"]


def test_rates_and_intervals_are_rounded_alike_where_they_are_printed_and_in_the_report(
    make_run: MakeRun, section_page: SectionPage
) -> None:
    path = make_run(wrong=lambda judge, index, seed: (judge, index, seed) == ("lite1", 1, 0))
    printed = [line.split() for line in text(judge_accuracy(open_run(path).results())).splitlines()[1:]]
    in_report = []
    for row in section_page(path).rows("Recipe"):
        # The first cell, the recipe, spans the rows of all judges.
        judge, rate, _, interval, _, count = row[-6:]
        numbers = [rate, *interval.split(" to ")]
        shares = [f"{float(number.removesuffix(' %')) / 100:.3f}" for number in numbers]
        in_report.append([judge.split()[0], *shares, count])
    assert in_report == [[judge, *numbers] for judge, _, _, *numbers in printed]
    assert ["lite1", "0.833", "0.436", "0.970", "6"] in in_report
