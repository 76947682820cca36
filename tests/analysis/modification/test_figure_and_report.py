"""Figures and the report of modified images show the same numbers, order, contrast and words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from analysis.modification import pairs, triptychs
from analysis.modification.own_label import own_and_other, sentence
from analysis.modification.rows import load_rows
from analysis.run import open_run

MakeRun = Callable[..., Path]
SectionPage = Callable[..., Any]


def words(text: str) -> str:
    return " ".join(text.split())


def test_matrices_have_the_same_numbers_in_the_same_order(
    make_modify_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_modify_run(
        images=range(12), l2=lambda index, target: None if (index + target) % 3 == 0 else index / 7 + target
    )
    drawn = pairs.figure(pairs.modification_table(load_rows(open_run(run))), title="title").axes
    rows = section_page(run).rows("Label")
    # A table has a row per label, and the heading of the second one stands between them.
    for axes, table in zip(drawn, (rows[:4], rows[5:9]), strict=True):
        cells = [cell for row in table for cell in row[1:]]
        assert [text.get_text() for text in axes.texts] == [cell for cell in cells if cell != "\N{EN DASH}"]
        assert len(cells) == 16


def test_triptychs_have_the_same_pixels_and_captions(
    make_modify_run: MakeRun, section_page: SectionPage
) -> None:
    path = make_modify_run(images=range(8), prediction=lambda index, target: target if index < 4 else 3)
    run = open_run(path)
    shown = triptychs.triptychs(run, load_rows(run))
    [axes] = triptychs.figure(shown, title="title").axes
    found = section_page(path)
    sources = [str(held["src"]) for tag, held in found.elements if tag == "img" and held["src"]]
    pictures = [source for source in sources if source.endswith(".webp")]
    assert len(axes.images) == len(pictures) == 3 * triptychs.NUM_TRIPTYCHS
    for image, source in zip(axes.images, pictures, strict=True):
        with Image.open(found.path.parent / source) as opened:
            assert np.array_equal(np.asarray(opened.convert("RGB")), np.asarray(image.get_array()))
    texts, report = {text.get_text() for text in axes.texts}, words(found.text)
    for title, panels in shown:
        assert {title, *(panel.caption for panel in panels)} <= texts
        assert all(words(panel.caption) in report for panel in panels)
    assert all(note in texts and note in report for note in triptychs.NOTES)


def test_the_comparison_with_the_own_label_is_one_sentence(
    make_modify_run: MakeRun, section_page: SectionPage
) -> None:
    run = make_modify_run(images=range(8))
    said = sentence(own_and_other(load_rows(open_run(run))))
    assert said.startswith("Towards their own label images needed an l2 norm of 0.10, towards other classes 2.00")
    assert said in words(section_page(run).text)
    assert sentence(own_and_other(load_rows(open_run(make_modify_run("few", images=[0]))))) == ""
