"""Contact sheets: the images of one recipe, class by seed, as many pages as it takes.

python -m analysis.generation.contact_sheets RUN --output DIR [--recipe NAME] [--judge NAME] [--stretch]
"""

import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from analysis.command_line import exit_status, page_parser, save_pages
from analysis.drawing.image_grid import Page, draw_page
from analysis.drawing.labels import file_stem
from analysis.generation.class_strips import (
    Images,
    Look,
    choose_judge,
    chunks,
    class_strips,
    describe_classes,
    load_images,
    load_rows,
    select,
)

NUM_ROWS = 10
NUM_IMAGES_ACROSS = 10
MOST_SEEDS = 16


def contact_sheet(
    rows: pd.DataFrame,
    images: Images,
    *,
    look: Look | None = None,
    seeds: Sequence[int] | None = None,
    num_across: int | None = None,
) -> Figure:
    """Figure of the rows of one recipe: a strip per class, a column per seed.

    `images` maps `image_key` to `[H, W, C]` uint8. Unless given, `seeds` are those of the rows and
    `num_across`, the strips side by side, makes the page about as wide as high. Raises ValueError unless
    there is one recipe.
    """
    recipes = list(rows["recipe"].unique())
    if len(recipes) != 1:
        raise ValueError(
            f"recipe of the rows is {', '.join(recipes) or 'missing'}: a contact sheet shows one"
        )
    seeds = sorted(rows["seed"].unique()) if seeds is None else seeds
    one_seed = f", seed {seeds[0]}" if len(seeds) == 1 else ""
    look, model = look or Look(), rows["model"].iloc[0]
    page = Page(
        title=f"{model}, recipe {recipes[0]}{one_seed}: {describe_classes(rows)}",
        strips=class_strips(rows, images, "seed", seeds, look),
        num_across=num_across or num_strips_across(rows["class_index"].nunique(), len(seeds)),
        headers=[] if one_seed else [f"seed {seed}" for seed in seeds],
        notes=look.notes(),
    )
    return draw_page(page)


def num_strips_across(num_classes: int, num_seeds: int) -> int:
    """Strips side by side: as many as make a page square, at most `NUM_IMAGES_ACROSS` images."""
    widest = max(1, NUM_IMAGES_ACROSS // num_seeds)
    return min(widest, math.ceil(math.sqrt(num_classes / num_seeds)))


def contact_sheets(run: str | Path, rows: pd.DataFrame, look: Look) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page, recipe by recipe; only the images of the page at hand are in memory.

    `rows` are rows of the run's results, of one recipe or several.
    """
    for recipe in sorted(rows["recipe"].unique()):
        for number, page in enumerate(_pages(rows[rows["recipe"] == recipe]), start=1):
            images = load_images(run, page.rows)
            figure = contact_sheet(page.rows, images, look=look, seeds=page.seeds, num_across=page.num_across)
            yield f"contact-sheet-{file_stem(recipe)}-{number:03d}", figure


class _PageRows(NamedTuple):
    rows: pd.DataFrame
    seeds: Sequence[int]
    num_across: int


def _pages(rows: pd.DataFrame) -> Iterator[_PageRows]:
    """Pages of one recipe, alike in their columns."""
    classes = sorted(rows["class_index"].unique())
    for seeds in chunks(sorted(rows["seed"].unique()), MOST_SEEDS):
        num_across = num_strips_across(len(classes), len(seeds))
        for page_classes in chunks(classes, NUM_ROWS * num_across):
            page = rows[rows["seed"].isin(seeds) & rows["class_index"].isin(page_classes)]
            if not page.empty:
                yield _PageRows(page, seeds, num_across)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = page_parser(
        "python -m analysis.generation.contact_sheets", "Contact sheets, class by seed, as PNG files."
    )
    parser.add_argument("--recipe", metavar="NAME", help="this recipe alone; all of them unless given")
    options = parser.parse_args(arguments)
    rows = load_rows(options.run)
    look = Look(judge=choose_judge(rows, options.judge), stretch=options.stretch)
    if options.recipe is not None:
        rows = select(rows, "recipe", [options.recipe])
    for path in save_pages(contact_sheets(options.run, rows, look), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
