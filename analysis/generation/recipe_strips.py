"""Recipe strips: the same class and seed by every recipe, side by side.

python -m analysis.generation.recipe_strips RUN --output DIR
    [--recipes NAME,NAME] [--seed N] [--judge NAME] [--stretch]
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.command_line import exit_status, page_parser, save_pages
from analysis.drawing.image_grid import Page, draw_page
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

NUM_CLASSES = 10


def recipe_strip(
    rows: pd.DataFrame, images: Images, *, look: Look | None = None, recipes: Sequence[str] | None = None
) -> Figure:
    """Figure of the rows of one seed: a row per class, a column per recipe.

    `images` maps `image_key` to `[H, W, C]` uint8; `recipes` gives the columns' order, by name unless given.
    Raises ValueError unless there is one seed.
    """
    seeds = sorted(rows["seed"].unique())
    if len(seeds) != 1:
        raise ValueError(
            f"seed of the rows is {', '.join(map(str, seeds)) or 'missing'}: a recipe strip shows one"
        )
    recipes, look = sorted(rows["recipe"].unique()) if recipes is None else recipes, look or Look()
    page = Page(
        title=f"{rows['model'].iloc[0]}, seed {seeds[0]} by recipe: {describe_classes(rows)}",
        strips=class_strips(rows, images, "recipe", recipes, look),
        headers=recipes,
        notes=look.notes(),
    )
    return draw_page(page)


def recipe_strips(
    run: str | Path, rows: pd.DataFrame, look: Look, recipes: Sequence[str] | None = None
) -> Iterator[tuple[str, Figure]]:
    """File stem and figure of each page of one seed; only the images of the page at hand are in memory."""
    recipes = sorted(rows["recipe"].unique()) if recipes is None else recipes
    for number, classes in enumerate(chunks(sorted(rows["class_index"].unique()), NUM_CLASSES), start=1):
        page = rows[rows["class_index"].isin(classes)]
        figure = recipe_strip(page, load_images(run, page), look=look, recipes=recipes)
        yield f"recipe-strips-seed-{page['seed'].iloc[0]}-{number:03d}", figure


def main(arguments: Sequence[str] | None = None) -> None:
    parser = page_parser(
        "python -m analysis.generation.recipe_strips", "The recipes of a sweep side by side, as PNG files."
    )
    parser.add_argument(
        "--recipes", metavar="NAMES", help="these recipes in this order, such as plain,default"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the smallest unless given")
    options = parser.parse_args(arguments)
    rows = load_rows(options.run)
    look = Look(judge=choose_judge(rows, options.judge), stretch=options.stretch)
    recipes = options.recipes.split(",") if options.recipes else sorted(rows["recipe"].unique())
    seed = int(rows["seed"].min()) if options.seed is None else options.seed
    rows = select(select(rows, "recipe", recipes), "seed", [seed])
    for path in save_pages(recipe_strips(options.run, rows, look, recipes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
