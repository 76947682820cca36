"""Contact sheets: the images of one recipe, class by seed, as pages of PNG and as the report's gallery.

python -m analysis.generation.contact_sheets RUN --output DIR [--recipe NAME] [--judge NAME] [--stretch]
"""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from analysis.command_line import exit_status, page_parser, save_pages
from analysis.drawing.image_grid import Page, draw_page
from analysis.drawing.labels import file_stem
from analysis.drawing.pages import chunks, select
from analysis.generation.class_pictures import Pictures
from analysis.generation.class_strips import Images, Look, choose_look, class_strips, load_images
from analysis.generation.judges import verdict_codes
from analysis.generation.rows import GeneratedImages, describe_classes, load_rows, recipe_order
from analysis.html.site import Site
from analysis.run import Run, open_run

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
    """Draw the rows of one recipe: a strip per class, a column per seed.

    `images` maps `image_key` to `[H, W, C]` uint8. Unless given, `seeds` are those of the rows and
    `num_across`, the strips side by side, makes the page about as wide as high. Raise ValueError unless
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
        num_across=(
            num_strips_across(rows["class_index"].nunique(), len(seeds)) if num_across is None else num_across
        ),
        headers=[] if one_seed else [f"seed {seed}" for seed in seeds],
        notes=look.notes(),
    )
    return draw_page(page)


def num_strips_across(num_classes: int, num_seeds: int) -> int:
    """Return how many strips stand side by side: the page is about square, at most `NUM_IMAGES_ACROSS` wide."""
    widest = max(1, NUM_IMAGES_ACROSS // num_seeds)
    return min(widest, math.ceil(math.sqrt(num_classes / num_seeds)))


def contact_sheets(run: Run, rows: pd.DataFrame, look: Look) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page, recipe by recipe; only the images of the page are in memory.

    `rows` are rows of the run's results, of one recipe or several.
    """
    for recipe in recipe_order(run, rows):
        for number, page in enumerate(_pages(rows[rows["recipe"] == recipe]), start=1):
            images = load_images(run, page.rows)
            figure = contact_sheet(page.rows, images, look=look, seeds=page.seeds, num_across=page.num_across)
            yield f"contact-sheet-{file_stem(recipe)}-{number:03d}", figure


class _PageRows(NamedTuple):
    rows: pd.DataFrame
    seeds: Sequence[int]
    num_across: int


def _pages(rows: pd.DataFrame) -> Iterator[_PageRows]:
    """Yield the pages of one recipe; all have the same columns."""
    classes = sorted(rows["class_index"].unique())
    for seeds in chunks(sorted(rows["seed"].unique()), MOST_SEEDS):
        num_across = num_strips_across(len(classes), len(seeds))
        for page_classes in chunks(classes, NUM_ROWS * num_across):
            page = rows[rows["seed"].isin(seeds) & rows["class_index"].isin(page_classes)]
            if not page.empty:
                yield _PageRows(page, seeds, num_across)


def html(images: GeneratedImages, site: Site, pictures: Pictures, pages: Mapping[int, str]) -> Markup:
    """Render the gallery: a card per class with its thumbnails, which leads to its page in `pages`."""
    return site.render(
        "gallery.html",
        run=images.run,
        num_classes=images.rows["class_index"].nunique(),
        recipes=images.recipes,
        judges=images.judges,
        tiling=pictures.tiling,
        cards=list(_cards(images, pictures, pages)),
        data=_gallery_data(images, pictures),
    )


def _cards(images: GeneratedImages, pictures: Pictures, pages: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Yield what the gallery shows of each class before a reader chooses: the first recipe that it has."""
    rows = images.rows.assign(right=images.judges[0].verdicts(images.rows))
    for index, of_class in rows.groupby("class_index"):
        recipe = next(name for name in images.recipes if (of_class["recipe"] == name).any())
        of_recipe = of_class[of_class["recipe"] == recipe]
        yield {
            "index": int(index),
            "name": str(of_recipe["class_name"].iloc[0]),
            "wnid": str(of_recipe["wnid"].iloc[0]),
            "page": pages[int(index)],
            "thumbnail": pictures.thumbnails.get((int(index), recipe)),
            "recipe": recipe,
            "num_right": int(of_recipe["right"].sum()),
            "num_judged": int(of_recipe["right"].notna().sum()),
        }


def _gallery_data(images: GeneratedImages, pictures: Pictures) -> dict[str, Any]:
    """Return what the gallery's script filters by, class by class in the order of the cards."""
    classes = sorted(map(int, images.rows["class_index"].unique()))
    return {
        "recipes": list(images.recipes),
        "seeds": list(images.seeds),
        "judges": [judge.name for judge in images.judges],
        "columns": pictures.tiling.num_columns,
        "width": pictures.tiling.width,
        "height": pictures.tiling.height,
        "thumbnails": f"{images.run.id}/thumbnails",
        # For each class a digit per recipe: 1 if there are thumbnails.
        "pictured": [
            "".join(str(int((index, recipe) in pictures.thumbnails)) for recipe in images.recipes)
            for index in classes
        ],
        "codes": verdict_codes(images.rows, images.recipes, images.seeds, images.judges),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the contact sheets of a run as PNG files and print their paths."""
    parser = page_parser(
        "python -m analysis.generation.contact_sheets", "Contact sheets, class by seed, as PNG files."
    )
    parser.add_argument("--recipe", metavar="NAME", help="this recipe alone; all of them unless given")
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    rows = load_rows(run, ["top1"])
    look = choose_look(rows, options.judge, stretch=options.stretch)
    if options.recipe is not None:
        rows = select(rows, "recipe", [options.recipe])
    for path in save_pages(contact_sheets(run, rows, look), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
