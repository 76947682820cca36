"""Recipes side by side: the columns of a strip."""

from collections.abc import Callable
from pathlib import Path

from analysis.generation.class_strips import load_images
from analysis.generation.recipe_strips import recipe_strip
from analysis.generation.rows import load_rows
from analysis.run import open_run

MakeRun = Callable[..., Path]


def test_a_recipe_strip_has_a_row_per_class_and_a_column_per_recipe(make_run: MakeRun) -> None:
    run = open_run(make_run(num_classes=3, seeds=(0, 5), recipes=("plain", "blur", "default")))
    rows = load_rows(run)
    rows = rows[rows["seed"] == 5]
    page = recipe_strip(rows, load_images(run, rows), recipes=["plain", "default", "blur"])
    texts = [text.get_text() for text in page.axes[0].texts]
    assert len(page.axes[0].images) == 9
    assert [text for text in texts if text in ("plain", "blur", "default")] == [
        "plain",
        "default",
        "blur",
    ]
    assert "seed 5" in texts[0]
