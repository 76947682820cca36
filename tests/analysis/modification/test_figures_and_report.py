"""Figures and the report of modified images show the same numbers, order, contrast and words."""

import html
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from analysis.html.site import open_site
from analysis.modification import pairs, triptychs
from analysis.modification.own_label import own_and_other, sentence
from analysis.modification.rows import load_rows
from analysis.modification.section import section
from analysis.run import Run, open_run

MakeRun = Callable[..., Path]


@pytest.fixture
def report(tmp_path: Path) -> Callable[[Run], str]:
    """Makes the section of a run in the folder `report` and returns its HTML."""

    def make(run: Run) -> str:
        site = open_site(str(tmp_path / "report"))
        with site.writing():
            return section(run, site).html

    return make


def text_of(markup: str) -> str:
    """The text without tags, as a reader sees it."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", markup)).split())


def test_matrices_have_the_same_numbers_in_the_same_order(
    make_modify_run: MakeRun, report: Callable[[Run], str]
) -> None:
    path = make_modify_run(
        images=range(12), l2=lambda index, target: None if (index + target) % 3 == 0 else index / 7 + target
    )
    drawn = pairs.figure(pairs.modification_table(load_rows(path)), title="title").axes
    tables = re.findall(r'<table class="heat">.*?</table>', report(open_run(path)), re.DOTALL)
    for axes, table in zip(drawn, tables, strict=True):
        cells = [text_of(cell) for cell in re.findall(r'<td class="cell[^>]*>(.*?)</td>', table)]
        assert [text.get_text() for text in axes.texts] == [cell for cell in cells if cell != "\N{EN DASH}"]
        assert len(cells) == 16


def test_triptychs_have_the_same_pixels_and_captions(
    make_modify_run: MakeRun, report: Callable[[Run], str], tmp_path: Path
) -> None:
    run = open_run(
        make_modify_run(images=range(8), prediction=lambda index, target: target if index < 4 else 3)
    )
    shown = triptychs.triptychs(run, load_rows(run))
    [axes] = triptychs.figure(shown, title="title").axes
    markup = report(run)
    pictures = re.findall(r'src="(run-0/pictures/[^"]+)"', markup)
    assert len(axes.images) == len(pictures) == 3 * triptychs.NUM_TRIPTYCHS
    for image, picture in zip(axes.images, pictures, strict=True):
        with Image.open(tmp_path / "report" / picture) as opened:
            assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(image.get_array()))
    texts, in_report = {text.get_text() for text in axes.texts}, text_of(markup)
    # A figure draws the no-break space of a caption as a space.
    captions = [" ".join(panel.caption.split()) for _, panels in shown for panel in panels]
    assert {*captions, *triptychs.NOTES} <= texts
    assert all(caption in in_report for caption in (*captions, *triptychs.NOTES))


def test_the_comparison_with_the_own_label_is_one_sentence(
    make_modify_run: MakeRun, report: Callable[[Run], str]
) -> None:
    run = open_run(make_modify_run(images=range(8)))
    said = sentence(own_and_other(load_rows(run)))
    assert said.startswith(
        "Towards their own label images needed an l2 norm of 0.10, towards other classes 2.00"
    )
    assert said in text_of(report(run))
    # A single image has no interval.
    assert sentence(own_and_other(load_rows(make_modify_run("one", images=[0])))) == ""
