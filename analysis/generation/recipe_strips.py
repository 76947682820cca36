"""Recipes compared: the same class and seed by every recipe, as pages of PNG and as a report's page per class.

python -m analysis.generation.recipe_strips RUN --output DIR
    [--recipes NAME,NAME] [--seed N] [--judge NAME] [--stretch]
"""

import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.command_line import exit_status, page_parser, save_pages
from analysis.drawing.image_grid import Page, draw_page
from analysis.drawing.pages import chunks, select
from analysis.generation.class_pictures import Pictures
from analysis.generation.class_strips import Images, Look, choose_look, class_strips, load_images
from analysis.generation.judges import Judge
from analysis.generation.natural import natural_pictures
from analysis.generation.rows import GeneratedImages, describe_classes, load_rows, recipe_order
from analysis.html.site import Site
from analysis.html.step_curves import Chart, chart
from analysis.run import Run, open_run

NUM_CLASSES = 10


def recipe_strip(
    rows: pd.DataFrame, images: Images, *, look: Look | None = None, recipes: Sequence[str] | None = None
) -> Figure:
    """Draw the rows of one seed: a row per class, a column per recipe.

    `images` maps `image_key` to `[H, W, C]` uint8; `recipes` gives the columns' order, by name unless given.
    Raise ValueError unless there is one seed.
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
    run: Run, rows: pd.DataFrame, look: Look, recipes: Sequence[str] | None = None
) -> Iterator[tuple[str, Figure]]:
    """Yield file stem and figure of each page of one seed; only the images of the page are in memory."""
    recipes = recipe_order(run, rows) if recipes is None else recipes
    for number, classes in enumerate(chunks(sorted(rows["class_index"].unique()), NUM_CLASSES), start=1):
        page = rows[rows["class_index"].isin(classes)]
        figure = recipe_strip(page, load_images(run, page), look=look, recipes=recipes)
        yield f"recipe-strips-seed-{page['seed'].iloc[0]}-{number:03d}", figure


def html(images: GeneratedImages, site: Site, pictures: Pictures) -> dict[int, str]:
    """Write a page per class, its images by recipe and seed, and return the paths by class index."""
    rows = _judged(images.rows, images.judges)
    first = rows.drop_duplicates("class_index")
    names = {
        int(index): str(name) for index, name in zip(first["class_index"], first["class_name"], strict=True)
    }
    paths = {index: f"{images.run.id}/class-{index:04d}.html" for index in names}
    natural = natural_pictures(images.run.natural, site, images.run.id)
    order = list(names)
    for position, (index, of_class) in enumerate(rows.groupby("class_index", sort=False)):
        site.page(
            paths[index],
            "class.html",
            run=images.run,
            index=index,
            name=names[index],
            wnid=str(of_class["wnid"].iloc[0]),
            judges=images.judges,
            natural=natural.get(int(index), []),
            recipes=[
                _recipe(recipe, of_class[of_class["recipe"] == recipe], images.judges, names, pictures)
                for recipe in images.recipes
                if (of_class["recipe"] == recipe).any()
            ],
            previous=_neighbour(order, position - 1, names, paths),
            next=_neighbour(order, position + 1, names, paths),
        )
    return paths


def _judged(rows: pd.DataFrame, judges: Sequence[Judge]) -> pd.DataFrame:
    """Return the rows with `right_N` and `answer_N` of the Nth judge."""
    columns = {}
    for number, judge in enumerate(judges):
        columns[f"right_{number}"] = judge.verdicts(rows)
        columns[f"answer_{number}"] = judge.answers(rows).astype("Int64")
    return rows.assign(**columns)


def _neighbour(
    order: Sequence[int], position: int, names: Mapping[int, str], paths: Mapping[int, str]
) -> dict[str, str] | None:
    if not 0 <= position < len(order):
        return None
    index = order[position]
    return {"name": names[index], "page": paths[index].rpartition("/")[2]}


def _recipe(
    recipe: str, rows: pd.DataFrame, judges: Sequence[Judge], names: Mapping[int, str], pictures: Pictures
) -> dict[str, Any]:
    """Return what the page of a class shows of a recipe."""
    records = rows.to_dict("records")
    return {
        "name": recipe,
        "num_steps": records[0]["num_steps"],
        "images": [_image(record, judges, names, pictures) for record in records],
        "chart": _logit_chart(records),
    }


def _image(
    record: Mapping[Any, Any], judges: Sequence[Judge], names: Mapping[int, str], pictures: Pictures
) -> dict[str, Any]:
    path = pictures.full.get((record["class_index"], record["recipe"], record["seed"]))
    return {
        "seed": record["seed"],
        "logit": record["logit"],
        "probability": record["probability"],
        "path": path,
        "size": pictures.sizes.get(path or ""),
        "verdicts": [
            {"judge": judge, **_verdict(record[f"right_{number}"], record[f"answer_{number}"], names)}
            for number, judge in enumerate(judges)
        ],
    }


def _verdict(right: Any, answer: Any, names: Mapping[int, str]) -> dict[str, Any]:
    """Return whether an image is taken for its class, None without a verdict, and what it is taken for."""
    if pd.isna(right):
        return {"right": None, "answer": "no verdict"}
    index = f"class {answer}"
    return {"right": bool(right), "answer": f"{names[answer]} ({index})" if answer in names else index}


def _logit_chart(records: Sequence[Mapping[Any, Any]]) -> Chart:
    """Return the chart of the class's logit by step, a curve per seed."""
    series = {f"seed {record['seed']}": record["logit_by_step"] for record in records}
    values = np.concatenate([np.asarray(curve, float) for curve in series.values()])
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    return chart(series, low=min(low, 0.0), high=high)


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the recipe strips of a run as PNG files and print their paths."""
    parser = page_parser(
        "python -m analysis.generation.recipe_strips", "The recipes of a sweep side by side, as PNG files."
    )
    parser.add_argument(
        "--recipes", metavar="NAMES", help="these recipes in this order, such as plain,default"
    )
    parser.add_argument("--seed", type=int, metavar="N", help="the smallest unless given")
    options = parser.parse_args(arguments)
    run = open_run(options.run)
    rows = load_rows(run, ["top1"])
    look = choose_look(rows, options.judge, stretch=options.stretch)
    recipes = options.recipes.split(",") if options.recipes else recipe_order(run, rows)
    seed = int(rows["seed"].min()) if options.seed is None else options.seed
    rows = select(select(rows, "recipe", recipes), "seed", [seed])
    for path in save_pages(recipe_strips(run, rows, look, recipes), options.output):
        print(path)


if __name__ == "__main__":
    sys.exit(exit_status(main))
